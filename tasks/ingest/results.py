"""What ingest makes of each input: a document, or a row that says why there is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from storage.documents import Document, Dropped, document_id, write_documents, write_dropped

REPLACEMENT = "\ufffd"
MOST_REPLACED = 0.01


def write_results(folder: Path, results: Iterable[Document | Dropped], most: int = 0) -> dict[str, Any]:
    """Write documents as they come, ``most`` at most (0: all), then what was dropped; return the counts."""
    dropped, characters = list[Dropped](), Counter[str]()

    def documents() -> Iterator[Document]:
        for result in results:
            if isinstance(result, Dropped):
                dropped.append(result)
            else:
                characters["all"] += len(result.text)
                yield result

    count = write_documents(folder, islice(documents(), most or None))
    write_dropped(folder, dropped)
    rules = Counter(row.rule for row in dropped)
    return {"documents": count, "characters": characters["all"], "dropped": dict(sorted(rules.items()))}


def drop(source: str, url: str, stage: str, rule: str, value: str) -> Dropped:
    """An input that gave no text at all."""
    return Dropped(document_id(source, url, ""), source, url, stage, rule, value)


def is_garbled(text: str) -> bool:
    """Whether over 1 % of the characters could not be decoded."""
    return text.count(REPLACEMENT) > MOST_REPLACED * len(text)
