"""Multiple-choice questions made of pairs: the true answer among those of other questions, alike in length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import xxhash

CHOICES = 4
NEIGHBOURS = 16


def multiple_choice(pairs: Sequence[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """A question for each pair; none if the pairs have fewer than four different answers.

    The three wrong answers are drawn, by a hash of the question, from the sixteen nearest in length.

    Args:
        pairs: (question, answer, document id) of each.

    Returns:
        ``question``, ``choices`` (four texts), ``answer`` (index of the true one), ``document_id`` of each.
    """
    answers = sorted({answer for _, answer, _ in pairs}, key=lambda a: (len(a), a))
    if len(answers) < CHOICES:
        return []
    places = {answer: i for i, answer in enumerate(answers)}
    return [_item(question, answer, document_id, answers, places) for question, answer, document_id in pairs]


def _item(
    question: str, answer: str, document_id: str, answers: Sequence[str], places: dict[str, int]
) -> dict[str, Any]:
    first = max(0, min(places[answer] - NEIGHBOURS // 2, len(answers) - NEIGHBOURS - 1))
    near = [a for a in answers[first : first + NEIGHBOURS + 1] if a != answer]
    wrong = sorted(near, key=lambda a: _hash(question, a))[: CHOICES - 1]
    place = _hash(question, "") % CHOICES
    return {
        "question": question, "choices": [*wrong[:place], answer, *wrong[place:]], "answer": place,
        "document_id": document_id,
    }  # fmt: skip


def _hash(question: str, text: str) -> int:
    return xxhash.xxh3_64_intdigest(f"{question}\0{text}".encode())
