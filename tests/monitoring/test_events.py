"""The event log: what a crash cut off is no event, and a replayed step counts once."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from monitoring.events import EventLog, Tail, last_steps


def test_events_are_read_back_in_order(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    assert log.read() == []
    log.add("start", step=0)
    log.add("step", step=1, note="a\u2028b\nc")
    assert [(e["event"], e["step"]) for e in log.read()] == [("start", 0), ("step", 1)]
    assert log.read()[1]["note"] == "a\u2028b\nc"


@given(cut=st.integers(1, 60))
def test_a_line_cut_off_by_a_crash_is_lost_alone(tmp_path_factory: object, cut: int) -> None:
    path = tmp_path_factory.mktemp("log") / "events.jsonl"  # type: ignore[attr-defined]
    log = EventLog(path)
    for step in (1, 2, 3):
        log.add("step", step=step, filling="x" * 40)
    path.write_bytes(path.read_bytes()[:-cut])
    assert [e["step"] for e in log.read()] == [1, 2]
    log.add("step", step=4)
    steps = [e["step"] for e in log.read()]
    assert steps in ([1, 2, 4], [1, 2, 3, 4])
    assert (3 in steps) == (cut == 1)


def test_a_tail_gives_each_event_once_and_waits_for_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail, log = Tail(path), EventLog(path)
    assert list(tail.new()) == []
    log.add("step", step=1)
    assert [e["step"] for e in tail.new()] == [1]
    with path.open("a") as stream:
        stream.write('{"event": "step", ')
        stream.flush()
        assert list(tail.new()) == []
        stream.write('"step": 2}\n')
    assert [e["step"] for e in tail.new()] == [2]
    assert list(tail.new()) == []


def test_what_is_no_event_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'[1]\n"step"\n\xff\xfe\n{"event": "step", "step": 1}\n')
    assert EventLog(path).read() == [{"event": "step", "step": 1}]


def test_of_a_replayed_step_the_last_counts() -> None:
    told = ["step 1 a", "checkpoint 1 -", "step 2 a", "start 1 -", "step 2 b", "step 3 b"]
    events = [{"event": e, "step": int(step), "try": attempt} for e, step, attempt in map(str.split, told)]
    assert [(e["step"], e["try"]) for e in last_steps(events)] == [(1, "a"), (2, "b"), (3, "b")]
