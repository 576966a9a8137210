"""The training steps: pretraining and SFT, each a job for the launcher that ends as a published model's weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from monitoring.events import Event, EventLog, last_steps
from monitoring.tracking import Tracker, following
from storage.artifact import Artifact
from storage.jsonlines import Tail
from storage.manifest import Manifest, Run
from tasks.model.config import ModelConfig
from tasks.step import Work, step
from tasks.train.config import Job, TrainConfig
from tasks.train.launch import Torchrun, wait

LOOK_EVERY_SECONDS = 0.5
WORKER = "tasks.train.worker:main"


@step(kind="checkpoint", libraries=("torch", "deepspeed"), also=(WORKER,))
def pretrain(work: Work, model: ModelConfig, train: TrainConfig, tokens: Artifact) -> Mapping[str, Any]:
    """Pretrain a decoder on the windows of a token store."""
    sized = model.with_vocab(int(tokens.statistics["vocab_size"]))
    return run_job(work, _job(work, "pretrain", sized, train, tokens, None), tokens)


@step(kind="checkpoint", libraries=("torch", "deepspeed"), also=(WORKER,))
def finetune(work: Work, train: TrainConfig, tokens: Artifact, base: Artifact) -> Mapping[str, Any]:
    """Fine-tune an exported model on packed conversations, the loss on the responses alone."""
    model = ModelConfig(**base.statistics["model"])
    return run_job(work, _job(work, "sft", model, train, tokens, base), tokens)


def run_folder(home: Path, run: str) -> Path:
    """Where a run keeps its record: events, checkpoints, job, log, result."""
    return home / "runs" / run


def _job(
    work: Work, objective: Any, model: ModelConfig, train: TrainConfig, tokens: Artifact, base: Artifact | None
) -> Job:
    folder = run_folder(work.store.home, work.name)
    folder.mkdir(parents=True, exist_ok=True)
    weights = str(base.path) if base else ""
    return Job(work.name, str(folder), objective, str(tokens.path), tokens.digest, weights, model, train)


def run_job(work: Work, job: Job, tokens: Artifact) -> Mapping[str, Any]:
    """Launch ``job``, show and track it until it ends, and write its weights and losses to ``work.out``."""
    folder, train = Path(job.folder), job.train
    run = Run(
        run=job.run, step=job.objective, store_key=tokens.key, seed=train.seed, global_batch=train.global_batch,
        sequence_length=train.sequence_length, steps=train.schedule.steps,
    )
    (folder / "run.json").write_text(json.dumps(asdict(run), indent=1) + "\n")
    Manifest(work.store).register(run)
    tracker = Tracker(work.store.home, job.run, parameters(job))
    with following(tracker, folder):
        _supervise(work, job)
    steps = last_steps(EventLog(folder / "events.jsonl").read())
    (work.out / "losses.jsonl").write_text("".join(json.dumps(deterministic(e)) + "\n" for e in steps))
    shutil.copy(folder / "run.json", work.out)
    shutil.copy(folder / "model.safetensors", work.out)
    return {
        "model": asdict(job.model), "steps": train.schedule.steps, "final_loss": steps[-1]["loss"],
        "tokens": train.schedule.steps * train.global_batch * train.sequence_length,
        "parameters": job.model.n_parameters(), "ranks": train.ranks,
    }


def _supervise(work: Work, job: Job) -> None:
    running = Torchrun(work.store.home / "cache" / "inductor").start(job)
    try:
        tail = Tail(Path(job.folder) / "events.jsonl")
        with work.progress("training", job.train.schedule.steps, "steps") as bar:
            while wait(running, LOOK_EVERY_SECONDS):
                for event in tail.new():
                    if event["event"] == "step":
                        bar.at(event["step"], note(event))
        running.collect()
    finally:
        running.stop()


def note(event: Event) -> str:
    """What stands beside the bar."""
    return f"loss {event['loss']:.3f}  {event['tokens'] / event['seconds']:,.0f} tokens/s"


def deterministic(event: Event) -> dict[str, float]:
    """The part of a step event that does not depend on the clock."""
    return {name: event[name] for name in ("step", "loss", "grad_norm", "learning_rate", "labels")}


def parameters(job: Job) -> dict[str, Any]:
    """The run's parameters as MLflow shows them."""
    shown = {f"model.{k}": v for k, v in asdict(job.model).items()}
    shown |= {f"train.{k}": v for k, v in asdict(job.train).items() if k != "schedule"}
    shown |= {f"schedule.{k}": v for k, v in asdict(job.train.schedule).items()}
    return shown | {"objective": job.objective, "tokens.digest": job.data_digest}
