"""A flow's own Prefect server: Ctrl-C at the terminal ends the flow first and then the server, at once."""

from __future__ import annotations

import os
import pty
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from storage.artifact import Store
from storage.steplog import StepLog
from tasks.demo.server import serve
from tests.flows.small import ROOT, environment

SITE = """
[[sources]]
type = "site"
name = "slow"
start = ["{site}/index.html"]
allow_private_addresses = true
delay_seconds = 0.5
"""
PROSE = "The mill that stands by the river grinds the grain of the whole valley, and it has done so for ages. "
PAGES = 8
LIMIT_SECONDS = 120.0


@dataclass
class Terminal:
    """A program in the foreground of a terminal of its own."""

    pid: int
    screen: int
    shown: bytes = b""

    def read(self) -> bool:
        """Take in what the program showed; whether it goes on."""
        try:
            self.shown += (new := os.read(self.screen, 65536))
        except OSError:
            return False
        return bool(new)

    def exit_code(self) -> int:
        """Read to the end."""
        while self.read():
            pass
        os.close(self.screen)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def start(command: list[str], variables: dict[str, str]) -> Terminal:
    pid, screen = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.chdir(ROOT)
        os.execve(command[0], command, variables)
    return Terminal(pid, screen)


def outcomes(home: Path) -> list[tuple[str, str]]:
    return [(o.step, o.name) for o in StepLog(Store(home)).read()]


def make_site(folder: Path) -> Path:
    folder.mkdir()
    for n in range(PAGES):
        (folder / f"{n}.html").write_text(f"<p>{PROSE * 5}</p><p>Sack {n} of the harvest is weighed here.</p>")
    (folder / "index.html").write_text("".join(f'<a href="{n}.html">Sack {n}</a> ' for n in range(PAGES)))
    return folder


def interrupt_in(terminal: Terminal, step: bytes) -> list[psutil.Process]:
    """Type Ctrl-C a second after ``step`` was announced; the program's processes at that time."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while step not in terminal.shown and time.monotonic() < deadline:
        assert terminal.read(), terminal.shown.decode()
    time.sleep(1)
    family = psutil.Process(terminal.pid).children(recursive=True)
    os.write(terminal.screen, b"\x03")
    return family


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_control_c_at_the_terminal_and_go_on(tmp_path: Path) -> None:
    home, recipe = tmp_path / "mill", tmp_path / "recipe.toml"
    command = [sys.executable, "-m", "flows.cli", "run", "corpus", "--recipe", str(recipe)]
    with serve(make_site(tmp_path / "site"), 0) as address:
        recipe.write_text(SITE.format(site=address))
        first = start(command, environment(home))
        family = interrupt_in(first, b"crawl-slow: never ran before")
        assert first.exit_code() == 130, first.shown.decode()
        assert b"stopped. Run the same command again" in first.shown
        assert b"Traceback" not in first.shown
        assert len(family) >= 2
        assert psutil.wait_procs(family, timeout=10)[1] == []
        assert list((home / "building").iterdir()) == []
        assert outcomes(home) == [("crawl", "Failed")]
        again = start(command, environment(home))
        assert again.exit_code() == 0, again.shown.decode()
    assert ("crawl", "Completed") in outcomes(home)
