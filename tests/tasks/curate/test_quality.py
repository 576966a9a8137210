from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from storage.documents import Document
from storage.errors import ConfigError
from tasks.curate.quality import RULES, QualityConfig, broken_rule

PROSE = "The miller and his sons have to carry the sacks of grain with care, for that is the way of the old mill. " * 4
CODE = "def grind(grain):\n    return [crush(kernel) for kernel in grain if kernel.is_ripe()]\n" * 3

BROKEN = [
    ("words", "en", "Too short to be of use.", 6),
    ("words", "en", "and the " * 60_000, 120_000),
    ("word_length", "en", "a be to of " * 30, 1.75),
    ("symbols", "en", PROSE + "# " * 30, 0.2885),
    ("bullets", "en", "".join(f"- {line}.\n" for line in PROSE.split(",") * 2 + ["of the mill"] * 20), 1),
    ("ellipses", "en", PROSE.replace(".", "... ") + (PROSE.strip()[:100] + "…\n") * 3, 1),
    ("alphabetic", "en", PROSE + "123 " * 60, 0.6),
    ("stop_words", "en", "Grist mill stones grinding wheat flour daily " * 10, 0),
    ("lorem_ipsum", "en", PROSE + "Lorem Ipsum dolor", 1),
    ("code_chars", "python", "x = 1\n", 6),
    ("code_line", "python", CODE + f"data = '{'a' * 2_000}'", 2_009),
    ("code_mean_line", "python", (CODE.replace("\n", " ") + "\n") * 2, 253),
    ("code_alphanumeric", "python", CODE + "# ------------------------------------------\n" * 40, 0.1111),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "language", "text"), [b[:3] for b in BROKEN])
def test_each_rule_drops_what_it_is_for_and_can_be_switched_off(
    document: Callable[..., Document], rule: str, language: str, text: str
) -> None:
    offender = document(text, language=language)
    only = QualityConfig(rules=(rule,))
    broken = broken_rule(offender, only)
    assert broken is not None
    assert broken[0] == rule
    assert broken_rule(offender, QualityConfig(rules=())) is None
    assert broken_rule(document(PROSE, language="en"), only) is None
    assert broken_rule(document(CODE, language="python"), only) is None


def test_every_rule_is_tried() -> None:
    assert {b[0] for b in BROKEN} == set(RULES) == set(QualityConfig().rules)


@pytest.mark.parametrize(
    ("rule", "text", "value"),
    [("words", "one two", 2), ("word_length", "ab abcd " * 1, 3), ("alphabetic", "a 1 2 3", 0.25)],
)
def test_the_value_is_the_published_measure(
    document: Callable[..., Document], rule: str, text: str, value: float
) -> None:
    config = QualityConfig(rules=(rule,), min_words=9, min_mean_word_length=5.0, min_alphabetic_words=0.9)
    assert broken_rule(document(text, language="en"), config) == (rule, value)


def test_prose_rules_spare_code_and_scripts_without_spaces(document: Callable[..., Document]) -> None:
    assert broken_rule(document("f(x)\n" * 100, language="python"), QualityConfig()) is None
    assert broken_rule(document("磨坊主和他的儿子们" * 20, language="zh"), QualityConfig()) is None


@pytest.mark.parametrize(
    "values", [{"rules": ("wrods",)}, {"min_words": 9, "max_words": 8}, {"max_bullet_lines": 1.5},
               {"min_mean_word_length": 11.0}],
)  # fmt: skip
def test_impossible_values_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        QualityConfig(**values)
