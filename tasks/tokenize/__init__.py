"""From text to token ids: byte-level BPE and the token store."""
