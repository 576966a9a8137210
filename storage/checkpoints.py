"""Checkpoints of a run: written under a temporary name, flushed, hashed, renamed; loaded if the hashes hold.

A folder ``step-00000200`` with a ``checkpoint.json`` that lists the SHA-256 of each file is a committed
checkpoint; anything else below the run's checkpoint folder is not. There is no pointer file to go stale:
the newest committed folder that verifies is the one to load.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from storage.artifact import File, flush, flush_tree, list_files, sha256_file

RECORD = "checkpoint.json"
log = logging.getLogger("gristmill.checkpoints")


@dataclass(frozen=True)
class Checkpoint:
    """A committed checkpoint.

    Attributes:
        step: optimizer steps done.
        position: samples seen; the next step starts here.
        store: content digest of the token store that was read.
        seed: seed of the order.
        committed_at: UTC, ISO 8601.
        versions: of the libraries that wrote it.
        files: with their SHA-256.
    """

    step: int
    position: int
    store: str
    seed: int
    committed_at: str
    versions: Mapping[str, str]
    files: tuple[File, ...]
    path: Path = field(compare=False)


class Checkpoints:
    """The checkpoints below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def draft(self, step: int) -> Path:
        """The folder that the ranks write their parts into; not a checkpoint until committed."""
        return self.folder / f"writing-{step:08d}"

    def commit(self, step: int, position: int, store: str, seed: int, versions: Mapping[str, str]) -> Checkpoint:
        """Flush and hash the draft of ``step`` and rename it into place."""
        draft, final = self.draft(step), self.folder / f"step-{step:08d}"
        files = tuple(f for f in list_files(draft) if f.path != RECORD)
        now = datetime.now(UTC).isoformat()
        checkpoint = Checkpoint(step, position, store, seed, now, versions, files, final)
        record: dict[str, Any] = asdict(checkpoint)
        del record["path"]
        (draft / RECORD).write_text(json.dumps(record, indent=1) + "\n")
        flush_tree(draft)
        shutil.rmtree(final, ignore_errors=True)
        os.rename(draft, final)
        flush(self.folder)
        return checkpoint

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that verifies; the refused ones are logged with the file that is wrong."""
        for checkpoint in reversed(list(self.all())):
            wrong = first_wrong_file(checkpoint)
            if wrong is None:
                return checkpoint
            log.warning("refused checkpoint %s: %s is missing or damaged", checkpoint.path, wrong)
        return None

    def all(self) -> Iterator[Checkpoint]:
        """Every committed checkpoint, oldest first; one whose record cannot be read is logged and left out."""
        for record in sorted(self.folder.glob(f"step-*/{RECORD}")):
            try:
                fields = json.loads(record.read_text())
                files = tuple(File(**f) for f in fields.pop("files"))
                yield Checkpoint(**fields, files=files, path=record.parent)
            except (ValueError, KeyError, TypeError) as error:
                log.warning("refused checkpoint %s: its record is damaged (%s)", record.parent, error)

    def rotate(self, keep: int) -> None:
        """Remove all but the newest ``keep`` checkpoints, and drafts that no one finished."""
        committed = sorted(p.parent for p in self.folder.glob(f"step-*/{RECORD}"))
        for folder in (*committed[:-keep], *self.folder.glob("writing-*")):
            shutil.rmtree(folder)


def first_wrong_file(checkpoint: Checkpoint) -> str | None:
    """The first file of ``checkpoint`` that is missing or whose hash differs, or None."""
    for file in checkpoint.files:
        path = checkpoint.path / file.path
        if not path.is_file() or path.stat().st_size != file.size or sha256_file(path) != file.sha256:
            return file.path
    return None
