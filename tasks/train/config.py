"""What a training run is told: batch, schedule, optimizer, precision, ranks, checkpoints."""

from __future__ import annotations

import glob
import json
import os
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from storage.errors import require
from tasks.model.config import ModelConfig
from tasks.train.schedule import Schedule

POSITIVE = ("sequence_length", "global_batch", "micro_batch", "checkpoint_every", "keep_checkpoints", "log_every")


@dataclass(frozen=True)
class TrainConfig:
    """One training run, for pretraining and SFT alike.

    Attributes:
        name: which model this run makes; the label of its artifacts.
        sequence_length: tokens a sample.
        global_batch: samples a step, over all ranks.
        micro_batch: samples a rank takes through the model at once.
        ranks: processes, one a device; 0 means one a GPU, or 2 on a machine without.
        threads_per_rank: CPU threads a rank; 0 means the cores divided by the ranks.
        schedule: learning rate by step, and with it the number of steps.
        optimizer: ``muon`` (matrices inside the layers; AdamW for the rest) or ``adamw``.
        momentum: Muon's.
        weight_decay: decoupled, on matrices only.
        beta1: decay of AdamW's first moment.
        beta2: decay of its second.
        clip_norm: largest norm of the global gradient.
        zero_stage: DeepSpeed ZeRO stage, 0 to 3; Muon needs whole matrices, and so 0.
        compile: whether ``torch.compile`` is used.
        precision: of the matrix products in forward and backward; weights and optimizer are float32.
        checkpoint_every: steps between checkpoints.
        keep_checkpoints: how many of the newest are kept.
        log_every: steps between lines of the event log.
        seed: of the initial weights and of the order of samples.
    """

    name: str = "base"
    sequence_length: int = 256
    global_batch: int = 16
    micro_batch: int = 8
    ranks: int = 0
    threads_per_rank: int = 0
    schedule: Schedule = field(default_factory=Schedule)
    optimizer: Literal["muon", "adamw"] = "muon"
    momentum: float = 0.95
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    clip_norm: float = 1.0
    zero_stage: int = 0
    compile: bool = True
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    checkpoint_every: int = 100
    keep_checkpoints: int = 2
    log_every: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for key in POSITIVE:
            require(getattr(self, key) >= 1, key, getattr(self, key), "an integer of at least 1")
        for key in ("ranks", "threads_per_rank", "seed"):
            require(getattr(self, key) >= 0, key, getattr(self, key), "an integer of at least 0")
        require(0 <= self.zero_stage <= 3, "zero_stage", self.zero_stage, "0, 1, 2 or 3")
        whole = self.optimizer == "adamw" or self.zero_stage == 0
        require(whole, "zero_stage", self.zero_stage, 'above 0 only with optimizer = "adamw"')
        require(0 <= self.momentum < 1, "momentum", self.momentum, "at least 0 and below 1")
        require(self.clip_norm > 0, "clip_norm", self.clip_norm, "above 0")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "at least 0")
        require(
            self.global_batch % (max(1, self.ranks) * self.micro_batch) == 0, "global_batch", self.global_batch,
            f"a multiple of ranks × micro_batch ({max(1, self.ranks)} × {self.micro_batch})",
        )


@dataclass(frozen=True)
class Job:
    """Everything that a worker must know, passed as one JSON file.

    Attributes:
        run: the run's name.
        folder: the run's folder: events, checkpoints, result.
        objective: ``pretrain`` (windows of a token store) or ``sft`` (packed rows with labels).
        data: folder of the token artifact.
        data_digest: its content digest, stored in each checkpoint.
        weights: folder of the model to start from, or "" for fresh weights.
        model: the decoder's shape.
        train: the run's configuration, with ``ranks`` and ``threads_per_rank`` resolved.
    """

    run: str
    folder: str
    objective: Literal["pretrain", "sft"]
    data: str
    data_digest: str
    weights: str
    model: ModelConfig
    train: TrainConfig

    def save(self, path: Path) -> None:
        """Write the job as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @staticmethod
    def load(path: Path) -> Job:
        """Read what :meth:`save` wrote."""
        given: dict[str, Any] = json.loads(path.read_text())
        given["model"] = ModelConfig(**given["model"])
        schedule = Schedule(**given["train"].pop("schedule"))
        given["train"] = TrainConfig(**given["train"], schedule=schedule)
        return Job(**{f.name: given[f.name] for f in fields(Job)})


def resolved(train: TrainConfig) -> TrainConfig:
    """Fill in ranks and threads for this machine: one rank a GPU, or two ranks that share the cores."""
    ranks = train.ranks or visible_gpus() or 2
    cores = len(os.sched_getaffinity(0))
    return replace(train, ranks=ranks, threads_per_rank=train.threads_per_rank or max(1, cores // ranks))


def visible_gpus() -> int:
    """How many NVIDIA devices a process started here will see, without loading torch."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = len(glob.glob("/dev/nvidia[0-9]*"))
    return devices if chosen is None else min(devices, len([c for c in chosen.split(",") if c.strip()]))
