"""The decoder: Llama's layers under Hugging Face's parameter names, so that weights move without renaming.

Dimensions: b batch, t time, d model width, v vocabulary.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from storage.errors import require
from tasks.model.attention import Attention, KeyValueCache, RMSNorm
from tasks.model.config import ModelConfig
from tasks.model.positions import rotary_table

IGNORED = -100


class MLP(nn.Module):
    """SwiGLU (arXiv:2002.05202): ``down(silu(gate(x)) · up(x))``."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.up_proj = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.down_proj = nn.Linear(config.d_ff, config.d_model, bias=False)

    def forward(self, x_btd: Tensor) -> Tensor:
        """Transform every token on its own."""
        y_btd: Tensor = self.down_proj(F.silu(self.gate_proj(x_btd)) * self.up_proj(x_btd))
        return y_btd


class DecoderLayer(nn.Module):
    """Attention and MLP, each added to the residual stream after a norm of its own."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.d_model, config.norm_eps)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.d_model, config.norm_eps)
        self.mlp = MLP(config)

    def forward(self, x_btd: Tensor, table: tuple[Tensor, Tensor], cache: KeyValueCache | None) -> Tensor:
        """Add what attention, then what the MLP makes of the stream; arguments as :meth:`Attention.forward`."""
        x_btd = x_btd + self.self_attn(self.input_layernorm(x_btd), table, cache)
        x_btd = x_btd + self.mlp(self.post_attention_layernorm(x_btd))
        return x_btd


class Trunk(nn.Module):
    """Everything below the output head: token ids [B, T] to normalized states [B, T, d_model]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.layers = nn.ModuleList(DecoderLayer(config, layer) for layer in range(config.n_layers))
        self.norm = RMSNorm(config.d_model, config.norm_eps)

    def forward(self, tokens_bt: Tensor, cache: KeyValueCache | None) -> Tensor:
        """States of the tokens, which follow those that the cache holds."""
        x_btd: Tensor = self.embed_tokens(tokens_bt)
        held, n_new = cache.length if cache is not None else 0, tokens_bt.shape[1]
        positions_t = torch.arange(held, held + n_new, device=tokens_bt.device)
        table = rotary_table(positions_t, self.config.head_dim, self.config.rope_theta, x_btd.dtype)
        for layer in self.layers:
            x_btd = layer(x_btd, table, cache)
        if cache is not None:
            cache.length += n_new
        x_btd = self.norm(x_btd)
        return x_btd


class Decoder(nn.Module):
    """A causal language model of the shape ``config``.

    Weights are normal with ``init_std``; those that write to the residual stream are divided by
    √(2·layers), so that its variance does not grow with depth (GPT-2). They come from ``seed`` alone,
    whatever the global random state, so every rank starts with the same.

    Args:
        config: the shape, with its ``vocab_size`` known.
        seed: of the initial weights.
    """

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        super().__init__()
        require(config.vocab_size > 0, "vocab_size", config.vocab_size, "at least 1 to build a model")
        self.config = config
        self.model = Trunk(config)
        if not config.tied_embeddings:
            self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self._initialize(seed)

    @property
    def head_vd(self) -> Tensor:
        """The matrix that turns states into logits [vocab, d_model]."""
        return self.model.embed_tokens.weight if self.config.tied_embeddings else self.lm_head.weight

    def forward(self, tokens_bt: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """Logits [B, T, vocab] of the token after each; with a cache, ``tokens_bt`` follow those it holds."""
        return F.linear(self.model(tokens_bt, cache), self.head_vd)

    def loss(self, tokens_bt: Tensor, labels_bt: Tensor) -> Tensor:
        """Negative log-likelihood in nats, summed over labels, a float32 scalar.

        Args:
            tokens_bt: ids [B, T].
            labels_bt: the id that follows each token [B, T] (already shifted), or -100 where none counts.
        """
        logits_nv = self(tokens_bt).flatten(0, 1).float()
        return F.cross_entropy(logits_nv, labels_bt.flatten(), ignore_index=IGNORED, reduction="sum")

    def _initialize(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        depth = math.sqrt(2 * self.config.n_layers)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                std = self.config.init_std / (depth if residual else 1)
                nn.init.normal_(parameter, std=std, generator=generator)
