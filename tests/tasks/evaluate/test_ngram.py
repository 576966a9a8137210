"""Kneser-Ney: a distribution, and the same as counted with dictionaries."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import ConfigError
from tasks.evaluate.held_out import HeldOutDocument
from tasks.evaluate.ngram import FALLBACK_DISCOUNT, bits_per_byte, train

END = 0


class Reference:
    """Interpolated Kneser-Ney by the book, one n-gram at a time."""

    def __init__(self, windows: list[list[int]], order: int, vocabulary: int) -> None:
        self.vocabulary = vocabulary
        counts = Counter(tuple(w[i : i + order]) for w in windows for i in range(len(w) - order + 1))
        self.counts = {order: counts}
        for n in range(order - 1, 0, -1):
            before = defaultdict(set)
            for gram in self.counts[n + 1]:
                before[gram[1:]].add(gram[0])
            self.counts[n] = Counter({gram: len(ids) for gram, ids in before.items()})

    def probability(self, gram: tuple[int, ...]) -> float:
        if not gram:
            return 1 / self.vocabulary
        counts = self.counts[len(gram)]
        ones, twos = sum(c == 1 for c in counts.values()), sum(c == 2 for c in counts.values())
        discount = ones / (ones + 2 * twos) if ones and twos else FALLBACK_DISCOUNT
        followers = [c for g, c in counts.items() if g[:-1] == gram[:-1]]
        lower = self.probability(gram[1:])
        if not followers:
            return lower
        return (max(counts[gram] - discount, 0) + discount * len(followers) * lower) / sum(followers)


def streams(vocabulary: int = 9, n: int = 6, length: int = 12, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.minimum(rng.geometric(0.35, length) - 1, vocabulary - 1).astype(np.uint16) for _ in range(n)]


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 3), st.integers(0, 1000), st.integers(1, 5), st.integers(4, 12))
def test_probabilities_of_every_context_sum_to_one(order: int, seed: int, n: int, length: int) -> None:
    model = train(streams(9, n, length, seed), order, 9)
    words = np.arange(9)
    for context in np.ndindex(*[9] * (order - 1)):
        p = model.probabilities(np.tile(np.array(context), (9, 1)), words)
        assert p.min() > 0
        assert p.sum() == pytest.approx(1)


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_dictionary_reference(order: int, seed: int) -> None:
    windows = streams(9, 6, 12, seed)
    model = train(windows, order, 9)
    reference = Reference([w.tolist() for w in windows], order, 9)
    grams = np.array(list(np.ndindex(*[9] * order)))
    expected = [reference.probability(tuple(g)) for g in grams.tolist()]
    np.testing.assert_allclose(model.probabilities(grams[:, :-1], grams[:, -1]), expected, rtol=1e-12)


@pytest.mark.parametrize("order", [2, 3])
def test_documents_are_scored_alone_after_the_end_of_text(order: int) -> None:
    windows = streams()
    reference = Reference([w.tolist() for w in windows], order, 9)
    texts = [[1, 2, 3], [4], [1, 1, 8, 0, 2]]
    documents = [HeldOutDocument(str(i), "s", 7, np.array(t)) for i, t in enumerate(texts)]
    nats = 0.0
    for text in texts:
        padded = [END] * (order - 1) + text
        nats -= sum(math.log(reference.probability(tuple(padded[i : i + order]))) for i in range(len(text)))
    score = bits_per_byte(train(windows, order, 9), documents, END)["s"]
    assert score.bits_per_byte == pytest.approx(nats / math.log(2) / 21)
    assert (score.tokens, score.documents) == (9, 3)


def test_no_ngram_reaches_over_the_edge_of_a_window() -> None:
    model = train([np.array([1, 2, 1, 2]), np.array([3, 4, 3, 4])], 2, 9)
    bigrams = {(int(k) // 9, int(k) % 9) for k in model.levels[-1].keys_g}
    assert bigrams == {(1, 2), (2, 1), (3, 4), (4, 3)}


def test_a_vocabulary_too_large_for_the_keys_is_refused() -> None:
    with pytest.raises(ConfigError, match="63 bits"):
        train([np.array([1, 2, 3])], 3, 1 << 21)
