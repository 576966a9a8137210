"""Interpolated Kneser-Ney n-gram models: what a language model must beat to have learnt anything.

Kneser and Ney, "Improved backing-off for m-gram language modeling" (ICASSP 1995), in the interpolated
form of Chen and Goodman, "An empirical study of smoothing techniques for language modeling" (1999),
with one absolute discount per order. N-grams are packed into sorted int64 keys, so that counting is a
sort and looking up a binary search.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from storage.errors import require
from tasks.evaluate.held_out import HeldOutDocument, Score, by_source

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
FALLBACK_DISCOUNT = 0.5
"""Where the data is too small to estimate one, as in KenLM's ``--discount_fallback``."""


@dataclass(frozen=True)
class Level:
    """One order of the model: its n-grams, with the counts that this order uses.

    Attributes:
        vocabulary: how many ids there are.
        keys_g: the n-grams, packed as ``context * vocabulary + word``, ascending.
        counts_g: how often each occurs (highest order), or how many ids it follows (lower orders).
        contexts_c: the packed contexts, ascending.
        totals_c: the sum of the counts of each context.
        types_c: how many n-grams have each context.
        discount: what is taken off every count and given to the order below.
    """

    vocabulary: int
    keys_g: I64
    counts_g: I64
    contexts_c: I64
    totals_c: I64
    types_c: I64
    discount: float

    def interpolate(self, contexts_n: I64, words_n: I64, lower_n: F64) -> F64:
        """P(word | context) of each pair, given its probability at the order below."""
        total_n = _look_up(self.contexts_c, self.totals_c, contexts_n)
        types_n = _look_up(self.contexts_c, self.types_c, contexts_n)
        count_n = _look_up(self.keys_g, self.counts_g, contexts_n * self.vocabulary + words_n)
        mass_n = np.maximum(count_n - self.discount, 0.0) + self.discount * types_n * lower_n
        return np.where(total_n > 0, mass_n / np.maximum(total_n, 1), lower_n)


@dataclass(frozen=True)
class KneserNey:
    """A trained model; ``levels[k]`` conditions on the k ids before."""

    vocabulary: int
    levels: tuple[Level, ...]

    @property
    def order(self) -> int:
        """2 for a bigram model, 3 for a trigram model."""
        return len(self.levels)

    def probabilities(self, history_nk: I64, words_n: I64) -> F64:
        """P(word | history) of each pair.

        Args:
            history_nk: the ``order - 1`` ids before each word, oldest first.
            words_n: the words.
        """
        result_n = np.full(words_n.shape, 1.0 / self.vocabulary)
        context_n = np.zeros_like(words_n)
        for k, level in enumerate(self.levels):
            if k:
                context_n = context_n + history_nk[:, -k] * self.vocabulary ** (k - 1)
            result_n = level.interpolate(context_n, words_n, result_n)
        return result_n


def train(windows: Iterable[npt.NDArray[np.integer]], order: int, vocabulary: int) -> KneserNey:
    """Count the n-grams inside each window; none reaches over a window's edge.

    Args:
        windows: equally long windows of token ids, each at least ``order`` long.
        order: 2 for a bigram model, 3 for a trigram model.
        vocabulary: how many ids there are; ``vocabulary ** order`` must fit into 63 bits.
    """
    require(vocabulary**order < 1 << 63, "vocabulary", vocabulary, f"small enough that {order} ids fit into 63 bits")
    keys_g, counts_g = np.unique(_pack(np.stack(list(windows)), order, vocabulary), return_counts=True)
    levels = [_level(keys_g, counts_g, vocabulary)]
    for k in range(order - 1, 0, -1):
        keys_g, counts_g = np.unique(keys_g % vocabulary**k, return_counts=True)
        levels.append(_level(keys_g, counts_g, vocabulary))
    return KneserNey(vocabulary, tuple(reversed(levels)))


def bits_per_byte(model: KneserNey, documents: Sequence[HeldOutDocument], end_of_text: int) -> dict[str, Score]:
    """Score every token of each document, each document on its own after the end-of-text id."""
    return by_source(documents, np.array([_nats(model, d.tokens_n, end_of_text) for d in documents]))


def _nats(model: KneserNey, tokens_n: I64, end_of_text: int) -> float:
    width = model.order - 1
    padded = np.concatenate([np.full(width, end_of_text, np.int64), tokens_n])
    history_nk = np.lib.stride_tricks.sliding_window_view(padded[:-1], width)
    return float(-np.log(model.probabilities(history_nk, tokens_n)).sum())


def _pack(windows_wt: npt.NDArray[np.integer], order: int, vocabulary: int) -> I64:
    length = windows_wt.shape[1] - order + 1
    keys_wt = np.zeros((windows_wt.shape[0], length), np.int64)
    for k in range(order):
        keys_wt *= vocabulary
        keys_wt += windows_wt[:, k : k + length]
    return keys_wt.ravel()


def _level(keys_g: I64, counts_g: I64, vocabulary: int) -> Level:
    contexts_c, first_c, types_c = np.unique(keys_g // vocabulary, return_index=True, return_counts=True)
    totals_c = np.add.reduceat(counts_g, first_c)
    return Level(vocabulary, keys_g, counts_g, contexts_c, totals_c, types_c, _discount(counts_g))


def _discount(counts_g: I64) -> float:
    """D = n1 / (n1 + 2 n2), where n1 and n2 n-grams have the counts 1 and 2."""
    n1, n2 = int((counts_g == 1).sum()), int((counts_g == 2).sum())
    return n1 / (n1 + 2 * n2) if n1 and n2 else FALLBACK_DISCOUNT


def _look_up(keys: I64, values: I64, wanted_n: I64) -> I64:
    """The value at each wanted key, 0 where the key is absent."""
    index_n = np.minimum(np.searchsorted(keys, wanted_n), keys.size - 1)
    return np.where(keys[index_n] == wanted_n, values[index_n], 0)
