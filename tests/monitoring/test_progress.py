"""Progress: log lines away from a terminal, a bar on one."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from monitoring import progress as module
from monitoring.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_tell_count_rate_and_what_is_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = iter([0.0, 10.0, 20.0, 21.0, 40.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO, "gristmill.progress"), progress("train", 100, "steps") as bar:
        bar.advance(10)
        bar.advance(30, "loss 3.1")
        bar.advance(1)
        bar.at(80)
    assert [r.getMessage() for r in caplog.records] == [
        "train: 40 of 100 steps, 2.0/s, 30 s left loss 3.1", "train: 80 of 100 steps, 2.0/s, 10 s left ",
    ]  # fmt: skip


def test_lines_without_a_total_promise_no_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = iter([0.0, 20.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO, "gristmill.progress"), progress("crawl", None, "pages") as bar:
        bar.advance(40)
    assert [r.getMessage() for r in caplog.records] == ["crawl: 40 pages, 2.0/s "]


def test_a_terminal_gets_a_bar_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    with progress("grind", 10, "grains") as bar:
        bar.advance(4, "fine")
        bar.at(7, "finer")
    assert "grind" in screen.getvalue()
    assert "7/10" in screen.getvalue()
    assert "finer" in screen.getvalue()
