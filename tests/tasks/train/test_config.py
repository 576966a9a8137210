"""What a run is told: refused by key if it cannot work, and the same after a trip through JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from storage.errors import ConfigError
from tasks.model.config import ModelConfig
from tasks.train.config import Job, TrainConfig, resolved, visible_gpus


def test_a_job_survives_its_file(tmp_path: Path, model: ModelConfig, train: TrainConfig) -> None:
    job = Job("run", str(tmp_path), "pretrain", "tokens", "digest", "", model.with_vocab(300), train)
    job.save(tmp_path / "job.json")
    assert Job.load(tmp_path / "job.json") == job


def test_ranks_and_threads_are_those_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.train.config.visible_gpus", lambda: 0)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    assert (resolved(TrainConfig()).ranks, resolved(TrainConfig()).threads_per_rank) == (2, 4)
    monkeypatch.setattr("tasks.train.config.visible_gpus", lambda: 1)
    assert (resolved(TrainConfig()).ranks, resolved(TrainConfig()).threads_per_rank) == (1, 8)
    given = TrainConfig(ranks=2, threads_per_rank=3)
    assert resolved(given) == given


def test_hidden_devices_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glob.glob", lambda _: ["/dev/nvidia0", "/dev/nvidia1", "/dev/nvidia2"])
    for value, seen in (("", 0), ("1", 1), ("0,2", 2)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
        assert visible_gpus() == seen
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_gpus() == 3


@pytest.mark.parametrize(
    ("values", "key"),
    [({"sequence_length": 0}, "sequence_length"), ({"ranks": -1}, "ranks"), ({"zero_stage": 4}, "zero_stage"),
     ({"zero_stage": 1}, "zero_stage"), ({"momentum": 1.0}, "momentum"), ({"clip_norm": 0.0}, "clip_norm"),
     ({"weight_decay": -1.0}, "weight_decay"), ({"global_batch": 12}, "global_batch"),
     ({"ranks": 3}, "global_batch"), ({"keep_checkpoints": 0}, "keep_checkpoints")],
)  # fmt: skip
def test_what_cannot_work_is_refused_by_its_key(values: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=f"^{key} ="):
        TrainConfig(**values)
