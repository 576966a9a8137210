"""The lease: one holder at a time, and free again however its holder dies."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from storage.lease import lease


def hold(folder: Path, key: str) -> None:
    with lease(folder, key):
        (folder / "held").write_text("yes")
        time.sleep(60)


def count_up(folder: Path) -> None:
    for _ in range(5):
        with lease(folder, "counter"):
            file = folder / "count"
            value = int(file.read_text()) if file.is_file() else 0
            time.sleep(0.01)
            file.write_text(str(value + 1))


def test_only_one_holder_at_a_time(tmp_path: Path) -> None:
    threads = [threading.Thread(target=count_up, args=(tmp_path,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "count").read_text() == "15"


def test_a_killed_holder_gives_it_back_and_is_named_while_it_lives(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    holder = multiprocessing.get_context("spawn").Process(target=hold, args=(tmp_path, "grain"))
    holder.start()
    deadline = time.monotonic() + 30
    while not (tmp_path / "held").is_file() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert holder.pid is not None
    killer = threading.Timer(0.3, os.kill, (holder.pid, signal.SIGKILL))
    killer.start()
    with caplog.at_level(logging.INFO, "gristmill.lease"), lease(tmp_path, "grain"):
        assert json.loads((tmp_path / "grain.lock").read_text()) == {"pid": os.getpid()}
    holder.join()
    assert f'{{"pid": {holder.pid}}}' in caplog.text


def test_other_keys_do_not_wait(tmp_path: Path) -> None:
    with lease(tmp_path, "rye"), lease(tmp_path, "oat"):
        assert sorted(p.name for p in tmp_path.iterdir()) == ["oat.lock", "rye.lock"]


def test_an_error_inside_gives_it_back(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), lease(tmp_path, "rye"):
        raise RuntimeError
    with lease(tmp_path, "rye"):
        pass
