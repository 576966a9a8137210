"""Quality: rules with published definitions, each a measure of the text and the range that is allowed.

Prose has rules of Gopher (Rae et al. 2021, "Scaling Language Models", table A1) and C4 (Raffel et al. 2020,
section 2.2); source code has those of Codex (Chen et al. 2021, section 3.1) and The Stack (Kocetkov et al. 2022).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from storage.documents import Document
from storage.errors import require
from tasks.curate.language import is_source_code

STOP_WORDS = {"the", "be", "to", "of", "and", "that", "have", "with"}
UNSPACED = {"bo", "dz", "ja", "km", "lo", "my", "th", "zh"}
BULLETS = ("-", "*", "•", "‣", "◦")
ELLIPSES = ("...", "…")
ANY = math.inf


@dataclass(frozen=True)
class QualityConfig:
    """Which rules apply, and their thresholds.

    Attributes:
        rules: names of the rules in force, of all below; leave one out to switch it off.
        min_words: fewest words of a text (``words``).
        max_words: most words of a text (``words``).
        min_mean_word_length: characters a word on average, at least (``word_length``).
        max_mean_word_length: characters a word on average, at most (``word_length``).
        max_symbols_per_word: hash signs and ellipses per word (``symbols``).
        max_bullet_lines: share of lines that begin with a bullet, 0 to 1 (``bullets``).
        max_ellipsis_lines: share of lines that end in an ellipsis, 0 to 1 (``ellipses``).
        min_alphabetic_words: share of words with a letter in them, 0 to 1 (``alphabetic``).
        min_stop_words: how many of Gopher's eight English stop words occur (``stop_words``; English only).
        max_lorem_ipsum: how often "lorem ipsum" may occur (``lorem_ipsum``).
        min_code_chars: fewest characters of source code (``code_chars``).
        max_code_line: longest line of source code in characters (``code_line``).
        max_code_mean_line: mean line of source code in characters (``code_mean_line``).
        min_code_alphanumeric: share of characters that are letters or digits, 0 to 1 (``code_alphanumeric``).
    """

    rules: tuple[str, ...] = (
        "words", "word_length", "symbols", "bullets", "ellipses", "alphabetic", "stop_words", "lorem_ipsum",
        "code_chars", "code_line", "code_mean_line", "code_alphanumeric",
    )  # fmt: skip
    min_words: int = 50
    max_words: int = 100_000
    min_mean_word_length: float = 3.0
    max_mean_word_length: float = 10.0
    max_symbols_per_word: float = 0.1
    max_bullet_lines: float = 0.9
    max_ellipsis_lines: float = 0.3
    min_alphabetic_words: float = 0.8
    min_stop_words: int = 2
    max_lorem_ipsum: int = 0
    min_code_chars: int = 100
    max_code_line: int = 1_000
    max_code_mean_line: float = 100.0
    min_code_alphanumeric: float = 0.25

    def __post_init__(self) -> None:
        unknown = [r for r in self.rules if r not in RULES]
        require(not unknown, "rules", unknown, f"names among {', '.join(RULES)}")
        for key in ("max_bullet_lines", "max_ellipsis_lines", "min_alphabetic_words", "min_code_alphanumeric"):
            require(0 <= getattr(self, key) <= 1, key, getattr(self, key), "a share from 0 to 1")
        require(self.min_words <= self.max_words, "min_words", self.min_words, f"at most max_words ({self.max_words})")
        lengths = self.min_mean_word_length, self.max_mean_word_length
        require(lengths[0] <= lengths[1], "min_mean_word_length", lengths[0], f"at most {lengths[1]}")


@dataclass(frozen=True)
class Text:
    """A document cut up once for all rules."""

    text: str
    words: list[str]
    lines: list[str]


@dataclass(frozen=True)
class Rule:
    """A rule: what it measures, the thresholds that bound it, and the documents it is for.

    Attributes:
        measure: the value of a text.
        least: field of :class:`QualityConfig` with the smallest value allowed, or "".
        most: field with the largest value allowed, or "".
        applies: whether the rule is for a language.
    """

    measure: Callable[[Text], float]
    least: str
    most: str
    applies: Callable[[str], bool]

    def breaks(self, value: float, config: QualityConfig) -> bool:
        """Whether ``value`` lies outside the range that ``config`` allows."""
        low = getattr(config, self.least) if self.least else -ANY
        high = getattr(config, self.most) if self.most else ANY
        return not low <= value <= high

    @property
    def keys(self) -> str:
        """The thresholds' names, for people."""
        return " and ".join(filter(None, (self.least, self.most)))


