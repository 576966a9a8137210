"""The training loop: the same for pretraining and SFT, which differ in their samples alone."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor

from monitoring.events import EventLog
from storage.checkpoints import Checkpoint, Checkpoints
from storage.errors import GristmillError
from tasks.model.decoder import Decoder
from tasks.model.hf import load_hf
from tasks.train.config import Job
from tasks.train.engine import Engine
from tasks.train.objective import I64, samples


class Loop:
    """One rank's view of a job, from the newest good checkpoint to the last step."""

    def __init__(self, job: Job) -> None:
        self.job, self.config, self.folder = job, job.train, Path(job.folder)
        on_gpu = torch.cuda.is_available() and os.environ["DS_ACCELERATOR"] == "cuda"
        self.device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if on_gpu else torch.device("cpu")
        if on_gpu:
            torch.cuda.set_device(self.device)
        torch.set_num_threads(self.config.threads_per_rank)
        dist.init_process_group("nccl" if on_gpu else "gloo", timeout=timedelta(minutes=10))
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.events = EventLog(self.folder / "events.jsonl")
        self.checkpoints = Checkpoints(self.folder / "checkpoints")
        self.samples = samples(job)

    def run(self) -> None:
        """Train to the last step, from wherever the newest good checkpoint stands."""
        engine = Engine(self._decoder(), self.config, self.device)
        first = self._resume(engine)
        self._note("start", step=first, ranks=self.world, device=str(self.device), process=os.getpid())
        for step in range(first, self.config.schedule.steps):
            self._step(engine, step)
            done = step + 1
            if done % self.config.checkpoint_every == 0 or done == self.config.schedule.steps:
                self._checkpoint(engine, done)
        self._finish(engine)
        dist.destroy_process_group()

    def _decoder(self) -> Decoder:
        torch.manual_seed(self.config.seed)
        decoder = load_hf(Path(self.job.weights))[0] if self.job.weights else Decoder(self.job.model, self.config.seed)
        return decoder.to(self.device)

    def _resume(self, engine: Engine) -> int:
        """Load the newest checkpoint that rank 0 found good; return the step to start with."""
        chosen: list[Checkpoint | None] = [self._newest() if self.rank == 0 else None]
        dist.broadcast_object_list(chosen, device=self.device)
        if chosen[0] is None:
            return 0
        engine.load(chosen[0].path)
        return int(chosen[0].step)

    def _newest(self) -> Checkpoint | None:
        checkpoint = self.checkpoints.newest()
        if checkpoint and (checkpoint.store, checkpoint.seed) != (self.job.data_digest, self.config.seed):
            raise GristmillError(
                f"The checkpoint {checkpoint.path} was made from other data or another seed than {self.job.run}.",
                f"Remove {self.checkpoints.folder} to start this run anew.",
            )
        return checkpoint

    def _step(self, engine: Engine, step: int) -> None:
        started = time.perf_counter()
        positions = step * self.config.global_batch + np.arange(self.config.global_batch)
        labels = self.samples.labelled(positions)
        batches = list(self._micro_batches(positions))
        data_seconds = time.perf_counter() - started
        rate = self.config.schedule.at(step)
        result = engine.train_step(batches, labels, rate)
        done = step + 1
        if done % self.config.log_every == 0 or done == self.config.schedule.steps:
            self._note(
                "step", step=done, loss=result.loss, grad_norm=result.grad_norm, learning_rate=rate,
                tokens=self.config.global_batch * self.config.sequence_length, labels=labels,
                seconds=time.perf_counter() - started, data_seconds=data_seconds,
                forward_seconds=result.forward_seconds, backward_seconds=result.backward_seconds,
                update_seconds=result.update_seconds,
            )

    def _micro_batches(self, positions: I64) -> Iterator[tuple[Tensor, Tensor]]:
        """This rank's slice of the global batch, ``micro_batch`` samples at a time."""
        mine = positions.reshape(self.world, -1)[self.rank]
        for start in range(0, len(mine), self.config.micro_batch):
            tokens, labels = self.samples.read(mine[start : start + self.config.micro_batch])
            yield torch.from_numpy(np.ascontiguousarray(tokens)), torch.from_numpy(np.ascontiguousarray(labels))

    def _checkpoint(self, engine: Engine, step: int) -> None:
        started = time.perf_counter()
        draft = self.checkpoints.draft(step)
        if self.rank == 0:
            draft.mkdir(parents=True, exist_ok=True)
        dist.barrier()
        engine.save(draft)
        if self.rank == 0:
            position = step * self.config.global_batch
            self.checkpoints.commit(step, position, self.job.data_digest, self.config.seed, versions())
            self.checkpoints.rotate(self.config.keep_checkpoints)
        dist.barrier()
        self._note("checkpoint", step=step, seconds=time.perf_counter() - started)

    def _finish(self, engine: Engine) -> None:
        weights = engine.weights()
        if self.rank != 0:
            return
        partial = self.folder / "model.safetensors.partial"
        save_file(weights, partial, metadata={"format": "pt"})
        partial.rename(self.folder / "model.safetensors")
        self._note("finish", step=self.config.schedule.steps)
        result = {"step": self.config.schedule.steps, "parameters": sum(w.numel() for w in weights.values())}
        (self.folder / "result.json.partial").write_text(json.dumps(result) + "\n")
        (self.folder / "result.json.partial").rename(self.folder / "result.json")

    def _note(self, event: str, **fields: Any) -> None:
        if self.rank == 0:
            self.events.add(event, **fields)


def versions() -> dict[str, str]:
    """The libraries whose version a checkpoint depends on."""
    return {name: version(name) for name in ("torch", "deepspeed", "numpy")}
