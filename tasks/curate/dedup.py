"""The step that joins the sources into one corpus and drops exact duplicates."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import xxhash

from storage.artifact import Artifact
from storage.documents import Document, Dropped, read_documents, write_documents, write_dropped
from tasks.step import Work, step


@dataclass(frozen=True)
class DedupConfig:
    """How duplicates are found.

    Attributes:
        exact: drop a document whose text equals an earlier one's but for white space and Unicode composition.
    """

    exact: bool = True


@step(kind="documents", libraries=("xxhash",))
def deduplicate(work: Work, config: DedupConfig, documents: tuple[Artifact, ...]) -> dict[str, Any]:
    """Join the documents of all sources, each text once.

    Of equal texts the first is kept, in the order of ``documents`` and then in that within each. Memory
    holds 16 bytes of hash and 16 of id for each text, whatever their length.
    """
    dropped: list[Dropped] = []
    sources: Counter[str] = Counter()
    kept = write_documents(work.out, _distinct(work, config, documents, dropped, sources))
    write_dropped(work.out, dropped)
    return {"documents": kept, "dropped": len(dropped), "sources": dict(sorted(sources.items()))}


def text_hash(text: str) -> bytes:
    """xxh3-128 of the text in NFC with every run of white space made one space."""
    return xxhash.xxh3_128_digest(" ".join(unicodedata.normalize("NFC", text).split()).encode())


def _distinct(
    work: Work, config: DedupConfig, documents: tuple[Artifact, ...], dropped: list[Dropped], sources: Counter[str]
) -> Iterator[Document]:
    first: dict[bytes, bytes] = {}
    total = sum(a.statistics.get("documents", 0) for a in documents)
    with work.progress("deduplicate", total, "documents") as bar:
        for document in (d for artifact in documents for d in read_documents(artifact.path)):
            bar.advance()
            own = bytes.fromhex(document.id)
            kept = first.setdefault(text_hash(document.text), own) if config.exact else own
            if kept == own:
                sources[document.source] += 1
                yield document
            else:
                dropped.append(Dropped(document.id, document.source, document.url, "dedup", "exact", kept.hex()))