def broken_rule(document: Document, config: QualityConfig) -> tuple[str, float] | None:
    """The first rule in force that the document breaks, with the value measured; None if it keeps them all."""
    text = Text(document.text, document.text.split(), document.text.splitlines())
    for name in config.rules:
        rule = RULES[name]
        if rule.applies(document.language):
            value = rule.measure(text)
            if rule.breaks(value, config):
                return name, round(value, 4)
    return None


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _word_count(text: Text) -> float:
    return len(text.words)


def _word_length(text: Text) -> float:
    return _share(sum(map(len, text.words)), len(text.words))


def _symbols(text: Text) -> float:
    return _share(text.text.count("#") + sum(map(text.text.count, ELLIPSES)), len(text.words))


def _bullets(text: Text) -> float:
    return _share(sum(line.lstrip().startswith(BULLETS) for line in text.lines), len(text.lines))


def _ellipses(text: Text) -> float:
    return _share(sum(line.rstrip().endswith(ELLIPSES) for line in text.lines), len(text.lines))


def _alphabetic(text: Text) -> float:
    return _share(sum(any(map(str.isalpha, word)) for word in text.words), len(text.words))


def _stop_words(text: Text) -> float:
    return len(STOP_WORDS.intersection(map(str.lower, text.words)))


def _lorem_ipsum(text: Text) -> float:
    return len(re.findall("lorem ipsum", text.text, re.IGNORECASE))


def _chars(text: Text) -> float:
    return len(text.text)


def _longest_line(text: Text) -> float:
    return max(map(len, text.lines), default=0)


def _mean_line(text: Text) -> float:
    return _share(sum(map(len, text.lines)), len(text.lines))


def _alphanumeric(text: Text) -> float:
    return _share(sum(map(str.isalnum, text.text)), len(text.text))


def _is_prose(language: str) -> bool:
    return not is_source_code(language)


def _has_words(language: str) -> bool:
    """Whether it is prose in a script that puts spaces between words."""
    return _is_prose(language) and language[:2] not in UNSPACED


def _is_english(language: str) -> bool:
    return language.partition("-")[0] == "en"


RULES: Mapping[str, Rule] = {
    "words": Rule(_word_count, "min_words", "max_words", _has_words),
    "word_length": Rule(_word_length, "min_mean_word_length", "max_mean_word_length", _has_words),
    "symbols": Rule(_symbols, "", "max_symbols_per_word", _has_words),
    "bullets": Rule(_bullets, "", "max_bullet_lines", _is_prose),
    "ellipses": Rule(_ellipses, "", "max_ellipsis_lines", _is_prose),
    "alphabetic": Rule(_alphabetic, "min_alphabetic_words", "", _has_words),
    "stop_words": Rule(_stop_words, "min_stop_words", "", _is_english),
    "lorem_ipsum": Rule(_lorem_ipsum, "", "max_lorem_ipsum", _is_prose),
    "code_chars": Rule(_chars, "min_code_chars", "", is_source_code),
    "code_line": Rule(_longest_line, "", "max_code_line", is_source_code),
    "code_mean_line": Rule(_mean_line, "", "max_code_mean_line", is_source_code),
    "code_alphanumeric": Rule(_alphanumeric, "min_code_alphanumeric", "", is_source_code),
}
