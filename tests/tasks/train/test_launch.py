"""The launcher: what it gives the ranks, and what it says when they fail."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from storage.artifact import Artifact, Store
from storage.checkpoints import Checkpoints
from storage.errors import GristmillError
from tasks.model.config import ModelConfig
from tasks.train.config import Job, TrainConfig
from tasks.train.launch import LOG_TAIL_LINES, Torchrun, TorchrunJob, environment, tail, wait


@pytest.fixture
def job(tmp_path: Path, token_store: Callable[[Store], Artifact], model: ModelConfig, train: TrainConfig) -> Job:
    tokens = token_store(Store(tmp_path / "mill"))
    (tmp_path / "run").mkdir()
    sized, alone = model.with_vocab(300), replace(train, ranks=1)
    return Job("run", str(tmp_path / "run"), "pretrain", str(tokens.path), tokens.digest, "", sized, alone)


def test_a_checkpoint_of_other_data_stops_the_run_with_the_end_of_its_log(job: Job, tmp_path: Path) -> None:
    checkpoints = Checkpoints(Path(job.folder) / "checkpoints")
    checkpoints.draft(4).mkdir(parents=True)
    checkpoints.commit(4, 32, "another digest", job.train.seed, {})
    running = Torchrun(tmp_path / "cache").start(job)
    while wait(running, 0.5):
        continue
    with pytest.raises(GristmillError, match=r"ranks of run stopped with exit code 1") as failure:
        running.collect()
    assert "was made from other data or another seed than run" in str(failure.value)
    assert "Run the same command again" in failure.value.remedy


def finished(code: int, folder: Path) -> TorchrunJob:
    return TorchrunJob(subprocess.Popen([sys.executable, "-c", f"raise SystemExit({code})"]), folder)


def test_exit_code_0_without_a_result_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(GristmillError, match="exit code 0"):
        finished(0, tmp_path).collect()
    (tmp_path / "result.json").write_text("{}")
    finished(0, tmp_path).collect()
    with pytest.raises(GristmillError, match="exit code 3"):
        finished(3, tmp_path).collect()


def test_stopping_ends_the_job(tmp_path: Path) -> None:
    running = TorchrunJob(subprocess.Popen(["sleep", "60"]), tmp_path)
    assert wait(running, 0.01)
    running.stop()
    assert running.poll() is not None
    assert not wait(running, 0.01)


def test_the_ranks_find_the_project_and_share_the_cores(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setattr("tasks.train.launch.visible_gpus", lambda: 0)
    given = environment(job, tmp_path)
    assert given["PYTHONPATH"].endswith(":/elsewhere")
    assert (Path(given["PYTHONPATH"].split(":")[0]) / "tasks" / "train" / "worker.py").is_file()
    assert (given["OMP_NUM_THREADS"], given["DS_ACCELERATOR"]) == ("1", "cpu")
    monkeypatch.setattr("tasks.train.launch.visible_gpus", lambda: 1)
    assert "DS_ACCELERATOR" not in environment(job, tmp_path)


def test_only_the_end_of_a_long_log_is_shown(tmp_path: Path) -> None:
    assert tail(tmp_path / "log.txt") == ""
    (tmp_path / "log.txt").write_bytes(b"\xff\n" + b"".join(b"%d\n" % i for i in range(100)))
    assert tail(tmp_path / "log.txt").split("\n") == [str(i) for i in range(100 - LOG_TAIL_LINES, 100)]
