"""Conversations as training rows: tokens, labels on the response only, packed without waste."""

from __future__ import annotations

import bisect
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from storage.artifact import Artifact
from storage.errors import GristmillError, require
from tasks.step import Work, step
from tasks.tokenize.template import Message, encode, render
from tasks.tokenize.vocabulary import PAD, load_tokenizer, special_id

if TYPE_CHECKING:
    from tokenizers import Tokenizer

IGNORED = -100
SIDECAR = pa.schema([
    ("row", pa.int64()), ("document_id", pa.string()), ("start", pa.int64()), ("n_tokens", pa.int64()),
])  # fmt: skip

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PackConfig:
    """How conversations are packed.

    Attributes:
        name: label of the result.
        sequence_length: tokens that a model reads at once; a row has one more.
    """

    name: str = ""
    sequence_length: int = 512

    def __post_init__(self) -> None:
        require(self.sequence_length >= 8, "sequence_length", self.sequence_length, "at least 8")


@dataclass(frozen=True)
class Example:
    """One conversation: ids, labels (an id, or -100 where nothing is learned), and its document's id."""

    tokens: list[int]
    labels: list[int]
    document_id: str


@dataclass(frozen=True)
class Placed:
    """Where an example lies: its row, and the first of its tokens in that row."""

    example: Example
    row: int
    offset: int


@step(kind="tokens", libraries=("tokenizers",))
def encode_conversations(
    work: Work, config: PackConfig, conversations: Artifact, tokenizer: Artifact
) -> dict[str, Any]:
    """Write ``train.npy`` and ``held_out.npy``, int32 [row, 2, sequence_length + 1]: tokens, then labels.

    Beside each lies a sidecar: ``row``, ``document_id``, and ``start`` and ``n_tokens`` as if the rows were
    one stream. A conversation longer than a row is cut; one whose response is all cut away is left out.

    Raises:
        GristmillError: no conversation to train on fits.
    """
    encoder = load_tokenizer(tokenizer.path)
    statistics: dict[str, Any] = {"row_tokens": config.sequence_length + 1}
    for split in ("train", "held_out"):
        statistics[split] = _encode_split(work, config, conversations.path, encoder, split)
    if not statistics["train"]["rows"]:
        raise GristmillError(
            f"No conversation of {conversations.name} fits into {config.sequence_length} tokens.",
            "Raise finetune.sequence_length, or give shorter conversations.",
        )
    return statistics


def encode_conversation(messages: Sequence[Message], tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Token ids and labels of one conversation; a label is -100 but on the assistant's words and their end.

    Args:
        messages: the conversation.
        tokenizer: from :func:`tasks.tokenize.vocabulary.load_tokenizer`.
    """
    pairs = list(encode(render(messages), tokenizer))
    return [token for token, _ in pairs], [token if learned else IGNORED for token, learned in pairs]


def pack(examples: Sequence[Example], sequence_length: int, pad: int) -> tuple[I64, list[Placed]]:
    """Pack examples into rows by best fit, longest first (Ding et al. 2024, arXiv:2404.10830).

    Returns:
        int64 [row, 2, sequence_length + 1] of tokens (``pad`` where empty) and labels (-100 there), and where
        each example lies, by row and offset. Inputs are ``[:, 0, :-1]``, their labels ``[:, 1, 1:]``.
    """
    width = sequence_length + 1
    placed = sorted(_place(examples, width), key=lambda p: (p.row, p.offset))
    rows = np.empty((placed[-1].row + 1 if placed else 0, 2, width), np.int64)
    rows[:, 0], rows[:, 1] = pad, IGNORED
    for item in placed:
        here = slice(item.offset, item.offset + len(item.example.tokens))
        rows[item.row, 0, here], rows[item.row, 1, here] = item.example.tokens, item.example.labels
    return rows, placed


def _place(examples: Sequence[Example], width: int) -> Iterator[Placed]:
    """Each example in the fullest row that has room for it, else in a new one."""
    rooms: list[tuple[int, int]] = []
    n_rows = 0
    for example in sorted(examples, key=lambda e: -len(e.tokens)):
        size = len(example.tokens)
        best = bisect.bisect_left(rooms, (size, -1))
        if best < len(rooms):
            room, row = rooms.pop(best)
        else:
            room, row, n_rows = width, n_rows, n_rows + 1
        bisect.insort(rooms, (room - size, row))
        yield Placed(example, row, width - room)


def _encode_split(
    work: Work, config: PackConfig, folder: Path, encoder: Tokenizer, split: str
) -> dict[str, int]:
    width = config.sequence_length + 1
    examples = list(_examples(folder / f"{split}.jsonl", encoder))
    cut = [replace(e, tokens=e.tokens[:width], labels=e.labels[:width]) for e in examples]
    # The first token of a row is never predicted.
    kept = [e for e in cut if any(label != IGNORED for label in e.labels[1:])]
    rows, placed = pack(kept, config.sequence_length, special_id(encoder, PAD))
    np.save(work.out / f"{split}.npy", rows.astype(np.int32), allow_pickle=False)
    spans = [(p.row, p.example.document_id, p.row * width + p.offset, len(p.example.tokens)) for p in placed]
    columns = [[s[i] for s in spans] for i in range(len(SIDECAR))]
    table = pa.table([pa.array(c, f.type) for c, f in zip(columns, SIDECAR, strict=True)], schema=SIDECAR)
    pq.write_table(table, work.out / f"{split}.parquet", compression="zstd")
    return {
        "rows": len(rows), "conversations": len(kept), "left_out": len(examples) - len(kept),
        "cut": sum(len(e.tokens) > width for e in examples), "tokens": sum(len(e.tokens) for e in kept),
        "response_tokens": int((rows[:, 1, 1:] != IGNORED).sum()),
    }  # fmt: skip


def _examples(path: Path, encoder: Tokenizer) -> Iterator[Example]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            conversation = json.loads(line)
            yield Example(*encode_conversation(conversation["messages"], encoder), conversation["document_id"])
