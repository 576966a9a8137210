"""Progress of anything long: a bar with count, rate and ETA on a terminal, a log line elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

log = logging.getLogger("gristmill.progress")
LOG_EVERY_SECONDS = 15.0


class Progress(Protocol):
    """What a step tells about how far it is."""

    def __enter__(self) -> Progress: ...
    def __exit__(self, *exception: object) -> None: ...
    def advance(self, amount: float = 1, note: str = "") -> None:
        """Count ``amount`` more as done; ``note`` is shown beside the bar."""
    def at(self, done: float, note: str = "") -> None:
        """Set what is done so far."""


def progress(what: str, total: float | None = None, unit: str = "") -> Progress:
    """A bar on standard error if it is a terminal, else a log line every 15 seconds.

    Args:
        what: what is going on.
        total: how many units there are in all, if known.
        unit: what is counted, in the plural.
    """
    return _Bar(what, total, unit) if sys.stderr.isatty() else _Lines(what, total, unit)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} {task.fields['unit']}/s", style="cyan")


class _Bar:
    def __init__(self, what: str, total: float | None, unit: str) -> None:
        columns = (
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), _Rate(),
            TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
        )
        self._bars = Bars(*columns, console=Console(stderr=True), transient=True, refresh_per_second=4)
        self._task = self._bars.add_task(what, total=total, unit=unit, note="")

    def __enter__(self) -> _Bar:
        self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bars.stop()

    def advance(self, amount: float = 1, note: str = "") -> None:
        self._bars.update(self._task, advance=amount, note=note)

    def at(self, done: float, note: str = "") -> None:
        self._bars.update(self._task, completed=done, note=note)


class _Lines:
    def __init__(self, what: str, total: float | None, unit: str) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._done = 0.0

    def __enter__(self) -> _Lines:
        self._started = self._told = time.monotonic()
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def advance(self, amount: float = 1, note: str = "") -> None:
        self.at(self._done + amount, note)

    def at(self, done: float, note: str = "") -> None:
        self._done, now = done, time.monotonic()
        if now - self._told < LOG_EVERY_SECONDS:
            return
        self._told = now
        rate = done / (now - self._started)
        of = f" of {self._total:,.0f}" if self._total else ""
        left = f", {(self._total - done) / rate:,.0f} s left" if self._total and rate else ""
        log.info("%s: %s%s %s, %s/s%s %s", self._what, f"{done:,.0f}", of, self._unit, f"{rate:,.1f}", left, note)

