"""Conversations from a user's JSON or JSONL file, in the usual shapes: Alpaca, ShareGPT, messages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from storage.errors import GristmillError
from tasks.tokenize.template import ROLES

Messages = tuple[dict[str, str], ...]

EXPECTED = (
    'Each record must be {"instruction", "input", "output"} (Alpaca), {"conversations": [{"from", "value"}, ...]} '
    '(ShareGPT) or {"messages": [{"role", "content"}, ...]}, with texts, and an assistant who speaks last.'
)
SPEAKERS = {
    "human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "assistant": "assistant",
    "bing": "assistant", "bard": "assistant", "system": "system",
}  # fmt: skip


def read_dialogues(path: Path) -> Iterator[tuple[int, Messages]]:
    """Each record of the file as (line or record number from 1, messages).

    Raises:
        GristmillError: naming the file, the line (of JSONL; the record of a JSON array) and what is expected.
    """
    for number, record in _records(path):
        messages = _messages(record)
        if messages is None:
            raise _malformed(path, number, "is in no known shape")
        yield number, messages


def _records(path: Path) -> Iterator[tuple[int, Any]]:
    if not path.is_file():
        raise GristmillError(f"There is no file {path}.", "Set conversations.path to a JSON or JSONL file.")
    if path.suffix.lower() == ".json":
        yield from enumerate(_json_array(path), 1)
        return
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, _json_line(path, number, line)


def _json_array(path: Path) -> list[Any]:
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _malformed(path, getattr(error, "lineno", 1), f"is not JSON ({error})") from error
    if not isinstance(found, list):
        raise _malformed(path, 1, "is not an array of records")
    return found


def _json_line(path: Path, number: int, line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _malformed(path, number, f"is not JSON ({error})") from error


def _messages(record: Any) -> Messages | None:
    """The record's messages, or None if it is in no known shape."""
    if not isinstance(record, dict):
        return None
    if "messages" in record:
        turns = _turns(record["messages"], "role", "content")
    elif "conversations" in record:
        turns = _turns(record["conversations"], "from", "value")
    else:
        turns = _alpaca(record)
    known = bool(turns) and all(_is_text(t) and r in ROLES for r, t in turns)
    if not known or turns[-1][0] != "assistant" or not any(r == "user" for r, _ in turns):
        return None
    return tuple({"role": role, "content": text.strip()} for role, text in turns)


def _is_text(value: Any) -> bool:
    """Whether it is a string that UTF-8 can hold; JSON may spell half a surrogate pair."""
    return isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value)


def _turns(given: Any, role: str, content: str) -> list[tuple[str, Any]]:
    if not isinstance(given, list) or not all(isinstance(turn, dict) for turn in given):
        return []
    return [(SPEAKERS.get(str(turn.get(role)), ""), turn.get(content)) for turn in given]


def _alpaca(record: dict[str, Any]) -> list[tuple[str, Any]]:
    instruction, context, output = (record.get(k) for k in ("instruction", "input", "output"))
    if not isinstance(instruction, str) or not isinstance(context or "", str):
        return []
    return [("user", "\n\n".join(filter(None, (instruction, context)))), ("assistant", output)]


def _malformed(path: Path, number: int, how: str) -> GristmillError:
    return GristmillError(f"{path}, line {number}: the record {how}.", EXPECTED)
