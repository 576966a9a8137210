"""DeepSpeed behind one small interface: a global batch in, loss and gradient norm out, state in and out."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.utils import safe_get_full_fp32_param
from torch import Tensor, nn

from storage.errors import GristmillError
from tasks.model.decoder import Decoder
from tasks.train.config import TrainConfig
from tasks.train.optimizer import optimizer

STATE_TAG = "state"
SHM_OP = "deepspeed_shm_comm"


@dataclass(frozen=True)
class StepResult:
    """One optimizer step: mean loss in nats a label over the global batch, gradient norm, seconds by phase."""

    loss: float
    grad_norm: float
    forward_seconds: float
    backward_seconds: float
    update_seconds: float


class SummedLoss(nn.Module):
    """The decoder with its loss, the sum of the labels' negative log-likelihoods in float32.

    The weights are float32; with the precision ``bfloat16``, matrix products round to that (autocast).
    """

    def __init__(self, decoder: Decoder, config: TrainConfig) -> None:
        super().__init__()
        self.decoder = decoder
        self._reduced = config.precision == "bfloat16"
        self._loss = torch.compile(decoder.loss, dynamic=False) if config.compile else decoder.loss

    def forward(self, tokens_bt: Tensor, labels_bt: Tensor) -> Tensor:
        """Scalar loss of tokens and labels [batch, time]."""
        with torch.autocast(tokens_bt.device.type, torch.bfloat16, enabled=self._reduced):
            summed: Tensor = self._loss(tokens_bt, labels_bt)
        return summed


class Engine:
    """The ranks' shared training state.

    Args:
        decoder: freshly initialised, equal on every rank.
        config: the run's configuration.
        device: this rank's device.
    """

    def __init__(self, decoder: Decoder, config: TrainConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        self.world = dist.get_world_size()
        module = SummedLoss(decoder, config)
        # For inference alone, and its build leaves a lock that hangs later runs if it is killed.
        deepspeed.ops.__compatible_ops__[SHM_OP] = False
        chosen = optimizer(module, config)
        if config.zero_stage == 0:
            chosen.register_step_pre_hook(self._clip)
        self._engine, *_ = deepspeed.initialize(
            model=module, optimizer=chosen, config=deepspeed_config(config, self.world)
        )

    def train_step(
        self, micro_batches: Iterable[tuple[Tensor, Tensor]], labels: int, learning_rate: float
    ) -> StepResult:
        """Accumulate over ``micro_batches`` (tokens, labels [batch, time]) and update once.

        Args:
            micro_batches: this rank's share of the global batch.
            labels: how many labels the global batch has, over all ranks.
            learning_rate: of this update.
        """
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rate
        summed = torch.zeros((), device=self.device)
        forward = backward = update = 0.0
        # The engine averages over ranks and micro-batches: undo both, then divide by the labels.
        scale = self.world * self._engine.gradient_accumulation_steps() / labels
        for tokens_bt, labels_bt in micro_batches:
            started = time.perf_counter()
            loss = self._engine(tokens_bt.to(self.device), labels_bt.to(self.device))
            forward_done = time.perf_counter()
            self._engine.backward(loss * scale)
            backward_done = time.perf_counter()
            self._engine.step()
            summed += loss.detach()
            forward += forward_done - started
            backward += backward_done - forward_done
            update += time.perf_counter() - backward_done
        dist.all_reduce(summed)
        norm = self._norm if self.config.zero_stage == 0 else self._engine.get_global_grad_norm()
        return StepResult(summed.item() / labels, float(norm), forward, backward, update)

    def _clip(self, *_: Any) -> None:
        """Clip whole gradients before an update; DeepSpeed would, but tells no norm without ZeRO."""
        self._norm = nn.utils.clip_grad_norm_(self._engine.module.parameters(), self.config.clip_norm)

    def save(self, folder: Path) -> None:
        """Write every rank's part of the state below ``folder``; all ranks must call it."""
        self._engine.save_checkpoint(str(folder), tag=STATE_TAG, save_latest=False)
        torch.save(torch.get_rng_state(), folder / f"rng-{dist.get_rank():05d}.pt")
        dist.barrier()

    def load(self, folder: Path) -> None:
        """Restore what :meth:`save` wrote, on as many ranks as wrote it."""
        loaded, _ = self._engine.load_checkpoint(str(folder), tag=STATE_TAG)
        if loaded is None:
            raise GristmillError(f"DeepSpeed found no state in {folder}.", "Remove it: there may be an older one.")
        torch.set_rng_state(torch.load(folder / f"rng-{dist.get_rank():05d}.pt", weights_only=True))

    def weights(self) -> dict[str, Tensor]:
        """The optimizer's float32 copy of every parameter, gathered; all ranks must call it."""
        return {name: self._full(p).cpu().contiguous() for name, p in self._engine.module.decoder.named_parameters()}

    def _full(self, parameter: nn.Parameter) -> Tensor:
        if self.config.zero_stage == 0:
            return parameter.detach()
        full: Tensor = safe_get_full_fp32_param(parameter)
        return full


def deepspeed_config(config: TrainConfig, world: int) -> dict[str, Any]:
    """DeepSpeed's own configuration for ``config`` on ``world`` ranks."""
    return {
        "train_batch_size": config.global_batch,
        "train_micro_batch_size_per_gpu": config.micro_batch,
        "gradient_accumulation_steps": config.global_batch // (config.micro_batch * world),
        "gradient_clipping": config.clip_norm if config.zero_stage else 0.0,
        "zero_optimization": {"stage": config.zero_stage, "overlap_comm": False, "contiguous_gradients": True},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 1_000_000_000,
    }
