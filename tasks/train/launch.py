"""The launcher: starts the ranks of a job, tells how they are, signals them, and collects the outcome.

A small protocol, so that a scheduler can stand in for torchrun. The ranks write to files of their own
and hold no pipe of this process; if it dies, however it dies, the kernel kills them (``tasks.process``).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from storage.errors import GristmillError
from tasks.process import bound, signal_tree, stop_tree
from tasks.train.config import Job, visible_gpus

COMPILERS = ("g++", "c++", "clang++")
LOG_TAIL_LINES = 25


class Running(Protocol):
    """A job that was started."""

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""

    def signal(self, number: int) -> None:
        """Send a signal to every process of the job."""

    def stop(self) -> None:
        """End every process of the job."""

    def collect(self) -> None:
        """Raise :class:`GristmillError` unless the job ended well: exit code 0 and a result."""


class Launcher(Protocol):
    """Something that can run the ranks of a job."""

    def start(self, job: Job) -> Running:
        """Start the job's ranks."""


@dataclass(frozen=True)
class Torchrun:
    """Launch on this machine by torchrun.

    Attributes:
        cache: folder for compiled kernels, shared by all runs.
    """

    cache: Path

    def start(self, job: Job) -> TorchrunJob:
        """Start torchrun's agent and the ranks below it, output to ``log.txt`` in the job's folder."""
        require_compiler(job)
        folder = Path(job.folder)
        (folder / "result.json").unlink(missing_ok=True)
        job.save(folder / "job.json")
        command = [
            sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={job.train.ranks}",
            "--max-restarts=0", "-m", "tasks.train.worker", str(folder / "job.json"),
        ]  # fmt: skip
        with (folder / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                bound(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=os.environ | environment(job, self.cache),
            )  # fmt: skip
        return TorchrunJob(process, folder)


@dataclass(frozen=True)
class TorchrunJob:
    """A torchrun agent and its ranks."""

    process: subprocess.Popen[bytes]
    folder: Path

    def poll(self) -> int | None:
        """The agent's exit code, or None while it runs."""
        return self.process.poll()

    def signal(self, number: int) -> None:
        """Signal torchrun and every rank."""
        signal_tree(self.process.pid, number)

    def stop(self) -> None:
        """End every process of the job."""
        stop_tree(self.process.pid)
        self.process.wait()

    def collect(self) -> None:
        """Raise unless the ranks ended well."""
        code = self.process.wait()
        if code == 0 and (self.folder / "result.json").is_file():
            return
        raise GristmillError(
            f"The ranks of {self.folder.name} stopped with exit code {code}. The end of {self.folder / 'log.txt'}:\n"
            f"{tail(self.folder / 'log.txt')}\n",
            "Run the same command again to continue from the newest checkpoint.",
        )


def require_compiler(job: Job) -> None:
    """Raise if the job wants ``torch.compile`` and this machine has no C++ compiler for it."""
    if job.train.compile and not any(map(shutil.which, COMPILERS)):
        raise GristmillError(
            f"The run {job.run} is to be compiled, but there is no C++ compiler ({', '.join(COMPILERS)}) here.",
            "Install one, or set `compile = false` in the recipe.",
        )


def environment(job: Job, cache: Path) -> dict[str, str]:
    """What the ranks need in their environment, beyond what is there."""
    threads = str(job.train.threads_per_rank)
    root = str(Path(__file__).parents[2])
    variables = {
        "OMP_NUM_THREADS": threads,
        "TORCHINDUCTOR_CACHE_DIR": str(cache),
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH", "")))),
        "TOKENIZERS_PARALLELISM": "false",
    }
    return variables if visible_gpus() else variables | {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}


def tail(path: Path) -> str:
    """The last lines of a log."""
    lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
    return "\n".join(lines[-LOG_TAIL_LINES:])


def wait(running: Running, watch_every: float) -> bool:
    """Wait up to ``watch_every`` seconds; whether the job still runs."""
    deadline = time.monotonic() + watch_every
    while time.monotonic() < deadline:
        if running.poll() is not None:
            return False
        time.sleep(min(0.1, watch_every))
    return True
