"""The optimizers: AdamW for all, or Muon for the matrices inside the layers and AdamW for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tasks.train.config import TrainConfig

EPSILON = 1e-8


class Combined(torch.optim.Optimizer):
    """Several optimizers that share the parameters of one model between them and act as one.

    Args:
        parts: the optimizers, each over parameters of its own.
    """

    def __init__(self, parts: Iterable[torch.optim.Optimizer]) -> None:
        self.parts = tuple(parts)
        super().__init__([group for part in self.parts for group in part.param_groups], {})

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of every part."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """The parts' states, in order."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore every part; the parts make new groups, which this object then shares again."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer that ``config`` names, over the trainable parameters of ``model``."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if config.optimizer == "adamw":
        return adamw([p for _, p in named], config)
    inner = [p for name, p in named if p.dim() == 2 and ".layers." in name]
    ids = {id(p) for p in inner}
    return Combined((muon(inner, config), adamw([p for _, p in named if id(p) not in ids], config)))


def adamw(parameters: Sequence[Tensor], config: TrainConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, 2019): weights of two or more dimensions decay, gains do not."""
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(groups, lr=config.schedule.at(0), betas=betas, eps=EPSILON, fused=True)


def muon(matrices: Sequence[Tensor], config: TrainConfig) -> torch.optim.Muon:
    """Muon (Jordan et al., 2024); updates as large as AdamW's (Liu et al., arXiv:2502.16982), so one rate fits both."""
    return torch.optim.Muon(
        list(matrices), lr=config.schedule.at(0), momentum=config.momentum, weight_decay=config.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )  # fmt: skip
