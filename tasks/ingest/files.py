"""The step ``read_files``: text, Markdown, HTML, source code, JSONL and Parquet files become documents."""

from __future__ import annotations

import io
import json
import lzma
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from storage.documents import Document, Dropped, document_id
from tasks.ingest.docstrings import docstrings
from tasks.ingest.extract import decode
from tasks.ingest.formats import LANGUAGES, Shape, TooLargeError, inner_suffix, read_bytes, shape_of
from tasks.ingest.html import extract_html
from tasks.ingest.matching import FilesSource, Found, matched_files
from tasks.ingest.results import drop, is_garbled, write_results
from tasks.step import Work, step

ROWS_PER_BATCH = 1_000
DAMAGED = (OSError, EOFError, lzma.LZMAError, zlib.error)


@step(kind="documents", libraries=("resiliparse", "pyarrow"))
def read_files(work: Work, source: FilesSource, fingerprint: str) -> dict[str, Any]:
    """Read the matched files as documents, in the order of their URLs.

    Dropped, with stage ``ingest``: files that are too large, damaged, undecodable, not parsable or empty.

    Args:
        source: which files.
        fingerprint: :func:`files_fingerprint` of the source, so that a changed file changes the key.
    """
    files = matched_files(source)
    return {"files": len(files), **write_results(work.out, _results(work, source, files), source.max_documents)}


def _results(work: Work, source: FilesSource, files: list[Found]) -> Iterator[Document | Dropped]:
    with work.progress("reading", len(files), "files") as bar:
        for file in files:
            yield from read_file(file, source)
            bar.advance(1)


def read_file(file: Found, source: FilesSource) -> Iterator[Document | Dropped]:
    """The documents of one file: one, or one a row of JSONL and Parquet (URL with ``#row``, from 0)."""
    import pyarrow as pa

    shape = shape_of(file.path)
    try:
        data = read_bytes(file.path, source.max_file_bytes)
        if shape == "jsonl" or shape == "parquet":
            yield from _rows(file, data, shape, source)
        else:
            yield _whole(file, data, shape, source)
    except TooLargeError as error:
        yield drop(source.name, file.url, "ingest", "too large", str(error))
    except (*DAMAGED, pa.ArrowInvalid) as error:
        yield drop(source.name, file.url, "ingest", "damaged", type(error).__name__)


def _whole(file: Found, data: bytes, shape: Shape | None, source: FilesSource) -> Document | Dropped:
    text, encoding = decode(data, "")
    if is_garbled(text) or "\0" in text:
        return drop(source.name, file.url, "ingest", "undecodable", encoding)
    if shape == "code" and source.content == "docstrings":
        return _prose(file, text, source)
    if shape == "html":
        found = extract_html(text)
        return _document(file, file.url, found.text, source, meta={"title": found.title})
    language = LANGUAGES.get(inner_suffix(file.path), "")
    return _document(file, file.url, text, source, language=language)


def _prose(file: Found, text: str, source: FilesSource) -> Document | Dropped:
    if LANGUAGES[inner_suffix(file.path)] != "python":
        return drop(source.name, file.url, "ingest", "no docstrings", inner_suffix(file.path))
    try:
        return _document(file, file.url, docstrings(text, module_name(file.url)), source)
    except (SyntaxError, ValueError, RecursionError) as error:
        return drop(source.name, file.url, "ingest", "unparsable", type(error).__name__)


def module_name(url: str) -> str:
    """Dotted module name of a Python file: by its path below the standard library, else its own name."""
    scheme, _, path = url.partition(":")
    parts = PurePosixPath(path.removesuffix(".gz")).with_suffix("").parts
    parts = parts if scheme == "stdlib" else parts[-1:]
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


def _rows(file: Found, data: bytes, shape: Shape, source: FilesSource) -> Iterator[Document | Dropped]:
    values = _jsonl(data, source.text_field) if shape == "jsonl" else _parquet(data, source)
    for row, text in enumerate(values):
        url = f"{file.url}#{row}"
        if text is None:
            yield drop(source.name, url, "ingest", "no text", source.text_field)
        else:
            yield _document(file, url, text, source)


def _jsonl(data: bytes, field: str) -> Iterator[str | None]:
    for line in filter(bytes.strip, data.splitlines()):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        value = row.get(field) if isinstance(row, dict) else None
        yield value if isinstance(value, str) else None


def _parquet(data: bytes, source: FilesSource) -> Iterator[str | None]:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(io.BytesIO(data))
    groups = (file.metadata.row_group(n) for n in range(file.metadata.num_row_groups))
    if sum(group.total_byte_size for group in groups) > source.max_file_bytes:
        raise TooLargeError(f"over {source.max_file_bytes:,} bytes")
    known = source.text_field in file.schema_arrow.names
    for batch in file.iter_batches(ROWS_PER_BATCH, columns=[source.text_field] if known else []):
        values = batch.column(0).to_pylist() if known else [None] * batch.num_rows
        yield from (value if isinstance(value, str) else None for value in values)


def _document(
    file: Found, url: str, text: str, source: FilesSource, language: str = "", meta: dict[str, Any] | None = None
) -> Document | Dropped:
    if not text.strip():
        return drop(source.name, url, "ingest", "empty", f"{len(text)} characters")
    return Document(
        id=document_id(source.name, url, text), source=source.name, url=url, fetched_at=_changed(file.path), text=text,
        language=language or "und", language_score=1.0 if language else 0.0, meta=meta or {},
    )  # fmt: skip


def _changed(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)
