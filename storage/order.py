"""The order of samples: a pure function from (seed, position) to window, in O(1) memory.

Each epoch is a permutation of the store's windows by a Feistel network over the smallest even number of
bits that holds them, with cycle walking (Black and Rogaway, "Ciphers with Arbitrary Finite Domains",
CT-RSA 2002). ``position = step * global_batch + index``, so the order knows nothing of ranks, and a run
that resumes at a position sees exactly what it would have seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from storage.errors import require

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
ROUNDS = 8


@dataclass(frozen=True)
class Order:
    """The order in which a run with ``seed`` sees ``n`` windows.

    Args:
        seed: any integer of up to 63 bits.
        n: how many windows there are; at least 1.
    """

    seed: int
    n: int

    def __post_init__(self) -> None:
        require(self.n >= 1, "n", self.n, "at least 1")
        require(0 <= self.seed < 1 << 63, "seed", self.seed, "between 0 and 2**63 - 1")

    def window(self, position: int) -> int:
        """The window at ``position``."""
        return int(self.windows(np.array([position], np.int64))[0])

    def windows(self, positions: I64) -> I64:
        """The windows at ``positions`` (any shape, any epochs)."""
        return self._by_epoch(positions % self.n, positions // self.n, inverse=False)

    def positions(self, windows: I64, epochs: I64) -> I64:
        """Where each of ``windows`` stands in its epoch: the inverse of :meth:`windows`."""
        return epochs * self.n + self._by_epoch(windows, epochs, inverse=True)

    def _by_epoch(self, values: I64, epochs: I64, inverse: bool) -> I64:
        out = np.empty_like(values)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            out[here] = self._permute(values[here], int(epoch), inverse)
        return out

    def _permute(self, values: I64, epoch: int, inverse: bool) -> I64:
        half = max(1, ((self.n - 1).bit_length() + 1) // 2)
        keys = _round_keys(self.seed, epoch)
        network = _decrypt if inverse else _encrypt
        walked = network(values.astype(np.uint64), half, keys)
        while (outside := walked >= self.n).any():
            walked[outside] = network(walked[outside], half, keys)
        return walked.astype(np.int64)


def _encrypt(values: U64, half: int, keys: U64) -> U64:
    mask = np.uint64((1 << half) - 1)
    left, right = values >> np.uint64(half), values & mask
    for key in keys:
        left, right = right, left ^ (_mix(right + key) & mask)
    return (left << np.uint64(half)) | right


def _decrypt(values: U64, half: int, keys: U64) -> U64:
    mask = np.uint64((1 << half) - 1)
    left, right = values >> np.uint64(half), values & mask
    for key in keys[::-1]:
        left, right = right ^ (_mix(left + key) & mask), left
    return (left << np.uint64(half)) | right


def _round_keys(seed: int, epoch: int) -> U64:
    state = _mix(np.array([seed], np.uint64)) + np.uint64(epoch)
    return _mix(_mix(state) + np.arange(1, ROUNDS + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))


def _mix(x: U64) -> U64:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
