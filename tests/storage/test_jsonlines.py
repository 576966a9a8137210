"""Lines of JSON: what a crash cut off is lost alone, and a reader that follows gets each line once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.jsonlines import Tail, append


@given(cut=st.integers(1, 60))
def test_a_line_cut_off_by_a_crash_is_lost_alone(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("log") / "lines.jsonl"
    for n in (1, 2, 3):
        append(path, {"n": n, "filling": "é" * 40})
    path.write_bytes(path.read_bytes()[:-cut])
    assert [line["n"] for line in Tail(path).new()] == [1, 2]
    append(path, {"n": 4})
    found = [line["n"] for line in Tail(path).new()]
    assert found == ([1, 2, 3, 4] if cut == 1 else [1, 2, 4])


def test_a_tail_gives_each_line_once_and_waits_for_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    tail = Tail(path)
    assert list(tail.new()) == []
    append(path, {"n": 1})
    assert list(tail.new()) == [{"n": 1}]
    with path.open("a") as stream:
        stream.write('{"n": ')
        stream.flush()
        assert list(tail.new()) == []
        stream.write("2}\n")
    assert list(tail.new()) == [{"n": 2}]
    assert list(tail.new()) == []


def test_what_is_no_object_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'[1]\n"step"\n\xff\xfe\n{"n": 1}\n')
    assert list(Tail(path).new()) == [{"n": 1}]
