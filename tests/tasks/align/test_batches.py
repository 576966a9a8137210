from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.artifact import Artifact, Store
from storage.documents import Document
from storage.errors import GristmillError
from tasks.align.batches import IGNORED, Example, PackConfig, encode_conversation, encode_conversations, pack
from tasks.align.conversations import ConversationsConfig, build_conversations, conversations_fingerprint
from tasks.tokenize.bpe import TokenizerConfig, train_tokenizer
from tasks.tokenize.vocabulary import load_tokenizer

Made = tuple[Artifact, Artifact]
PAD = 3
TOKENS = st.lists(st.integers(4, 99), min_size=1, max_size=17)
EXAMPLES = st.lists(TOKENS.map(lambda t: Example(t, [IGNORED, *t[1:]], str(t))), max_size=30)


@given(EXAMPLES)
def test_packing_keeps_every_token_once_in_its_row(examples: list[Example]) -> None:
    rows, placed = pack(examples, 16, PAD)
    assert rows.shape[1:] == (2, 17)
    assert rows.dtype == np.int64
    assert sorted(p.example.document_id for p in placed) == sorted(e.document_id for e in examples)
    for p in placed:
        here = slice(p.offset, p.offset + len(p.example.tokens))
        assert rows[p.row, 0, here].tolist() == p.example.tokens
        assert rows[p.row, 1, here].tolist() == p.example.labels
    used = sum(len(e.tokens) for e in examples)
    assert (rows[:, 0] == PAD).sum() == rows[:, 0].size - used
    assert (rows[:, 1][rows[:, 0] == PAD] == IGNORED).all()
    assert used == 0 or len(rows) < 2 * used / 17 + 1


def test_best_fit_fills_rows_to_the_brim() -> None:
    sizes = [9, 8, 10, 7, 12, 5, 17]
    rows, _ = pack([Example([9] * n, [9] * n, "") for n in sizes], 16, PAD)
    assert len(rows) == 4
    assert not (rows[:, 0] == PAD).any()


@pytest.fixture
def made(store: Store, publish: Callable[..., Artifact], document: Callable[..., Document], tmp_path: Path) -> Made:
    path = tmp_path / "chat.jsonl"
    answers = [f"The number {n} of the mill. " * (n % 3 + 1) for n in range(60)]
    records = [{"instruction": f"What is {n}?", "output": answer} for n, answer in enumerate(answers)]
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    corpus = publish([document("The number of the mill is what the miller says.\n" * 9)])
    config = ConversationsConfig(path=str(path))
    conversations = build_conversations(store, config, 100, corpus, conversations_fingerprint(config))
    return conversations, train_tokenizer(store, TokenizerConfig(vocab_size=280), 0, corpus)


def test_rows_hold_the_conversations_and_the_sidecar_says_where(store: Store, made: Made) -> None:
    conversations, tokenizer = made
    packed = encode_conversations(store, PackConfig("sft", 128), conversations, tokenizer)
    reader = load_tokenizer(tokenizer.path)
    for side in ("train", "held_out"):
        rows = np.load(packed.path / f"{side}.npy", allow_pickle=False)
        assert rows.dtype == np.int32
        lines = (conversations.path / f"{side}.jsonl").read_text().splitlines()
        by_id = {r["document_id"]: r["messages"] for r in map(json.loads, lines)}
        spans = pq.read_table(packed.path / f"{side}.parquet").to_pylist()
        assert sorted(s["document_id"] for s in spans) == sorted(by_id)
        for span in spans:
            tokens, labels = encode_conversation(by_id[span["document_id"]], reader)
            offset = span["start"] - span["row"] * packed.statistics["row_tokens"]
            here = slice(offset, offset + span["n_tokens"])
            assert rows[span["row"], 0, here].tolist() == tokens
            assert rows[span["row"], 1, here].tolist() == labels
        learned = int((rows[:, 1, 1:] != IGNORED).sum())
        assert packed.statistics[side]["response_tokens"] == learned > 0


def test_long_conversations_are_cut_and_counted(store: Store, made: Made) -> None:
    conversations, tokenizer = made
    train = encode_conversations(store, PackConfig("sft", 48), conversations, tokenizer).statistics["train"]
    assert train["cut"] > 0
    assert train["left_out"] == 0
    with pytest.raises(GristmillError, match="fits into 8 tokens"):
        encode_conversations(store, PackConfig("sft", 8), conversations, tokenizer)
