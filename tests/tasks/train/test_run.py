"""Runs under real torchrun, killed in every way, end with the bytes of an undisturbed one."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from monitoring.events import Event, EventLog
from monitoring.tracking import EXPERIMENT, connect
from storage.artifact import Artifact, Identity, Kind, Store
from storage.checkpoints import Checkpoints
from storage.manifest import Manifest
from tasks.model.config import ModelConfig
from tasks.model.hf import hf_config
from tasks.process import tree
from tasks.train.config import TrainConfig
from tasks.train.run import finetune, pretrain, run_folder

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
NewStore = Callable[[], Store]
Publish = Callable[[Store], Artifact]
PATIENCE_SECONDS = 120


@dataclass(frozen=True)
class Trained:
    """A finished run."""

    store: Store
    tokens: Artifact
    artifact: Artifact

    @property
    def folder(self) -> Path:
        return run_folder(self.store.home, self.artifact.name)

    def outputs(self) -> dict[str, str]:
        return {file.path: file.sha256 for file in self.artifact.files}

    def events(self, kind: str) -> list[Event]:
        return [e for e in EventLog(self.folder / "events.jsonl").read() if e["event"] == kind]

    def sent(self, metric: str) -> list[tuple[int, float]]:
        client = connect(self.store.home)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        (run,) = client.search_runs([experiment.experiment_id], f"attributes.run_name = '{self.artifact.name}'")
        return [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, metric)]


@pytest.fixture(scope="module")
def undisturbed(new_store: NewStore, token_store: Publish, model: ModelConfig, train: TrainConfig) -> Trained:
    store = new_store()
    tokens = token_store(store)
    return Trained(store, tokens, pretrain(store, model, train, tokens))


@pytest.fixture(scope="module")
def hounded(
    undisturbed: Trained, new_store: NewStore, token_store: Publish, model: ModelConfig, train: TrainConfig
) -> Trained:
    """The same run, killed at a rank, at torchrun and at the parent, then robbed of its newest checkpoint."""
    store = new_store()
    tokens = token_store(store)
    folder = run_folder(store.home, undisturbed.artifact.name)
    for at_step, victim in ((5, rank_of), (9, agent_of), (13, parent_of)):
        parent = multiprocessing.get_context("spawn").Process(target=pretrain, args=(store, model, train, tokens))
        parent.start()
        kill_at(at_step, folder, parent, victim)
        assert not (folder / "result.json").exists()
    damaged = max((folder / "checkpoints").glob("step-*"))
    (largest,) = sorted(damaged.rglob("*states.pt"), key=lambda p: p.stat().st_size)[-1:]
    os.truncate(largest, largest.stat().st_size - 1)
    return Trained(store, tokens, pretrain(store, model, train, tokens))


def rank_of(parent: psutil.Process) -> psutil.Process:
    return [p for p in parent.children(recursive=True) if "tasks.train.worker" in p.cmdline()][-1]


def agent_of(parent: psutil.Process) -> psutil.Process:
    return next(p for p in parent.children() if "torch.distributed.run" in p.cmdline())


def parent_of(parent: psutil.Process) -> psutil.Process:
    return parent


def kill_at(step: int, folder: Path, parent: Any, victim: Callable[[psutil.Process], psutil.Process]) -> None:
    """SIGKILL the victim as soon as ``step`` is done, and see that nothing of the run outlives it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    log = EventLog(folder / "events.jsonl")
    while step not in [e["step"] for e in log.read() if e["event"] == "step"]:
        assert time.monotonic() < deadline
        assert parent.is_alive()
        time.sleep(0.002)
    family = tree(parent.pid)
    victim(psutil.Process(parent.pid)).send_signal(signal.SIGKILL)
    parent.join(PATIENCE_SECONDS)
    assert parent.exitcode not in (0, None)
    _, orphans = psutil.wait_procs([p for p in family if p.pid != parent.pid], timeout=10)
    assert orphans == []


