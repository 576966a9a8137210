"""The one measurement that all others are made of: the loss of a model on chosen targets of some rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from tasks.model.decoder import Decoder

Tokens = npt.NDArray[np.int64]
Precision = Literal["float32", "bfloat16"]
IGNORED = -100


@dataclass(frozen=True)
class Row:
    """One forward pass: ``targets_t[i]`` is to be predicted from ``inputs_t[: i + 1]``, unless it is -100."""

    inputs_t: Tokens
    targets_t: Tokens


@dataclass(frozen=True)
class RowScore:
    """Of a row's targets: their negative log-likelihood, how many they are, whether each was the likeliest id."""

    nats: float
    targets: int
    greedy: bool


@dataclass(frozen=True)
class Scorer:
    """How rows are taken through a model.

    Attributes:
        model: tokens_bt → logits_btv, on any device; what stands right of a position does not change its logits.
        batch_tokens: ids in one forward pass, padding included; a longer row is a batch of its own.
        precision: of the forward pass; the loss itself is always computed in float32.
        advance: told how many ids are done after each pass.
    """

    model: Decoder
    batch_tokens: int = 4096
    precision: Precision = "float32"
    advance: Callable[[int], None] = lambda done: None

    def score(self, rows: Sequence[Row]) -> list[RowScore]:
        """Score each row. Rows of like length share a pass; the result is in the order given."""
        scores: dict[int, RowScore] = {}
        for batch in self._batches(rows):
            scores.update(zip(batch, self._pass([rows[i] for i in batch]), strict=True))
            self.advance(sum(rows[i].inputs_t.size for i in batch))
        return [scores[i] for i in range(len(rows))]

    def _batches(self, rows: Sequence[Row]) -> Iterator[list[int]]:
        batch: list[int] = []
        for i in sorted(range(len(rows)), key=lambda i: -rows[i].inputs_t.size):
            if batch and (len(batch) + 1) * rows[batch[0]].inputs_t.size > self.batch_tokens:
                yield batch
                batch = []
            batch.append(i)
        if batch:
            yield batch

    @torch.inference_mode()
    def _pass(self, rows: Sequence[Row]) -> Iterator[RowScore]:
        device = next(self.model.parameters()).device
        inputs_bt = _padded([r.inputs_t for r in rows], 0).to(device)
        targets_bt = _padded([r.targets_t for r in rows], IGNORED).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            logits_btv = self.model(inputs_bt)
        wanted_bt = targets_bt != IGNORED
        logits_nv, targets_n = logits_btv[wanted_bt].float(), targets_bt[wanted_bt]
        nats_n = F.cross_entropy(logits_nv, targets_n, reduction="none").double()
        greedy_n = logits_nv.argmax(-1) == targets_n
        counts = wanted_bt.sum(1).tolist()
        ends = np.cumsum(counts).tolist()
        parts = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
        return iter([RowScore(float(nats_n[p].sum()), p.stop - p.start, bool(greedy_n[p].all())) for p in parts])


def sliding(tokens_n: Tokens, start: int, sequence_length: int) -> Iterator[Row]:
    """Windows over a text in which each token is a target exactly once.

    The text follows the id ``start``. Each window but the first begins half a window later than the one
    before and takes the first half only as context (a strided evaluation, as in Press et al., "Shortformer",
    2021, section 2).
    """
    ids = np.concatenate([np.array([start], np.int64), tokens_n])
    stride = sequence_length - sequence_length // 2
    begin = done = 0
    while done < tokens_n.size:
        end = min(begin + sequence_length, tokens_n.size)
        targets_t = ids[begin + 1 : end + 1].copy()
        targets_t[: done - begin] = IGNORED
        yield Row(ids[begin:end], targets_t)
        begin, done = begin + stride, end


def _padded(rows: Sequence[Tokens], value: int) -> Tensor:
    result_bt = torch.full((len(rows), max(r.size for r in rows)), value, dtype=torch.int64)
    for i, row in enumerate(rows):
        result_bt[i, : row.size] = torch.from_numpy(row)
    return result_bt
