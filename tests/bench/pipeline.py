"""The whole pipeline from an empty home: wall time, its split by step, the share of orchestration, and again.

``GRISTMILL_BENCH_RECIPE`` names another recipe than ``tiny``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from storage.artifact import Store
from storage.steplog import Outcome, StepLog
from tests.bench.frame import Result, timing

ROOT = Path(__file__).parents[2]
FOREIGN = ("PREFECT_", "MLFLOW_", "GRISTMILL_HOME")


def benchmark() -> Result:
    """Run the recipe twice in a temporary home; the second run has nothing left to do."""
    recipe = os.environ.get("GRISTMILL_BENCH_RECIPE", "tiny")
    with TemporaryDirectory(prefix="gristmill-bench-") as folder:
        home = Path(folder) / "mill"
        first, _ = timing(lambda: run(recipe, home))
        outcomes = list(StepLog(Store(home)).read())
        second, _ = timing(lambda: run(recipe, home))
        repeated = list(StepLog(Store(home)).read())[len(outcomes) :]
    ran = [o for o in repeated if o.name != "Skipped"]
    if ran:
        raise RuntimeError(f"The second run was to skip every step, but {ran[0].step} ran: {ran[0].reason}")
    return Result(figures=figures(first, second, outcomes))


def run(recipe: str, home: Path) -> None:
    """``gristmill run`` as a process of its own.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    env = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)} | {"GRISTMILL_HOME": str(home)}
    command = [sys.executable, "-m", "flows.cli", "run", "pipeline", "--recipe", recipe]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"gristmill run failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def figures(first: float, second: float, outcomes: Iterable[Outcome]) -> dict[str, float]:
    """Seconds of both runs, of each step, and the share of the first run's that no step took."""
    done = [o for o in outcomes if o.name == "Completed"]
    steps = {f"{'-'.join(filter(None, (o.step, o.label)))} seconds": o.seconds for o in done}
    return {
        "first run seconds": round(first, 3),
        "second run seconds": round(second, 3),
        "orchestration share": round((first - sum(steps.values())) / first, 4),
        **steps,
    }
