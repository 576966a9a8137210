"""The model at work: sampling text from it."""
