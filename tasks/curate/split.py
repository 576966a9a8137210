"""The held-out split: by document, decided by a hash of its id, the same for every step that asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import xxhash

from storage.documents import document_files

RANKS = 1 << 64


@dataclass(frozen=True)
class Split:
    """Which documents are held out.

    Attributes:
        limits: source → rank below which its documents are held out.
    """

    limits: Mapping[str, int]

    def is_held_out(self, document_id: str, source: str) -> bool:
        """Whether the document is kept from every kind of training."""
        return rank(document_id) < self.limits.get(source, 0)

    def name(self, document_id: str, source: str) -> str:
        """``held_out`` or ``train``."""
        return "held_out" if self.is_held_out(document_id, source) else "train"


def rank(document_id: str, purpose: str = "held-out") -> int:
    """A uniform hash of the id, 0 to 2**64 - 1; another one for each purpose."""
    return xxhash.xxh3_64_intdigest(f"{purpose}\0{document_id}".encode())


def split_of(documents: Iterable[tuple[str, str]], permille: int) -> Split:
    """The split of some documents, given as (id, source).

    A source of two documents or more has at least one held out and one to train on; so the documents of
    lowest and of highest rank decide where chance alone would leave a side empty. 0 holds out nothing.
    """
    lowest: dict[str, int] = {}
    highest: dict[str, int] = {}
    for document_id, source in documents:
        here = rank(document_id)
        lowest[source] = min(here, lowest.get(source, here))
        highest[source] = max(here, highest.get(source, here))
    share = RANKS * permille // 1000
    return Split({s: min(max(share, lowest[s] + 1), highest[s]) if permille else 0 for s in sorted(lowest)})


def split_documents(folder: Path, permille: int) -> Split:
    """The split of a folder of documents; reads their ids and sources only."""
    return split_of(_ids_and_sources(folder), permille)


def _ids_and_sources(folder: Path) -> Iterator[tuple[str, str]]:
    for path in document_files(folder):
        for batch in pq.ParquetFile(path).iter_batches(columns=["id", "source"]):
            yield from zip(batch["id"].to_pylist(), batch["source"].to_pylist(), strict=True)
