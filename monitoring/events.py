"""The event log of a run: one JSON line an event, appended by the worker, followed by whoever watches."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from storage.jsonlines import Line, Tail, append

Event = Line


class EventLog:
    """``events.jsonl`` of a run: append-only; a last line cut off by a crash is not an event."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, event: str, **fields: Any) -> None:
        """Append one event with the time of day."""
        append(self.path, {"event": event, "time": round(time.time(), 3), **fields})

    def read(self) -> list[Event]:
        """Every event, oldest first."""
        return list(Tail(self.path).new())


def last_steps(events: list[Event]) -> list[Event]:
    """The ``step`` events of a run, one a step: of a step that was replayed after a crash, the last."""
    return [e for _, e in sorted({e["step"]: e for e in events if e["event"] == "step"}.items())]
