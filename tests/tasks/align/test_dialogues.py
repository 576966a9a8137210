from __future__ import annotations

import json
from pathlib import Path

import pytest

from storage.errors import GristmillError
from tasks.align.dialogues import read_dialogues

USER, ANSWER = {"role": "user", "content": "Hi\n\nthere"}, {"role": "assistant", "content": "Ho"}
SHAPES = [
    {"instruction": "Hi", "input": "there", "output": "Ho "},
    {"conversations": [{"from": "human", "value": "Hi\n\nthere"}, {"from": "gpt", "value": "Ho"}]},
    {"messages": [USER, ANSWER], "more": 1},
]


@pytest.mark.parametrize("record", SHAPES)
@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_the_usual_shapes_are_read(tmp_path: Path, record: dict[str, object], suffix: str) -> None:
    path = tmp_path / f"chat{suffix}"
    path.write_text(json.dumps([record]) if suffix == ".json" else json.dumps(record) + "\n\n")
    assert list(read_dialogues(path)) == [(1, (USER, ANSWER))]


def test_system_and_several_turns_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    messages = [{"role": "system", "content": "Be brief."}, USER, ANSWER, USER, ANSWER]
    path.write_text(json.dumps({"messages": messages}))
    assert list(read_dialogues(path)) == [(1, tuple(messages))]


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "3", "{}", '{"instruction": 3, "output": "x"}', '{"instruction": "x"}', '{"messages": []}',
     '{"messages": [{"role": "user", "content": "x"}]}', '{"messages": [{"role": "assistant", "content": "x"}]}',
     '{"messages": "x"}', '{"messages": [3]}', '{"conversations": [{"from": "dog", "value": "x"}]}',
     '{"instruction": "\\ud800", "output": "x"}', "[" * 100_000, "\\xff"],
)  # fmt: skip
def test_a_malformed_line_is_named_with_what_is_expected(tmp_path: Path, line: str) -> None:
    path = tmp_path / "chat.jsonl"
    path.write_text(json.dumps(SHAPES[0]) + "\n" + line + "\n")
    with pytest.raises(GristmillError, match=r"chat\.jsonl, line 2: .*Alpaca.*ShareGPT.*messages"):
        list(read_dialogues(path))


@pytest.mark.parametrize("text", ["", "{}", "[1", "[1]"])
def test_a_malformed_array_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "chat.json"
    path.write_text(text)
    with pytest.raises(GristmillError, match=r"chat\.json, line 1: "):
        list(read_dialogues(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(GristmillError, match="no file"):
        list(read_dialogues(tmp_path / "none.jsonl"))
