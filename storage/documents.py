"""Documents: Parquet shards, zstd, one row a document, and beside them the documents that were dropped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

SCHEMA = pa.schema([
    ("id", pa.string()), ("source", pa.string()), ("url", pa.string()), ("fetched_at", pa.timestamp("us", tz="UTC")),
    ("text", pa.string()), ("language", pa.string()), ("language_score", pa.float32()), ("n_chars", pa.int64()),
    ("meta", pa.string()),
])  # fmt: skip
DROPPED_SCHEMA = pa.schema([
    ("id", pa.string()), ("source", pa.string()), ("url", pa.string()), ("stage", pa.string()),
    ("rule", pa.string()), ("value", pa.string()),
])  # fmt: skip
DOCUMENTS_PER_SHARD = 20_000
ROWS_PER_GROUP = 2_000


@dataclass(frozen=True)
class Document:
    """One document.

    Attributes:
        id: :func:`document_id` of source, URL and text.
        source: the name of the recipe's source.
        url: where it came from; a ``file:`` URL for local files.
        fetched_at: when, in UTC; None where that is not known (rows of a data set).
        text: the text itself.
        language: ISO 639-1 code, ``und`` if unknown, or the programming language of source code.
        language_score: the identifier's confidence, 0 to 1.
        meta: whatever else is known (title, content type), kept as JSON.
    """

    id: str
    source: str
    url: str
    fetched_at: datetime | None
    text: str
    language: str = "und"
    language_score: float = 0.0
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Dropped:
    """A document that a stage left out: which rule, and the value that it saw."""

    id: str
    source: str
    url: str
    stage: str
    rule: str
    value: str


def document_id(source: str, url: str, text: str) -> str:
    """xxh3-128 in hex over source, URL and text, NUL between them."""
    return xxhash.xxh3_128_hexdigest(f"{source}\0{url}\0{text}".encode())


def write_documents(folder: Path, documents: Iterable[Document]) -> int:
    """Write ``documents-00000.parquet`` … in the order given; return how many there were."""
    rows = ([d.id, d.source, d.url, d.fetched_at, d.text, d.language, d.language_score, len(d.text),
             json.dumps(d.meta, sort_keys=True, ensure_ascii=False)] for d in documents)  # fmt: skip
    return _write_shards(folder, "documents", SCHEMA, rows)


def write_dropped(folder: Path, dropped: Iterable[Dropped]) -> int:
    """Write ``dropped-00000.parquet`` …; return how many there were."""
    rows = ([d.id, d.source, d.url, d.stage, d.rule, d.value] for d in dropped)
    return _write_shards(folder, "dropped", DROPPED_SCHEMA, rows)


def read_documents(folder: Path) -> Iterator[Document]:
    """The documents of a folder, in the order written, in memory bounded by one row group."""
    for path in document_files(folder):
        for batch in pq.ParquetFile(path).iter_batches(batch_size=ROWS_PER_GROUP):
            for row in batch.to_pylist():
                del row["n_chars"]
                yield Document(**{**row, "meta": json.loads(row["meta"])})


def document_files(folder: Path) -> list[Path]:
    """The shards of a folder, in order."""
    return sorted(folder.glob("documents-*.parquet"))


def _write_shards(folder: Path, stem: str, schema: pa.Schema, rows: Iterable[list[Any]]) -> int:
    count, shard, group = 0, 0, list[list[Any]]()
    writer = _open(folder, stem, shard, schema)
    for row in rows:
        if count and count % DOCUMENTS_PER_SHARD == 0:
            writer.close()
            shard += 1
            writer = _open(folder, stem, shard, schema)
        group.append(row)
        count += 1
        if len(group) == ROWS_PER_GROUP:
            writer.write_batch(_batch(group, schema))
            group = []
    if group:
        writer.write_batch(_batch(group, schema))
    writer.close()
    return count


def _open(folder: Path, stem: str, shard: int, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(folder / f"{stem}-{shard:05d}.parquet", schema, compression="zstd")


def _batch(rows: list[list[Any]], schema: pa.Schema) -> pa.RecordBatch:
    columns = [pa.array(values, type=f.type) for values, f in zip(zip(*rows, strict=True), schema, strict=True)]
    return pa.record_batch(columns, schema=schema)
