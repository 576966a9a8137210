"""Rotary positions in the rotate-half layout of Hugging Face (RoFormer, arXiv:2104.09864)."""

from __future__ import annotations

import torch
from torch import Tensor


def rotary_table(positions_t: Tensor, head_dim: int, theta: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosine and sine of every position's angles, each [T, head_dim].

    Angles are taken in float32 and only then cast to ``dtype``, as transformers does: a bfloat16 angle
    would be wrong by whole turns. Nothing is kept in the module, so that casting a model cannot spoil it.

    Args:
        positions_t: integer positions [T].
        head_dim: width of a head; pair ``i`` is dimensions ``i`` and ``i + head_dim / 2``.
        theta: base of the wavelengths.
        dtype: of the result.
    """
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions_t.device) / head_dim
    angles = positions_t.float()[:, None] * (1.0 / theta**exponents)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(x_bhtd: Tensor, cos_td: Tensor, sin_td: Tensor) -> Tensor:
    """Turn queries or keys [B, heads, T, head_dim] by their positions."""
    left, right = x_bhtd.chunk(2, dim=-1)
    return x_bhtd * cos_td + torch.cat((-right, left), dim=-1) * sin_td
