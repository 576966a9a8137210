"""Pages as they were fetched: Parquet shards, zstd, one row a page, sorted by URL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = pa.schema([
    ("url", pa.string()), ("fetched_at", pa.timestamp("us", tz="UTC")), ("status", pa.int32()),
    ("content_type", pa.string()), ("charset", pa.string()), ("etag", pa.string()),
    ("last_modified", pa.string()), ("body", pa.binary()),
])  # fmt: skip
SHARD_BYTES = 256_000_000
GROUP_BYTES = 16_000_000


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        url: canonical URL.
        fetched_at: ISO 8601, UTC.
        status: the HTTP status.
        content_type: media type in lower case, without parameters.
        charset: the encoding that the server named, or "".
        etag: the server's validator, or "".
        last_modified: the server's validator, or "".
        body: the bytes, after Content-Encoding was undone.
    """

    url: str
    fetched_at: str
    status: int
    content_type: str
    charset: str
    etag: str
    last_modified: str
    body: bytes


def write_pages(folder: Path, pages: Iterable[Page]) -> tuple[int, int]:
    """Write ``pages-00000.parquet`` … in the order given; return how many pages and bytes there were.

    Row groups and shards end at fixed sizes, so equal pages give equal files.
    """
    count = total = 0
    for shard, groups in enumerate(_shards(pages)):
        with pq.ParquetWriter(folder / f"pages-{shard:05d}.parquet", SCHEMA, compression="zstd") as writer:
            for group in groups:
                writer.write_batch(_batch(group))
                count += len(group)
                total += sum(len(page.body) for page in group)
    return count, total


def read_pages(folder: Path) -> Iterator[Page]:
    """The pages of a folder in their order, in memory bounded by one row group."""
    for path in sorted(folder.glob("pages-*.parquet")):
        file = pq.ParquetFile(path)
        for number in range(file.num_row_groups):
            for row in file.read_row_group(number).to_pylist():
                yield Page(**{**row, "fetched_at": row["fetched_at"].isoformat()})


def _shards(pages: Iterable[Page]) -> Iterator[Iterable[list[Page]]]:
    """Row groups by shard: a shard is a list of groups, closed once it holds ``SHARD_BYTES``."""
    groups = _groups(pages)
    for first in groups:
        yield _until_full(first, groups)


def _until_full(first: list[Page], groups: Iterator[list[Page]]) -> Iterator[list[Page]]:
    yield first
    size = _size(first)
    while size < SHARD_BYTES and (group := next(groups, None)):
        yield group
        size += _size(group)


def _groups(pages: Iterable[Page]) -> Iterator[list[Page]]:
    group, size = list[Page](), 0
    for page in pages:
        group.append(page)
        size += len(page.body)
        if size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _size(group: list[Page]) -> int:
    return sum(len(page.body) for page in group)


def _batch(group: list[Page]) -> pa.RecordBatch:
    columns: list[list[Any]] = [list(column) for column in zip(*map(astuple, group), strict=True)]
    columns[1] = [datetime.fromisoformat(moment) for moment in columns[1]]
    arrays = [pa.array(values, type=field.type) for values, field in zip(columns, SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=SCHEMA)
