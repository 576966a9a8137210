from __future__ import annotations

from collections.abc import Callable

import pytest

from storage.documents import Document
from tasks.curate.language import is_source_code, language_identifier

TEXTS = {
    "en": "The miller carries the sacks of grain to the old mill by the river every morning.",
    "de": "Der Müller trägt jeden Morgen die Säcke mit dem Korn zur alten Mühle am Fluss.",
    "fr": "Le meunier porte chaque matin les sacs de grain au vieux moulin près de la rivière.",
    "zh": "磨坊主每天早上把一袋袋谷物扛到河边的老磨坊去。",
}


@pytest.mark.parametrize("language", TEXTS)
def test_the_language_is_found(document: Callable[..., Document], language: str) -> None:
    found = language_identifier()(document(TEXTS[language]))
    assert found.language == language
    assert 0.5 < found.language_score <= 1


def test_a_language_that_is_known_stays(document: Callable[..., Document]) -> None:
    code = document(TEXTS["de"], language="python")
    assert language_identifier()(code) is code


def test_programming_languages_are_told_from_natural_ones() -> None:
    assert all(map(is_source_code, ("python", "c", "r", "go", "cpp", "sql")))
    assert not any(map(is_source_code, ("und", "en", "zh", "pt-BR")))
