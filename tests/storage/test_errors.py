"""The errors: a full disk is known by whoever tells of it."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.errors import GristmillError, full_disk

Usage = namedtuple("Usage", "total used free")


def a_write() -> None:
    with open("/dev/full", "w") as disk:
        disk.write("x")


def a_database() -> None:
    db = sqlite3.connect(":memory:")
    db.execute("PRAGMA max_page_count = 1")
    db.execute("CREATE TABLE t (x)")


def a_process() -> None:
    program = "from pathlib import Path; Path('/dev/full').write_text('x')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode
    raise GristmillError(f"The process failed: {done.stderr}", "Look.")


def a_library() -> None:
    try:
        a_write()
    except OSError as error:
        raise RuntimeError("could not save") from error


def caught(work: Callable[[], None]) -> BaseException:
    with pytest.raises(Exception) as error:  # noqa: PT011
        work()
    return error.value


@pytest.mark.parametrize("work", [a_write, a_database, a_process, a_library])
def test_a_full_disk_is_known_whoever_tells(tmp_path: Path, work: Callable[[], None]) -> None:
    full = full_disk(caught(work), tmp_path)
    assert full is not None
    assert str(tmp_path) in full.what
    assert "\n" not in str(full)
    assert "GRISTMILL_HOME" in full.remedy


def test_another_error_is_another_error(tmp_path: Path) -> None:
    assert full_disk(ValueError("negative grains"), tmp_path / "not" / "yet") is None


def test_with_nothing_free_any_error_is_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 4096))
    full = full_disk(OSError("549466 requested and 332768 written"), tmp_path)
    assert full is not None
    assert "4,096 bytes" in full.what
    assert "549466 requested" in full.what