def test_a_run_publishes_weights_losses_and_its_own_description(undisturbed: Trained) -> None:
    assert set(undisturbed.outputs()) == {"losses.jsonl", "model.safetensors", "run.json"}
    statistics = undisturbed.artifact.statistics
    assert (statistics["steps"], statistics["tokens"], statistics["ranks"]) == (16, 16 * 8 * 32, 2)
    losses = [json.loads(line) for line in (undisturbed.artifact.path / "losses.jsonl").read_text().splitlines()]
    assert [e["step"] for e in losses] == list(range(1, 17))
    assert losses[0]["loss"] == pytest.approx(np.log(300), rel=0.02)
    assert losses[-1]["loss"] < losses[0]["loss"] - 1


def test_a_run_is_registered_with_its_order(undisturbed: Trained) -> None:
    with Manifest(undisturbed.store).reader() as db:
        assert db.execute("FROM runs").fetchall() == [
            (undisturbed.artifact.name, "pretrain", undisturbed.tokens.key, 0, 8, 32, 16)
        ]


def test_a_run_killed_three_times_ends_with_the_same_bytes(undisturbed: Trained, hounded: Trained) -> None:
    assert hounded.outputs() == undisturbed.outputs()


def test_each_attempt_started_at_the_newest_good_checkpoint(hounded: Trained) -> None:
    first, second, third, fourth = (event["step"] for event in hounded.events("start"))
    assert first == 0
    assert 0 < second < third
    assert fourth >= 8
    assert f"refused checkpoint {hounded.folder}" in (hounded.folder / "log.txt").read_text()


def test_mlflow_has_each_step_once_whatever_was_replayed(undisturbed: Trained, hounded: Trained) -> None:
    assert len(hounded.events("step")) > 16
    assert [step for step, _ in hounded.sent("train/loss")] == list(range(1, 17))
    assert hounded.sent("train/loss") == undisturbed.sent("train/loss")


def test_only_the_newest_checkpoints_are_kept(undisturbed: Trained) -> None:
    assert [c.step for c in Checkpoints(undisturbed.folder / "checkpoints").all()] == [12, 16]


def test_fine_tuning_goes_on_without_mlflow_and_learns_the_labels_alone(
    undisturbed: Trained, model: ModelConfig, train: TrainConfig, caplog: pytest.LogCaptureFixture
) -> None:
    store, rows = undisturbed.store, np.random.default_rng(0).integers(0, 300, (20, 2, 33), np.int32)
    rows[:, 1, :20] = -100
    rows[:, 1, 20:] = 7
    conversations = published(store, "tokens", lambda out: np.save(out / "train.npy", rows), {"row_tokens": 33})
    sized = model.with_vocab(300)
    base = published(store, "model", lambda out: write_base(undisturbed, sized, out), {"model": asdict(sized)})
    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.WARNING, "gristmill.tracking"):
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        chat = finetune(store, replace(train, name="chat"), conversations, base)
    losses = [json.loads(line) for line in (chat.path / "losses.jsonl").read_text().splitlines()]
    assert [e["labels"] for e in losses] == [8 * 13] * 16
    assert losses[-1]["loss"] < losses[0]["loss"] / 2
    assert [r.name for r in caplog.records].count("gristmill.tracking") == 1


def published(store: Store, kind: Kind, write: Callable[[Path], object], statistics: dict[str, Any]) -> Artifact:
    identity = Identity(f"made-{kind}", "", {}, {}, {}, {})
    folder = store.building(identity.key)
    folder.mkdir(parents=True)
    write(folder)
    return store.publish(Artifact(kind, identity, identity.key, "", (), statistics, "2026", 0.0, {}, folder))


def write_base(trained: Trained, model: ModelConfig, out: Path) -> None:
    shutil.copy(trained.artifact.path / "model.safetensors", out)
    ends = {"<|endoftext|>": 0, "<|im_end|>": 1}
    (out / "config.json").write_text(json.dumps(hf_config(model, ends, "float32")))
