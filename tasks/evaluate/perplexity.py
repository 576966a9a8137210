"""The loss of a model on text it never saw: bits per byte of documents, nats per token of answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from storage.errors import GristmillError
from tasks.evaluate.held_out import HeldOutDocument, Score, by_source
from tasks.evaluate.scoring import IGNORED, Row, Scorer, sliding

Ids = Sequence[int] | npt.NDArray[np.integer]


@dataclass(frozen=True)
class AnswerLoss:
    """``loss``: the mean negative log-likelihood, in nats, of the ``tokens`` of all responses."""

    loss: float
    tokens: int
    conversations: int


def bits_per_byte(
    scorer: Scorer, documents: Sequence[HeldOutDocument], sequence_length: int, end_of_text: int
) -> dict[str, Score]:
    """Score every token of each document, each document on its own after the end-of-text id.

    The end-of-text id after the last token is context for nothing and is not scored.

    Args:
        scorer: the model and how to run it.
        documents: what to score.
        sequence_length: tokens in one window; half a window is the least context after the first.
        end_of_text: the id that stands before each document.

    Returns:
        Source → score.
    """
    windows = [sliding(document.tokens_n, end_of_text, sequence_length) for document in documents]
    rows = [(d, row) for d, rows in enumerate(windows) for row in rows]
    scores = scorer.score([row for _, row in rows])
    nats_d = np.zeros(len(documents))
    np.add.at(nats_d, [d for d, _ in rows], [s.nats for s in scores])
    return by_source(documents, nats_d)


def answer_loss(scorer: Scorer, examples: Iterable[tuple[Ids, Ids]], sequence_length: int) -> AnswerLoss:
    """The loss on the responses of held-out conversations.

    Args:
        scorer: the model and how to run it.
        examples: (tokens, labels) of each conversation, equally long; a label is its token or -100.
        sequence_length: what stands further back than this is cut off.

    Raises:
        GristmillError: no response has a token within ``sequence_length``.
    """
    last = sequence_length + 1
    pairs = [(np.asarray(t[:last], np.int64), np.asarray(labels[:last], np.int64)) for t, labels in examples]
    rows = [Row(t[:-1], labels[1:]) for t, labels in pairs if (labels[1:] != IGNORED).any()]
    if not rows:
        raise GristmillError(
            "No held-out conversation has an answer to score.", "Give more pairs, or raise evaluate.sequence_length."
        )
    scores = scorer.score(rows)
    tokens = sum(s.targets for s in scores)
    return AnswerLoss(sum(s.nats for s in scores) / tokens, tokens, len(rows))
