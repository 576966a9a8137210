"""The optimizer: AdamW (Loshchilov and Hutter, 2019) with decay on matrices only."""

from __future__ import annotations

import torch
from torch import nn

from tasks.train.config import TrainConfig


def adamw(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over two groups: weights of two or more dimensions decay, gains do not."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.schedule.at(0), betas=(config.beta1, config.beta2), eps=1e-8, fused=True)
