"""The event log of a run: one JSON line an event, appended by the worker, followed by whoever watches."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Event = dict[str, Any]


class EventLog:
    """``events.jsonl``: append-only; a last line cut off by a crash is not an event."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, event: str, **fields: Any) -> None:
        """Append one event with the time of day."""
        line = json.dumps({"event": event, "time": round(time.time(), 3), **fields}) + "\n"
        torn = self._ends_torn()
        with self.path.open("a") as stream:
            stream.write("\n" + line if torn else line)

    def read(self) -> list[Event]:
        """Every event, oldest first."""
        return list(Tail(self.path).new())

    def _ends_torn(self) -> bool:
        if not self.path.is_file() or self.path.stat().st_size == 0:
            return False
        with self.path.open("rb") as stream:
            stream.seek(-1, 2)
            return stream.read(1) != b"\n"


class Tail:
    """Reads what was appended since the last look."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def new(self) -> Iterator[Event]:
        """The events added since the last call."""
        if not self.path.is_file():
            return
        with self.path.open("rb") as stream:
            stream.seek(self._offset)
            data = stream.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            event = _parse(line)
            if event is not None:
                yield event


def _parse(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def last_steps(events: list[Event]) -> list[Event]:
    """The ``step`` events of a run, one a step: of a step that was replayed after a crash, the last."""
    return [e for _, e in sorted({e["step"]: e for e in events if e["event"] == "step"}.items())]
