from __future__ import annotations

import ast

import pytest

from tasks.align.functions import documented, first_paragraph, signature

SOURCE = '''
"""A module."""

def grind(grain: str, /, *stones, speed: int = 3, **more) -> str:
    """Grind the
    grain.

    More of it.
    """

def _hidden():
    """Not to be asked about."""

def silent(): pass

class Mill(Base):
    """What grinds."""

    def turn(self, wheel=None): """Turn it."""

    @classmethod
    async def build(cls): """Build it."""

    def __len__(self): """Its length."""

    class _Inner:
        """Hidden."""
'''


def test_public_documented_code_is_asked_about() -> None:
    pairs = list(documented(SOURCE, "town.mill", "d"))
    assert [p.answer for p in pairs] == ["Grind the grain.", "What grinds.", "Turn it.", "Build it."]
    names = ["grind(grain, /, *stones, speed=3, **more)", "Mill", "Mill.turn(wheel=None)", "Mill.build()"]
    for pair, name in zip(pairs, names, strict=True):
        assert f"`town.mill.{name}`" in pair.question
        assert pair.document_id == "d"
    assert pairs == list(documented(SOURCE, "town.mill", "d"))


def test_phrasings_vary() -> None:
    source = "\n".join(f'def f{n}(): """Do {n}."""' for n in range(40))
    assert len({p.question.split("`")[0] for p in documented(source, "m", "d")}) == 4


@pytest.mark.parametrize("text", ["def broken(:", "print 'two'", "\0", "(" * 5_000, "x = " + "-" * 100_000 + "1"])
def test_what_is_no_python_gives_nothing(text: str) -> None:
    assert list(documented(text, "m", "d")) == []


def test_old_escapes_do_not_warn() -> None:
    assert len(list(documented('def f():\n    """A \\d."""', "m", "d"))) == 1


def test_a_long_signature_is_shortened() -> None:
    node = ast.parse(f"def f({', '.join(f'parameter_{n}' for n in range(60))}): pass").body[0]
    assert isinstance(node, ast.FunctionDef)
    assert signature(node, is_method=False) == "(...)"


def test_the_first_paragraph_is_one_line() -> None:
    assert first_paragraph("\n One  two\n three.\n   \n Four.") == "One two three."
