"""The step that encodes a corpus into token shards, by source and split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from storage.artifact import Artifact
from storage.documents import Document, read_documents
from storage.errors import require
from storage.tokens import Ids, TokenShardWriter, shard_name
from tasks.curate.split import split_documents
from tasks.step import Work, step
from tasks.tokenize.vocabulary import END_OF_TEXT, load_tokenizer, special_id

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BATCH_CHARS = 4_000_000


@dataclass(frozen=True)
class EncodeConfig:
    """How the token store is laid out.

    Attributes:
        held_out_permille: thousandths of each source's documents that are held out, 0 to 500; at least one
            document of each source that has two, unless it is 0.
        shard_tokens: a shard is closed once it has as many tokens.
    """

    held_out_permille: int = 30
    shard_tokens: int = 50_000_000

    def __post_init__(self) -> None:
        require(0 <= self.held_out_permille <= 500, "held_out_permille", self.held_out_permille, "from 0 to 500")
        require(self.shard_tokens >= 1, "shard_tokens", self.shard_tokens, "at least 1")


@dataclass
class Counts:
    """What one source has in one split; ``bytes`` are those of its texts in UTF-8."""

    shards: int = 0
    documents: int = 0
    tokens: int = 0
    bytes: int = 0


class SplitWriter:
    """The shards of one source and split: a new one when the last is full."""

    def __init__(self, folder: Path, split: str, source: str, vocab_size: int, shard_tokens: int) -> None:
        self.folder, self.split, self.source = folder, split, source
        self.vocab_size, self.shard_tokens = vocab_size, shard_tokens
        self.counts = Counts()
        self._writer: TokenShardWriter | None = None

    def add(self, document_id: str, tokens: Ids, n_bytes: int) -> None:
        """Append one document."""
        if self._writer is None:
            name = shard_name(self.split, self.source, self.counts.shards)
            self._writer = TokenShardWriter(self.folder / name, self.vocab_size)
            self.counts.shards += 1
        self._writer.add(document_id, tokens, n_bytes)
        self.counts.documents += 1
        self.counts.tokens += len(tokens)
        self.counts.bytes += n_bytes
        if self._writer.n_tokens >= self.shard_tokens:
            self.close()

    def close(self) -> None:
        """Close the open shard if there is one."""
        if self._writer:
            self._writer.close()
            self._writer = None


@step(kind="tokens", libraries=("tokenizers",))
def encode(work: Work, config: EncodeConfig, documents: Artifact, tokenizer: Artifact) -> dict[str, Any]:
    """Write ``<split>-<source>-<number>`` shards; every document ends in the end-of-text id."""
    encoder = load_tokenizer(tokenizer.path)
    vocab_size = encoder.get_vocab_size()
    split = split_documents(documents.path, config.held_out_permille)
    writers: dict[tuple[str, str], SplitWriter] = {}
    for document, tokens, n_bytes in _encoded(work, documents, encoder):
        place = document.source, split.name(document.id, document.source)
        if place not in writers:
            writers[place] = SplitWriter(work.out, place[1], place[0], vocab_size, config.shard_tokens)
        writers[place].add(document.id, tokens, n_bytes)
    for writer in writers.values():
        writer.close()
    return {"vocab_size": vocab_size, **_totals(writers), "sources": _by_source(writers)}


def _encoded(work: Work, documents: Artifact, encoder: Tokenizer) -> Iterator[tuple[Document, Ids, int]]:
    """Each document with its tokens, the end-of-text id last, and the UTF-8 bytes of its text."""
    end = special_id(encoder, END_OF_TEXT)
    with work.progress("encode", None, "MB") as bar:
        for batch in _batches(read_documents(documents.path)):
            encodings = encoder.encode_batch_fast([d.text for d in batch], add_special_tokens=False)
            for document, encoding in zip(batch, encodings, strict=True):
                n_bytes = len(document.text.encode())
                bar.advance(n_bytes / 1e6)
                yield document, np.array([*encoding.ids, end], np.int32), n_bytes


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Lists of documents of about 4 MB of text each."""
    batch: list[Document] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document.text)
        if size >= BATCH_CHARS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _totals(writers: dict[tuple[str, str], SplitWriter]) -> dict[str, int]:
    """Tokens of each split over all sources."""
    counts = [(split, w.counts.tokens) for (_, split), w in writers.items()]
    return {f"{name}_tokens": sum(n for split, n in counts if split == name) for name in ("train", "held_out")}


def _by_source(writers: dict[tuple[str, str], SplitWriter]) -> dict[str, dict[str, dict[str, int]]]:
    found: dict[str, dict[str, dict[str, int]]] = {}
    for (source, split), writer in sorted(writers.items()):
        found.setdefault(source, {})[split] = asdict(writer.counts)
    return found
