"""Append-only files of one JSON object a line (https://jsonlines.org): a line cut off by a crash is lost alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Line = dict[str, Any]


def append(path: Path, line: Line) -> None:
    """Append one object with one ``write``, on a line of its own even if the last one was cut off."""
    text = json.dumps(line, ensure_ascii=False) + "\n"
    if _ends_torn(path):
        text = "\n" + text
    with path.open("a", encoding="utf-8") as stream:
        stream.write(text)


class Tail:
    """Reads what was appended to a file since the last look."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def new(self) -> Iterator[Line]:
        """The objects on the whole lines added since the last call."""
        if not self.path.is_file():
            return
        with self.path.open("rb") as stream:
            stream.seek(self._offset)
            data = stream.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        yield from (line for line in map(_parse, whole.splitlines()) if line is not None)


def _ends_torn(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size == 0:
        return False
    with path.open("rb") as stream:
        stream.seek(-1, 2)
        return stream.read(1) != b"\n"


def _parse(text: bytes) -> Line | None:
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None
