"""File formats: what a suffix says of a file's content, and opening it compressed or not within a limit."""

from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path
from typing import IO, Literal

Shape = Literal["text", "html", "code", "jsonl", "parquet"]

LANGUAGES = {
    ".py": "python", ".pyi": "python", ".c": "c", ".h": "c", ".cc": "cpp", ".cpp": "cpp", ".cxx": "cpp", ".hpp": "cpp",
    ".cs": "csharp", ".go": "go", ".java": "java", ".jl": "julia", ".js": "javascript", ".mjs": "javascript",
    ".kt": "kotlin", ".lua": "lua", ".php": "php", ".pl": "perl", ".r": "r", ".rb": "ruby", ".rs": "rust",
    ".scala": "scala", ".sh": "shell", ".sql": "sql", ".swift": "swift", ".ts": "typescript", ".tsx": "typescript",
}  # fmt: skip
SHAPES: dict[str, Shape] = {
    ".txt": "text", ".md": "text", ".markdown": "text", ".rst": "text", ".html": "html", ".htm": "html",
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", **dict.fromkeys(LANGUAGES, "code"),
}  # fmt: skip
COMPRESSIONS = frozenset({".gz", ".zst", ".xz", ".bz2"})


class TooLargeError(ValueError):
    """A file that is larger than allowed, as it lies or once decompressed."""


def inner_suffix(path: Path) -> str:
    """The suffix in lower case that tells the content: ``.md`` for ``a.md`` and for ``a.md.gz``."""
    return (Path(path.stem) if path.suffix.lower() in COMPRESSIONS else path).suffix.lower()


def shape_of(path: Path) -> Shape | None:
    """What the file holds by its name, or None if the suffix is not known."""
    return SHAPES.get(inner_suffix(path))


def read_bytes(path: Path, largest: int) -> bytes:
    """The file's content, decompressed.

    Raises:
        TooLargeError: over ``largest`` bytes; a decompression bomb is stopped there.
        OSError, EOFError, lzma.LZMAError, zlib.error: damaged data.
    """
    with path.open("rb") as raw, _decompressed(raw, path.suffix.lower()) as stream:
        data = stream.read(largest + 1)
    if len(data) > largest:
        raise TooLargeError(f"over {largest:,} bytes")
    return data


def _decompressed(raw: IO[bytes], suffix: str) -> IO[bytes]:
    if suffix == ".zst":
        import pyarrow as pa

        return pa.CompressedInputStream(raw, "zstd")  # type: ignore[no-any-return]
    if suffix == ".gz":
        return gzip.GzipFile(fileobj=raw)  # type: ignore[return-value]
    if suffix == ".xz":
        return lzma.LZMAFile(raw)
    return bz2.BZ2File(raw) if suffix == ".bz2" else raw
