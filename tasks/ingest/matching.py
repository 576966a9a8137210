"""The source type ``files``: which files of this machine to read."""

from __future__ import annotations

import glob
import hashlib
import sysconfig
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from storage.artifact import canonical_json
from storage.errors import GristmillError, require
from tasks.ingest.formats import shape_of

STDLIB = "{stdlib}"


@dataclass(frozen=True)
class FilesSource:
    """Files of this machine.

    Attributes:
        type: always ``files``.
        name: the source's name, unique in the recipe.
        paths: globs (``**`` for any depth); ``~`` and ``{stdlib}``, the folder of Python's standard library.
        exclude: globs of whole paths, or of paths below ``{stdlib}``, to leave out.
        text_field: JSONL and Parquet: the field that holds the text.
        content: ``text``, or ``docstrings`` for those of Python sources as prose.
        max_file_bytes: largest file, in bytes after decompression.
        max_documents: documents to keep, in the order of the files' URLs; 0 means all.
    """

    name: str
    paths: tuple[str, ...]
    type: Literal["files"] = "files"
    exclude: tuple[str, ...] = ()
    text_field: str = "text"
    content: Literal["text", "docstrings"] = "text"
    max_file_bytes: int = 50_000_000
    max_documents: int = 0

    def __post_init__(self) -> None:
        require(bool(self.name), "name", self.name, "a name")
        require(bool(self.paths) and all(self.paths), "paths", self.paths, "at least one glob")
        require(self.content in ("text", "docstrings"), "content", self.content, "text or docstrings")
        require(self.max_file_bytes > 0, "max_file_bytes", self.max_file_bytes, "above 0")
        require(self.max_documents >= 0, "max_documents", self.max_documents, "0 or more")


@dataclass(frozen=True, order=True)
class Found:
    """A file and its URL: ``stdlib:…`` below the standard library, so the same on each machine, else ``file://…``."""

    url: str
    path: Path


def matched_files(source: FilesSource) -> list[Found]:
    """The files of a source, sorted by URL, without those whose suffix is not known.

    Raises:
        GristmillError: there is none.
    """
    library = Path(sysconfig.get_path("stdlib"))
    globs = [str(Path(path.replace(STDLIB, glob.escape(str(library)))).expanduser()) for path in source.paths]
    paths = {Path(path).absolute() for pattern in globs for path in glob.iglob(pattern, recursive=True)}
    found = (_found(path, library if any(STDLIB in p for p in source.paths) else None) for path in paths)
    files = sorted(file for file in found if _wanted(file, source))
    if not files:
        raise GristmillError(
            f"No file matches {', '.join(source.paths)} of the source {source.name!r}.",
            "Correct `paths` (use ** for any depth) or `exclude`; files need a suffix such as .txt, .md or .jsonl.",
        )
    return files


def files_fingerprint(source: FilesSource) -> str:
    """A hash over URL, size and time of change of each matched file: another one means to read anew."""
    marks = [[f.url, f.path.stat().st_size, f.path.stat().st_mtime_ns] for f in matched_files(source)]
    return hashlib.sha256(canonical_json(marks)).hexdigest()[:16]


def _found(path: Path, library: Path | None) -> Found:
    if library and path.is_relative_to(library):
        return Found(f"stdlib:{path.relative_to(library).as_posix()}", path)
    return Found(path.as_uri(), path)


def _wanted(file: Found, source: FilesSource) -> bool:
    names = (str(file.path), file.url.removeprefix("stdlib:"))
    excluded = any(fnmatch(name, pattern) for pattern in source.exclude for name in names)
    return not excluded and shape_of(file.path) is not None and file.path.is_file()
