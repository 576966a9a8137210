from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import ConfigError
from tasks.model.config import ModelConfig
from tasks.model.decoder import Decoder


@st.composite
def shapes(draw: st.DrawFn) -> ModelConfig:
    n_kv_heads = draw(st.integers(1, 3))
    n_heads = n_kv_heads * draw(st.integers(1, 3))
    return ModelConfig(
        vocab_size=draw(st.integers(1, 50)),
        n_layers=draw(st.integers(1, 3)),
        d_model=n_heads * 2 * draw(st.integers(1, 4)),
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=draw(st.sampled_from([0, 2, 6])),
        d_ff=draw(st.integers(1, 20)),
        qk_norm=draw(st.booleans()),
        tied_embeddings=draw(st.booleans()),
    )


@given(shapes())
def test_the_count_of_parameters_is_the_models(config: ModelConfig) -> None:
    assert config.n_parameters() == sum(p.numel() for p in Decoder(config).parameters())


def test_flops_are_those_of_palm() -> None:
    untied = ModelConfig(vocab_size=100, n_layers=2, d_model=8, n_heads=2, d_ff=16, tied_embeddings=False)
    tied = replace(untied, tied_embeddings=True)

    assert tied.flops_per_token(10) == 6 * tied.n_parameters() + 12 * 2 * 2 * 4 * 10
    assert untied.flops_per_token(10) == tied.flops_per_token(10)


def test_head_dim_defaults_to_an_equal_share() -> None:
    assert ModelConfig(d_model=64, n_heads=4).head_dim == 16
    assert ModelConfig(d_model=64, n_heads=4, head_dim=32).head_dim == 32


def test_the_vocabulary_comes_from_the_tokenizer_unless_given() -> None:
    assert ModelConfig().with_vocab(300).vocab_size == 300
    assert ModelConfig(vocab_size=512).with_vocab(300).vocab_size == 512
    with pytest.raises(ConfigError, match="vocab_size = 200: must be 0 or at least 300"):
        ModelConfig(vocab_size=200).with_vocab(300)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("vocab_size", -1), ("n_layers", 0), ("n_layers", 10**9), ("d_model", 0), ("d_model", 255), ("n_heads", 0),
        ("n_kv_heads", 3), ("head_dim", 7), ("d_ff", 0), ("max_position", 0), ("rope_theta", 0.0),
        ("norm_eps", -1.0), ("init_std", float("nan")),
    ],
)  # fmt: skip
def test_impossible_values_are_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"^{field} = "):
        ModelConfig(**{field: value})  # type: ignore[arg-type]
