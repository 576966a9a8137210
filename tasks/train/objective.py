"""What is learned from: samples by position, with labels; one shape for pretraining and SFT."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from storage.order import Order
from storage.tokens import TokenStore
from tasks.train.config import Job

IGNORED = -100
I64 = npt.NDArray[np.int64]


class Samples(Protocol):
    """The samples of a run: ``order`` says which index stands at a position."""

    order: Order

    def read(self, positions: I64) -> tuple[I64, I64]:
        """Tokens and labels, both int64 [batch, sequence_length]; a label of -100 is not learned."""

    def labelled(self, positions: I64) -> int:
        """How many labels at ``positions`` are learned."""


class Windows:
    """Pretraining: windows of a token store, every token predicted from those before it."""

    def __init__(self, folder: Path, sequence_length: int, seed: int) -> None:
        self.store = TokenStore(folder, "train")
        self.length = sequence_length
        self.order = Order(seed, self.store.n_windows(sequence_length))

    def read(self, positions: I64) -> tuple[I64, I64]:
        """Each window without its last token, and without its first."""
        windows = [self.store.window(int(w), self.length) for w in self.order.windows(positions)]
        stacked = np.stack(windows)
        return stacked[:, :-1], stacked[:, 1:]

    def labelled(self, positions: I64) -> int:
        """All of them."""
        return positions.size * self.length


class Conversations:
    """SFT: packed rows of conversations, only the assistant's tokens learned."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rows = np.load(folder / "train.npy", mmap_mode="r", allow_pickle=False)
        self.order = Order(seed, len(self.rows))

    def read(self, positions: I64) -> tuple[I64, I64]:
        """Each row's tokens without the last, and its labels without the first."""
        rows = self.rows[self.order.windows(positions)].astype(np.int64)
        return rows[:, 0, :-1], rows[:, 1, 1:]

    def labelled(self, positions: I64) -> int:
        """Those of the responses."""
        return int((self.rows[self.order.windows(positions)][:, 1, 1:] != IGNORED).sum())


def samples(job: Job) -> Samples:
    """The samples that ``job`` names."""
    if job.objective == "sft":
        return Conversations(Path(job.data), job.train.seed)
    return Windows(Path(job.data), job.train.sequence_length, job.train.seed)
