"""Child processes that never outlive their parent, and whole trees of them ended.

``python -m tasks.process PARENT COMMAND…`` asks the kernel for SIGKILL on the parent's death (``prctl(2)``,
PR_SET_PDEATHSIG, which ``execve`` keeps) and becomes the command. With ``--guard`` first, it stays above
the command instead, and ends all that the command started: for programs with children of their own.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress

import psutil

PR_SET_PDEATHSIG = 1
BOUND = "GRISTMILL_BOUND"
"""Environment variable with the process id of the nearest bound ancestor, for those below it to be bound in turn."""
GUARD = "--guard"
GRACE_SECONDS = 5.0


def die_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Have the kernel signal this process when ``parent``, its parent, dies; at once if it is dead already.

    Linux only, as is the rest of a multi-process run.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) was refused")
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def bound(command: Sequence[str]) -> list[str]:
    """``command``, to be started by this process and to die with it."""
    return [sys.executable, "-m", "tasks.process", str(os.getpid()), *command]


def guarded(command: Sequence[str]) -> list[str]:
    """``command``, to be started by this process and to end with it, and with it all that it starts."""
    return [sys.executable, "-m", "tasks.process", GUARD, str(os.getpid()), *command]


def guard(parent: int, command: Sequence[str]) -> int:
    """Run ``command`` until it ends, ``parent`` dies or a signal comes; then end what is left below it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    die_with_parent(parent, signal.SIGTERM)
    child = subprocess.Popen(command)
    try:
        return child.wait()
    except KeyboardInterrupt:
        return 128 + signal.SIGTERM
    finally:
        stop_tree(child.pid)


def tree(pid: int) -> list[psutil.Process]:
    """Process ``pid`` and all its descendants that live now, children first."""
    try:
        parent = psutil.Process(pid)
        return [*parent.children(recursive=True), parent]
    except psutil.NoSuchProcess:
        return []


def signal_tree(pid: int, number: int) -> None:
    """Send a signal to ``pid`` and all below it: ranks have sessions of their own, so a group misses them."""
    _signal(tree(pid), number)


def stop_tree(pid: int, first: int = signal.SIGTERM) -> None:
    """End ``pid`` and all below it: ``first``, then SIGKILL to what is left after a grace period."""
    processes = tree(pid)
    _signal(processes, first)
    _, left = psutil.wait_procs(processes, timeout=GRACE_SECONDS)
    _signal(left, signal.SIGKILL)


def _signal(processes: Iterable[psutil.Process], number: int) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def main() -> None:
    """Become the command given after the parent's process id, or guard it."""
    if sys.argv[1] == GUARD:
        sys.exit(guard(int(sys.argv[2]), sys.argv[3:]))
    die_with_parent(int(sys.argv[1]))
    os.environ[BOUND] = str(os.getpid())
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
