"""The shape of a decoder, and what follows from the shape alone: parameters and FLOPs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from storage.errors import require

MOST_LAYERS = 1_000


@dataclass(frozen=True)
class ModelConfig:
    """A Llama-shaped decoder (Qwen3-shaped with ``qk_norm``).

    Attributes:
        vocab_size: number of token ids; 0 = the tokenizer's, filled in by :meth:`with_vocab`.
        n_layers: number of decoder layers.
        d_model: width of the residual stream.
        n_heads: number of query heads.
        n_kv_heads: number of key and value heads, each shared by ``n_heads / n_kv_heads`` query heads.
        head_dim: width of one head; 0 = ``d_model // n_heads``, and read back as that.
        d_ff: width inside the SwiGLU MLP.
        max_position: longest sequence, in tokens.
        rope_theta: base of the rotary wavelengths.
        norm_eps: what RMSNorm adds to the mean square.
        qk_norm: normalize queries and keys per head, as Qwen3 does.
        tied_embeddings: the output head is the embedding matrix.
        init_std: standard deviation of the initial weights.

    Raises:
        ConfigError: naming the first value that cannot work.
    """

    vocab_size: int = 0
    n_layers: int = 6
    d_model: int = 256
    n_heads: int = 4
    n_kv_heads: int = 2
    head_dim: int = 0
    d_ff: int = 704
    max_position: int = 1024
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5
    qk_norm: bool = False
    tied_embeddings: bool = True
    init_std: float = 0.02

    def __post_init__(self) -> None:
        require(self.vocab_size >= 0, "vocab_size", self.vocab_size, "at least 1, or 0 for the tokenizer's")
        require(1 <= self.n_layers <= MOST_LAYERS, "n_layers", self.n_layers, f"1 to {MOST_LAYERS}")
        for name in ("d_model", "n_heads", "n_kv_heads", "d_ff", "max_position"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        divides = f"a divisor of n_heads ({self.n_heads})"
        require(self.n_heads % self.n_kv_heads == 0, "n_kv_heads", self.n_kv_heads, divides)
        whole = self.qk_norm or self.d_model % self.n_heads == 0
        require(whole, "d_model", self.d_model, f"a multiple of n_heads ({self.n_heads}), as Llama wants it")
        if not self.head_dim:
            object.__setattr__(self, "head_dim", self.d_model // self.n_heads)
        even = self.head_dim >= 2 and self.head_dim % 2 == 0
        require(even, "head_dim", self.head_dim, "even and at least 2: rotary positions turn pairs")
        for name in ("rope_theta", "norm_eps", "init_std"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")

    def with_vocab(self, n: int) -> ModelConfig:
        """This shape for a tokenizer of ``n`` ids; an explicit ``vocab_size`` must hold them all."""
        enough = f"0 or at least {n}, the size of the tokenizer"
        require(not self.vocab_size or self.vocab_size >= n, "vocab_size", self.vocab_size, enough)
        return replace(self, vocab_size=self.vocab_size or n)

    def n_parameters(self) -> int:
        """Number of trainable values, tied ones counted once."""
        attention = 2 * self.d_model * self.head_dim * (self.n_heads + self.n_kv_heads)
        norms = 2 * self.d_model + 2 * self.head_dim * self.qk_norm
        layer = attention + 3 * self.d_model * self.d_ff + norms
        matrices = 1 if self.tied_embeddings else 2
        return matrices * self.vocab_size * self.d_model + self.n_layers * layer + self.d_model

    def flops_per_token(self, sequence_length: int) -> int:
        """Training FLOPs a token, forward and backward: 6N + 12·layers·heads·head_dim·sequence_length.

        The formula of PaLM, appendix B (arXiv:2204.02311): causal masking saves nothing, recomputation costs
        nothing. N leaves out an untied input embedding, which is looked up and multiplies nothing.

        Args:
            sequence_length: tokens in a training sequence.
        """
        looked_up = 0 if self.tied_embeddings else self.vocab_size * self.d_model
        attention = 12 * self.n_layers * self.n_heads * self.head_dim * sequence_length
        return 6 * (self.n_parameters() - looked_up) + attention
