"""Artifacts: immutable published folders, their identity, and how they come to be.

An artifact is a folder with an ``artifact.json`` that says what it is, which code, configuration and
inputs made it, and the SHA-256 of every file in it. The folder appears under its final name by one
``rename`` after everything in it was flushed, so that it is either whole or absent.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from storage.errors import GristmillError

Kind = Literal[
    "site", "pages", "documents", "tokenizer", "tokens", "conversations", "checkpoint", "model", "evaluation"
]
KINDS: tuple[str, ...] = get_args(Kind)
RECORD = "artifact.json"


@dataclass(frozen=True)
class Identity:
    """Everything that decides whether a step must run: its key is a hash of all but the label.

    Attributes:
        step: the step's name.
        label: which of several uses of the step this is (a source's name), or "".
        code: qualified name → hash of every definition of this project that the step reaches.
        configuration: the values that this step reads.
        inputs: argument name → content digest of the artifact given there.
        libraries: library → version, for those that shape the output.
    """

    step: str
    label: str
    code: Mapping[str, str]
    configuration: Mapping[str, Any]
    inputs: Mapping[str, str]
    libraries: Mapping[str, str]

    @property
    def key(self) -> str:
        """Hash of everything but the label, in hex."""
        parts = asdict(self)
        del parts["label"]
        return hashlib.sha256(canonical_json(parts)).hexdigest()


@dataclass(frozen=True)
class File:
    """One file of an artifact: path relative to its folder, size in bytes, SHA-256 in hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Artifact:
    """A published folder. ``digest`` identifies its content, ``key`` the work that made it."""

    kind: Kind
    identity: Identity
    key: str
    digest: str
    files: tuple[File, ...]
    statistics: Mapping[str, Any]
    created_at: str
    seconds: float
    input_keys: Mapping[str, str]
    path: Path = field(compare=False)

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def name(self) -> str:
        """Short human name: step, label and the head of the key."""
        return short_name(self.identity, self.key)

    def verify(self) -> None:
        """Hash every file and compare; raise :class:`GristmillError` naming the first that differs."""
        for file in self.files:
            if not (self.path / file.path).is_file() or sha256_file(self.path / file.path) != file.sha256:
                raise damaged(self.path, file.path)


class Store:
    """The artifacts below one home folder.

    Args:
        home: the folder that holds ``artifacts/``, ``building/`` (half-made, never read), ``scratch/``
            (what a step keeps between attempts) and ``leases/``.

    Attributes:
        notes: what the caller remembers of an artifact by its key while this object lives.
    """

    def __init__(self, home: Path) -> None:
        self.home = home.absolute()
        self.notes: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"Store({str(self.home)!r})"

    def folder(self, kind: str, identity: Identity, key: str) -> Path:
        """Where the artifact of this key stands once it is published."""
        return self.home / "artifacts" / kind / short_name(identity, key)

    def building(self, key: str) -> Path:
        """Where it is made; never read."""
        return self.home / "building" / key

    def scratch(self, identity: Identity, key: str) -> Path:
        """What its step keeps from one attempt to the next."""
        return self.home / "scratch" / short_name(identity, key)

    def find(self, kind: str, identity: Identity) -> Artifact | None:
        """The published artifact of this identity, or None. Sizes are checked, hashes are not."""
        folder = self.folder(kind, identity, identity.key)
        return open_artifact(folder) if (folder / RECORD).is_file() else None

    def all(self) -> Iterator[Artifact]:
        """Every published artifact, oldest first."""
        records = (self.home / "artifacts").glob(f"*/*/{RECORD}")
        yield from sorted((open_artifact(p.parent) for p in records), key=lambda a: (a.created_at, a.name))

    def latest(self, step: str, label: str = "") -> Artifact | None:
        """The newest artifact that ``step`` published under ``label``."""
        records = (self.home / "artifacts").glob(f"*/{'-'.join(filter(None, (step, label)))}-*/{RECORD}")
        found = [open_artifact(p.parent) for p in records]
        mine = [a for a in found if (a.identity.step, a.identity.label) == (step, label)]
        return max(mine, key=lambda a: a.created_at, default=None)

    def publish(self, draft: Artifact) -> Artifact:
        """Flush the building folder ``draft.path``, describe it, and move it into place."""
        files = tuple(list_files(draft.path))
        digest = content_digest(files)
        final = self.folder(draft.kind, draft.identity, draft.key)
        artifact = replace(draft, files=files, digest=digest, path=final)
        write_record(artifact, draft.path)
        flush_tree(draft.path)
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.exists():
            shutil.rmtree(final)
        os.rename(draft.path, final)
        flush(final.parent)
        return artifact


def short_name(identity: Identity, key: str) -> str:
    """Step, label and the head of the key."""
    return "-".join(filter(None, (identity.step, identity.label, key[:12])))


def canonical_json(value: object) -> bytes:
    """UTF-8 JSON with sorted keys and no spaces: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def list_files(folder: Path) -> Iterator[File]:
    """Every file below ``folder`` but the record, by path."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != RECORD):
        yield File(path.relative_to(folder).as_posix(), path.stat().st_size, sha256_file(path))


def content_digest(files: tuple[File, ...]) -> str:
    """Hash of the files' names and contents, in hex."""
    return hashlib.sha256(canonical_json([[f.path, f.sha256] for f in files])).hexdigest()


def write_record(artifact: Artifact, folder: Path) -> None:
    """Write ``artifact.json``: all of ``artifact`` but its path."""
    record = asdict(artifact)
    del record["path"]
    (folder / RECORD).write_text(json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def open_artifact(folder: Path) -> Artifact:
    """Read a published folder; raise :class:`GristmillError` if a file is missing or has another size."""
    try:
        record = json.loads((folder / RECORD).read_text())
        record["identity"] = Identity(**record["identity"])
        record["files"] = tuple(File(**f) for f in record["files"])
        artifact = Artifact(**record, path=folder)
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(folder, RECORD) from error
    for file in artifact.files:
        path = folder / file.path
        if not path.is_file() or path.stat().st_size != file.size:
            raise damaged(folder, file.path)
    return artifact


def damaged(folder: Path, file: str) -> GristmillError:
    """The error for an artifact that is not what was published."""
    return GristmillError(
        f"The artifact {folder} is damaged: {file} is missing or not what was published.",
        f"Remove it with `rm -r {folder}` and run the same command again: it will be made anew.",
    )


def flush(path: Path) -> None:
    """fsync one file or folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_tree(folder: Path) -> None:
    """fsync every file and folder below ``folder``, and itself."""
    for path in folder.rglob("*"):
        flush(path)
    flush(folder)
