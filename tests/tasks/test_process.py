"""Child processes do not outlive their parent, and trees of them end, whatever sessions they are in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tasks.process import BOUND, bound, guarded, stop_tree, tree

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
GRANDPARENT = f"""
import subprocess, sys, time
from tasks.process import bound
child = "import os, subprocess, time; from tasks.process import BOUND; " \\
    "subprocess.Popen([{sys.executable!r}, '-m', 'tasks.process', os.environ[BOUND], 'sleep', '60'], " \\
    "start_new_session=True); time.sleep(60)"
subprocess.Popen(bound([sys.executable, "-c", child]), start_new_session=True)
time.sleep(60)
"""
IN_OWN_SESSION = f"import subprocess, time; subprocess.Popen({SLEEP!r}, start_new_session=True); time.sleep(60)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"


GUARDING = """
import subprocess, sys, time
from tasks.process import guarded
child = "import subprocess; subprocess.Popen(['sleep', '60'], start_new_session=True).wait()"
subprocess.Popen(guarded([sys.executable, "-c", child]), start_new_session=True)
time.sleep(60)
"""


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


def test_child_and_grandchild_die_when_the_parent_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", GRANDPARENT])
    assert eventually(lambda: any(p.cmdline()[:1] == ["sleep"] for p in tree(parent.pid)))
    below = [p for p in tree(parent.pid) if p.pid != parent.pid]
    assert len(below) == 2
    parent.kill()
    parent.wait()
    _, left = psutil.wait_procs(below, timeout=10)
    assert left == []


def test_what_a_guarded_command_starts_ends_with_the_parent_however_that_dies() -> None:
    parent = subprocess.Popen([sys.executable, "-c", GUARDING])
    assert eventually(lambda: any(p.cmdline()[:1] == ["sleep"] for p in tree(parent.pid)))
    below = [p for p in tree(parent.pid) if p.pid != parent.pid]
    assert len(below) == 3
    parent.kill()
    parent.wait()
    _, left = psutil.wait_procs(below, timeout=10)
    assert left == []


def test_a_guard_tells_the_exit_code_of_its_command() -> None:
    assert subprocess.run(guarded([sys.executable, "-c", "raise SystemExit(7)"]), check=False).returncode == 7


def test_a_process_whose_parent_is_dead_already_dies_at_once() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    command = [sys.executable, "-m", "tasks.process", str(gone.pid), "sleep", "60"]
    assert subprocess.run(command, check=False, timeout=30).returncode == -signal.SIGKILL


def test_a_rank_whose_torchrun_is_dead_already_dies_at_once(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    command = [sys.executable, "-m", "tasks.train.worker", str(tmp_path / "job.json")]
    env = os.environ | {BOUND: str(gone.pid)}
    assert subprocess.run(command, check=False, timeout=30, env=env).returncode == -signal.SIGKILL


def test_the_command_takes_the_process_over() -> None:
    said = subprocess.run(bound(["echo", "ground"]), check=True, capture_output=True, text=True)
    assert said.stdout == "ground\n"


def test_stop_tree_ends_processes_with_sessions_of_their_own() -> None:
    parent = subprocess.Popen([sys.executable, "-c", IN_OWN_SESSION])
    assert eventually(lambda: len(tree(parent.pid)) == 2)
    family = tree(parent.pid)
    stop_tree(parent.pid)
    parent.wait()
    assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family)


def test_stop_tree_kills_what_ignores_the_first_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.process.GRACE_SECONDS", 0.2)
    process = subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"deaf\n"
    stop_tree(process.pid)
    assert process.wait(10) == -signal.SIGKILL
    process.stdout.close()


def test_a_tree_that_is_gone_is_no_error() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert tree(gone.pid) == []
    stop_tree(gone.pid)
