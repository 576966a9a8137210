"""Held-out documents, and how a model's score on them is written down: in bits per byte.

Bits per byte divides the loss by the bytes of the text and not by its tokens, so that models with
different tokenizers compare (Gao et al., "The Pile", 2020, section 3.1).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt

from storage.errors import GristmillError

Tokens = npt.NDArray[np.int64]


@dataclass(frozen=True)
class HeldOutDocument:
    """A document kept from training.

    Attributes:
        document_id: its id.
        source: where it came from.
        n_bytes: length of its text in UTF-8 bytes.
        tokens_n: the tokens of its text, without the end-of-text id.
    """

    document_id: str
    source: str
    n_bytes: int
    tokens_n: Tokens


@dataclass(frozen=True)
class Score:
    """The loss on some documents: ``nats`` is the sum over all ``tokens``, which spell ``bytes`` bytes."""

    nats: float
    bytes: int
    tokens: int
    documents: int

    @property
    def bits_per_byte(self) -> float:
        """The loss in bits by the bytes of the text."""
        return self.nats / math.log(2) / self.bytes

    def __add__(self, other: Score) -> Score:
        return Score(
            self.nats + other.nats, self.bytes + other.bytes, self.tokens + other.tokens,
            self.documents + other.documents,
        )

    def figures(self) -> dict[str, float]:
        """As JSON holds it."""
        return {
            "bits_per_byte": self.bits_per_byte, "bytes": self.bytes, "tokens": self.tokens,
            "documents": self.documents,
        }


def choose(
    documents: Iterable[tuple[str, str, int, npt.NDArray[np.integer]]], end_of_text: int, max_bytes_per_source: int
) -> tuple[HeldOutDocument, ...]:
    """The documents to score: of each source those that fit into its budget, in the order of their ids.

    The ids are hashes, so their order is a shuffle that does not change when other documents come or go.

    Args:
        documents: (document id, source, UTF-8 bytes of the text, tokens) of each held-out document.
        end_of_text: the id that ends each document's tokens; it is no part of the text.
        max_bytes_per_source: budget of each source in UTF-8 bytes.

    Raises:
        GristmillError: no document fits.
    """
    left: dict[str, int] = {}
    chosen = []
    for document_id, source, n_bytes, tokens in sorted(documents, key=lambda d: (d[1], d[0])):
        text = _without_end(np.asarray(tokens, np.int64), end_of_text)
        if text.size and n_bytes <= left.setdefault(source, max_bytes_per_source):
            left[source] -= n_bytes
            chosen.append(HeldOutDocument(document_id, source, n_bytes, text))
    missing = sorted(left.keys() - {d.source for d in chosen})
    if missing or not chosen:
        raise GristmillError(
            f"No held-out document of {', '.join(missing) or 'any source'} fits into {max_bytes_per_source:,} bytes.",
            "Raise evaluate.max_held_out_bytes, or hold out more documents.",
        )
    return tuple(chosen)


def by_source(documents: Iterable[HeldOutDocument], nats_d: npt.NDArray[np.float64]) -> dict[str, Score]:
    """Sum each document's loss into one score per source.

    Args:
        documents: the documents.
        nats_d: the loss of each, summed over its tokens.
    """
    scores: dict[str, Score] = {}
    for document, nats in zip(documents, nats_d.tolist(), strict=True):
        score = Score(nats, document.n_bytes, document.tokens_n.size, 1)
        scores[document.source] = scores[document.source] + score if document.source in scores else score
    return dict(sorted(scores.items()))


def overall(scores: Mapping[str, Score]) -> Score:
    """All sources as one: every byte counts the same."""
    return reduce(Score.__add__, scores.values())


def _without_end(tokens_n: Tokens, end_of_text: int) -> Tokens:
    return tokens_n[:-1] if tokens_n.size and tokens_n[-1] == end_of_text else tokens_n
