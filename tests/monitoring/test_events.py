"""The event log: events in order, and of a step that was replayed, the last."""

from __future__ import annotations

from pathlib import Path

from monitoring.events import EventLog, last_steps


def test_events_are_read_back_in_order(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    assert log.read() == []
    log.add("start", step=0)
    log.add("step", step=1, note="a\u2028b\nc")
    assert [(e["event"], e["step"]) for e in log.read()] == [("start", 0), ("step", 1)]
    assert log.read()[1]["note"] == "a\u2028b\nc"


def test_of_a_replayed_step_the_last_counts() -> None:
    told = ["step 1 a", "checkpoint 1 -", "step 2 a", "start 1 -", "step 2 b", "step 3 b"]
    events = [{"event": e, "step": int(step), "try": attempt} for e, step, attempt in map(str.split, told)]
    assert [(e["step"], e["try"]) for e in last_steps(events)] == [(1, "a"), (2, "b"), (3, "b")]
