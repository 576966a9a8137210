"""The learning rate as a pure function of the step: warm-up, then cosine or stable-and-decay."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from storage.errors import require


@dataclass(frozen=True)
class Schedule:
    """Warm-up and decay.

    Attributes:
        steps: optimizer steps in all.
        learning_rate: the peak.
        warmup_steps: linear rise to the peak.
        decay: ``cosine`` (Loshchilov and Hutter, 2017) over all that follows the warm-up, or ``linear``
            after a stable stretch (warm-up–stable–decay, Hu et al., MiniCPM, 2024).
        decay_steps: length of the linear decay; ignored by ``cosine``.
        final_ratio: last learning rate ÷ peak.
    """

    steps: int = 1000
    learning_rate: float = 3e-3
    warmup_steps: int = 50
    decay: Literal["cosine", "linear"] = "linear"
    decay_steps: int = 400
    final_ratio: float = 0.05

    def __post_init__(self) -> None:
        require(self.steps >= 1, "steps", self.steps, "an integer of at least 1")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "above 0")
        require(0 <= self.warmup_steps <= self.steps, "warmup_steps", self.warmup_steps, "between 0 and steps")
        require(0 <= self.final_ratio <= 1, "final_ratio", self.final_ratio, "between 0 and 1")
        fits = self.decay == "cosine" or 1 <= self.decay_steps <= self.steps - self.warmup_steps
        require(fits, "decay_steps", self.decay_steps, "between 1 and steps − warmup_steps")

    def at(self, step: int) -> float:
        """The learning rate of ``step``, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        span = self.steps - self.warmup_steps if self.decay == "cosine" else self.decay_steps
        done = min(1.0, max(0.0, 1 - (self.steps - step) / span)) if span else 1.0
        shape = (1 + math.cos(math.pi * done)) / 2 if self.decay == "cosine" else 1 - done
        return self.learning_rate * (self.final_ratio + (1 - self.final_ratio) * shape)
