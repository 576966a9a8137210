"""Language: which natural language a text is in, by py3langid (Lui and Baldwin, langid.py, ACL 2012)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from storage.documents import Document

SAMPLE_CHARS = 2_000
UNKNOWN = "und"
NATURAL = re.compile(r"und|[a-z]{2}(-[A-Za-z]+)*")
TWO_LETTER_CODE = {"go", "rs", "cs", "js", "hs"}


def is_source_code(language: str) -> bool:
    """Whether ``language`` names a programming language (``python``) and not a natural one (``en``, ``und``)."""
    return language in TWO_LETTER_CODE or not NATURAL.fullmatch(language)


def language_identifier() -> Callable[[Document], Document]:
    """A function that gives a document of unknown language the likeliest one, and its probability.

    A document that says its language already, as source code does, keeps it. Only the first 2,000
    characters are read: longer samples cost time and change next to nothing.
    """
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier: Any = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

    def identify(document: Document) -> Document:
        if document.language != UNKNOWN:
            return document
        language, score = identifier.classify(document.text[:SAMPLE_CHARS])
        return replace(document, language=str(language), language_score=float(score))

    return identify
