"""Every token of a document is scored once, and as if each were computed alone."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from storage.errors import GristmillError
from tasks.evaluate.held_out import HeldOutDocument, choose, overall
from tasks.evaluate.perplexity import answer_loss, bits_per_byte
from tasks.evaluate.scoring import IGNORED, Row, Scorer, sliding

VOCABULARY, END = 23, 0


class Causal(nn.Module):
    """A small causal model: what it says at a position depends on all ids up to it, and on their order."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(VOCABULARY, 16)
        self.mix = nn.GRU(16, 16, batch_first=True)
        self.head = nn.Linear(16, VOCABULARY)

    def forward(self, tokens_bt: Tensor) -> Tensor:
        return self.head(self.mix(self.embed(tokens_bt))[0]) * 4


MODEL = Causal()


def document(name: str, source: str, length: int, seed: int = 0) -> HeldOutDocument:
    tokens = np.random.default_rng(seed + length).integers(1, VOCABULARY, length)
    return HeldOutDocument(name, source, 3 * length + 1, tokens)


def alone(context: list[int], target: int) -> float:
    """-log P(target | context) by one forward pass of one row."""
    with torch.no_grad():
        logits = MODEL(torch.tensor([context]))[0, -1]
    return -float(torch.log_softmax(logits, -1)[target])


def by_hand(tokens: list[int], length: int) -> float:
    """The windows spelt out: the first half of each but the first is context only."""
    ids, stride = [END, *tokens], length - length // 2
    nats = 0.0
    for i in range(1, len(ids)):
        begin = 0 if i <= length else stride * math.ceil((i - length) / stride)
        nats += alone(ids[begin:i], ids[i])
    return nats


@given(st.integers(1, 200), st.integers(1, 33))
def test_every_token_is_a_target_exactly_once_with_half_a_window_before_it(n: int, length: int) -> None:
    tokens = np.arange(1, n + 1)
    targets = []
    for row in sliding(tokens, END, length):
        assert row.inputs_t.size == row.targets_t.size <= length
        for i in np.flatnonzero(row.targets_t != IGNORED):
            assert row.inputs_t[i] + 1 == row.targets_t[i]
            assert i >= min(length // 2, row.targets_t[i] - 1)
            targets.append(int(row.targets_t[i]))
    assert targets == tokens.tolist()


@pytest.mark.parametrize("length", [1, 7, 8, 64])
@pytest.mark.parametrize("batch_tokens", [1, 50, 4096])
def test_bits_per_byte_equal_each_token_computed_alone(length: int, batch_tokens: int) -> None:
    documents = [document("a", "x", 5), document("b", "x", 21), document("c", "y", 8)]
    scores = bits_per_byte(Scorer(MODEL, batch_tokens), documents, length, END)
    for source in ("x", "y"):
        mine = [d for d in documents if d.source == source]
        nats = sum(by_hand(d.tokens_n.tolist(), length) for d in mine)
        size = sum(d.n_bytes for d in mine)
        assert scores[source].bits_per_byte == pytest.approx(nats / math.log(2) / size, rel=1e-5)
        assert (scores[source].tokens, scores[source].documents) == (sum(d.tokens_n.size for d in mine), len(mine))
    total = overall(scores)
    assert total.bytes == sum(d.n_bytes for d in documents)
    assert total.nats == pytest.approx(scores["x"].nats + scores["y"].nats)


def test_bfloat16_is_close_to_float32() -> None:
    documents = [document("a", "x", 100)]
    exact = bits_per_byte(Scorer(MODEL), documents, 32, END)["x"].bits_per_byte
    rough = bits_per_byte(Scorer(MODEL, precision="bfloat16"), documents, 32, END)["x"].bits_per_byte
    assert rough != exact
    assert rough == pytest.approx(exact, rel=0.02)


def test_the_loss_of_answers_counts_their_tokens_only() -> None:
    tokens = np.array([3, 4, 5, 6, 7, 8])
    labels = np.array([IGNORED, IGNORED, IGNORED, 6, 7, IGNORED])
    short, short_labels = np.array([9, 2]), np.array([IGNORED, 2])
    found = answer_loss(Scorer(MODEL), [(tokens, labels), (short, short_labels)], 64)
    nats = alone([3, 4, 5], 6) + alone([3, 4, 5, 6], 7) + alone([9], 2)
    assert found.loss == pytest.approx(nats / 3, rel=1e-5)
    assert (found.tokens, found.conversations) == (3, 2)


def test_what_stands_after_the_window_is_cut_off() -> None:
    tokens, labels = np.array([3, 4, 5, 6]), np.array([IGNORED, 4, 5, 6])
    assert answer_loss(Scorer(MODEL), [(tokens, labels)], 2).tokens == 2
    with pytest.raises(GristmillError, match="No held-out conversation"):
        answer_loss(Scorer(MODEL), [(tokens, np.array([IGNORED, IGNORED, IGNORED, 6]))], 2)


def test_greedy_is_true_only_if_every_target_is_the_likeliest() -> None:
    with torch.no_grad():
        best = int(MODEL(torch.tensor([[5]]))[0, -1].argmax())
    right = Row(np.array([5]), np.array([best]))
    wrong = Row(np.array([5]), np.array([(best + 1) % VOCABULARY]))
    assert [s.greedy for s in Scorer(MODEL).score([right, wrong])] == [True, False]


def test_documents_are_chosen_in_the_order_of_their_ids_within_the_budget() -> None:
    text = np.array([1, 2, END], np.uint16)
    given = [("c", "x", 40, text), ("a", "x", 50, text), ("b", "x", 60, text), ("d", "y", 99, text)]
    chosen = choose(given, END, 100)
    assert [d.document_id for d in chosen] == ["a", "c", "d"]
    assert chosen[0].tokens_n.tolist() == [1, 2]
    assert [d.document_id for d in choose(reversed(given), END, 100)] == ["a", "c", "d"]


def test_a_source_that_fits_into_no_budget_is_named() -> None:
    text = np.array([1, END], np.uint16)
    with pytest.raises(GristmillError, match="of y fits into 100 bytes"):
        choose([("a", "x", 50, text), ("b", "y", 101, text)], END, 100)
    with pytest.raises(GristmillError, match="of any source"):
        choose([], END, 100)
