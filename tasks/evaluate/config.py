"""What is measured, and how much of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from storage.errors import require
from tasks.serve.generate import SamplingConfig

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

@dataclass(frozen=True)
class EvaluateConfig:
    """What a model is measured on.

    Attributes:
        name: which model this is; the label of its artifacts.
        sequence_length: tokens in one window.
        max_held_out_bytes: bytes of held-out text to score, of each source.
        max_conversations: held-out conversations whose answers are scored.
        max_questions: multiple-choice questions to ask.
        prompts: beginnings of text to continue.
        chat_prompts: how many held-out questions to answer as a chat.
        sampling: how the tokens of a sample are chosen.
        precision: of the forward pass.
        threads: CPU threads.
    """

    name: str = "base"
    sequence_length: int = 256
    max_held_out_bytes: int = 100_000
    max_conversations: int = 300
    max_questions: int = 200
    prompts: tuple[str, ...] = ("import os\n\ndef ", "The module provides ", "Return a new ")
    chat_prompts: int = 4
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    precision: Literal["float32", "bfloat16"] = "float32"
    threads: int = 2

    def __post_init__(self) -> None:
        require(bool(NAME.fullmatch(self.name)), "name", self.name, "letters, digits, '_', '-' and '.'")
        for key in ("max_held_out_bytes", "max_conversations", "max_questions", "threads"):
            require(getattr(self, key) >= 1, key, getattr(self, key), "an integer of at least 1")
        require(self.sequence_length >= 2, "sequence_length", self.sequence_length, "an integer of at least 2")
        require(self.chat_prompts >= 0, "chat_prompts", self.chat_prompts, "an integer of at least 0")
        require(all(self.prompts), "prompts", self.prompts, "texts of at least one character")

    @property
    def ngrams(self) -> NgramConfig:
        """For n-gram models that are measured on the same documents."""
        return NgramConfig(self.max_held_out_bytes)


@dataclass(frozen=True)
class NgramConfig:
    """What the n-gram models are measured on.

    Attributes:
        max_held_out_bytes: bytes of held-out text to score, of each source; as for the model compared.
    """

    max_held_out_bytes: int = 100_000

    def __post_init__(self) -> None:
        require(self.max_held_out_bytes >= 1, "max_held_out_bytes", self.max_held_out_bytes, "at least 1")
