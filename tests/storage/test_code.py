"""The code hash: what changes behaviour changes it, two calls deep; nothing else does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage import code

MAIN = '''"""Doc."""
from tasks_below.helper import middle

LIMIT = 3

def entry(x: int) -> int:
    """What it does."""
    log.info("starting %s", x)
    return middle(x) + LIMIT

def unrelated() -> int:
    return 1
'''
HELPER = """from tasks_below import deep

def middle(x):
    # a comment
    return deep.constant() * x
"""
DEEP = """FACTOR = 2

def constant():
    from tasks_below.lazy import late
    return FACTOR + late()
"""
LAZY = "class Late:\n    N = 1\n\ndef late():\n    return Late().N\n"
Hashes = Callable[..., dict[str, str]]


@pytest.fixture
def hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hashes]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(code, "PACKAGES", ("tasks_below",))
    package = tmp_path / "tasks_below"
    package.mkdir()

    def compute(**changes: tuple[str, str]) -> dict[str, str]:
        files = {"__init__": "", "main": MAIN, "helper": HELPER, "deep": DEEP, "lazy": LAZY}
        for name, text in files.items():
            old, new = changes.get(name, ("", ""))
            assert old in text
            (package / f"{name}.py").write_text(text.replace(old, new))
        code._parse.cache_clear()
        code._path.cache_clear()
        return code.code_hashes("tasks_below.main:entry")

    yield compute
    for name in [n for n in sys.modules if n.startswith("tasks_below")]:
        del sys.modules[name]
    code._parse.cache_clear()
    code._path.cache_clear()


def test_it_reaches_constants_classes_and_late_imports_but_not_what_is_unused(hashes: Hashes) -> None:
    assert set(hashes()) == {
        "tasks_below.main:entry", "tasks_below.main:LIMIT", "tasks_below.helper:middle", "tasks_below.deep:constant",
        "tasks_below.deep:FACTOR", "tasks_below.lazy:late", "tasks_below.lazy:Late",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("helper", "# a comment", "# another"),
        ("main", "What it does.", "What it does, reworded."),
        ("main", "starting %s", "start: %s"),
        ("main", "x: int) -> int", "x) -> float"),
        ("main", "middle(x) + LIMIT", "(middle(x)   +  LIMIT)"),
        ("main", "return 1", "return 2"),
    ],
)
def test_what_does_not_change_behaviour_changes_nothing(hashes: Hashes, file: str, old: str, new: str) -> None:
    assert hashes(**{file: (old, new)}) == hashes()


@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        ("main", "LIMIT = 3", "LIMIT = 4", "tasks_below.main:LIMIT"),
        ("deep", "FACTOR = 2", "FACTOR = 5", "tasks_below.deep:FACTOR"),
        ("lazy", "N = 1", "N = 2", "tasks_below.lazy:Late"),
        ("helper", "* x", "+ x", "tasks_below.helper:middle"),
    ],
)
def test_a_change_of_behaviour_is_named(hashes: Hashes, file: str, old: str, new: str, named: str) -> None:
    before, after = hashes(), hashes(**{file: (old, new)})
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} == {named}


def test_every_step_of_the_project_can_be_followed() -> None:
    reached = code.code_hashes("tasks.train.run:pretrain", "tasks.train.worker:main")
    assert "tasks.model.decoder:Decoder" in reached
    assert "storage.order:Order" in reached
    assert "tasks.step:Step" not in reached


def test_following_code_imports_nothing() -> None:
    heavy = "from storage.code import code_hashes; code_hashes('tasks.train.run:pretrain', 'tasks.train.worker:main')"
    check = "import sys; sys.exit(bool({'torch', 'deepspeed', 'tasks.train.engine'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", f"{heavy}; {check}"], check=False).returncode == 0
