"""``@step``: run once, skip with a reason, publish all or nothing, and say why it ran."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from storage.artifact import Artifact, Store
from storage.errors import GristmillError
from storage.manifest import Manifest
from storage.steplog import StepLog
from tasks.step import Work, step


@dataclass(frozen=True)
class Config:
    name: str = "flour"
    grains: int = 3


@step(kind="pages", libraries=("numpy",))
def grind(work: Work, config: Config) -> Mapping[str, Any]:
    with (work.scratch / "attempts").open("a") as attempts:
        attempts.write("x")
    (work.out / "flour.txt").write_text("grain " * config.grains)
    if config.grains < 0:
        raise ValueError("no negative grains")
    return {"grains": config.grains, "attempts": (work.scratch / "attempts").stat().st_size}


@step(kind="documents")
def bake(work: Work, config: Config, flours: tuple[Artifact, ...]) -> Mapping[str, Any]:
    (work.out / "bread.txt").write_text("".join((f.path / "flour.txt").read_text() for f in flours))
    return {"flours": len(flours)}


@step(kind="documents")
def sleepy(work: Work, config: Config) -> Mapping[str, Any]:
    (work.out / "half.txt").write_text("half")
    (work.scratch / "started").write_text("yes")
    time.sleep(60)
    return {}


@step(kind="documents")
def full(work: Work) -> Mapping[str, Any]:
    with open("/dev/full", "w") as disk:
        disk.write("flour")
    return {}


def outcomes(store: Store) -> list[tuple[str, str]]:
    return [(o.name, o.reason) for o in StepLog(store).read()]


def test_the_second_call_is_skipped_with_its_reason(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first, second = grind(store, Config()), grind(store, Config())
    assert first == second
    (ran, why), (skipped, since) = outcomes(store)
    assert (ran, why, skipped) == ("Completed", "never ran before", "Skipped")
    assert "same code, configuration and inputs" in since


def test_a_changed_configuration_reruns_and_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    grind(store, Config(grains=3))
    grind(store, Config(grains=4))
    assert outcomes(store)[-1] == ("Completed", "configuration config.grains: 3 → 4")


def test_identical_output_stops_the_rerun_there(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one = grind(store, Config("a"))
    bake(store, Config(), (one,))
    other = grind(store, Config("b"))
    assert other.digest == one.digest
    assert other.key != one.key
    bake(store, Config(), (other,))
    assert outcomes(store)[-1][0] == "Skipped"


def test_a_failed_step_publishes_nothing_and_keeps_its_scratch(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(ValueError, match="negative"):
        grind(store, Config(grains=-1))
    assert list(store.all()) == []
    assert not list((tmp_path / "building").iterdir())
    assert len(list((tmp_path / "scratch").iterdir())) == 1
    assert outcomes(store)[-1][0] == "Failed"


def test_a_kill_in_the_middle_leaves_nothing_half_published(tmp_path: Path) -> None:
    store = Store(tmp_path)
    process = multiprocessing.get_context("spawn").Process(target=sleepy, args=(store, Config()))
    process.start()
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob("scratch/*/started")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert sleepy.find(store, Config()) is None
    with Manifest(store).reader() as db:
        assert db.execute("SELECT count(*) FROM artifacts").fetchall() == [(0,)]


def test_two_processes_do_the_work_once(tmp_path: Path) -> None:
    children = [
        multiprocessing.get_context("spawn").Process(target=grind, args=(Store(tmp_path), Config())) for _ in range(3)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    names = sorted(name for name, _ in outcomes(Store(tmp_path)))
    assert names == ["Completed", "Skipped", "Skipped"]
    assert grind(Store(tmp_path), Config()).statistics["attempts"] == 1


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(GristmillError, match=r"disk of .* is full.*GRISTMILL_HOME"):
        full(Store(tmp_path))


def test_a_step_is_entered_in_the_manifest_with_its_inputs(tmp_path: Path) -> None:
    store = Store(tmp_path)
    flour = grind(store, Config())
    bread = bake(store, Config(), (flour,))
    with Manifest(store).reader() as db:
        assert db.execute("SELECT argument, input_key FROM inputs WHERE key = ?", [bread.key]).fetchall() == [
            ("flours[0]", flour.key)
        ]


def test_importing_a_step_loads_neither_prefect_nor_torch() -> None:
    heavy = "import tasks.train.run, tasks.step, sys; sys.exit(bool({'prefect', 'torch', 'mlflow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", heavy], check=False).returncode == 0
