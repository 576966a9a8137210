from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from storage.errors import ConfigError
from tasks.model.attention import KeyValueCache, RMSNorm
from tasks.model.config import ModelConfig
from tasks.model.decoder import Decoder
from tasks.model.positions import rotary_table, rotate

SHAPE = ModelConfig(vocab_size=61, n_layers=2, d_model=32, n_heads=4, n_kv_heads=2, d_ff=48, max_position=32)


def tokens(batch: int = 2, time: int = 12, seed: int = 0) -> Tensor:
    return torch.randint(SHAPE.vocab_size, (batch, time), generator=torch.Generator().manual_seed(seed))


def test_a_token_sees_none_after_it() -> None:
    model, before = Decoder(SHAPE), tokens()
    after = before.clone()
    after[:, 7:] = tokens(seed=1)[:, 7:]

    torch.testing.assert_close(model(before)[:, :7], model(after)[:, :7])
    assert not torch.allclose(model(before)[:, 7:], model(after)[:, 7:])


def test_attention_depends_on_distance_not_on_place() -> None:
    q, k = torch.randn(2, 1, 1, 1, 16, generator=torch.Generator().manual_seed(0))

    def score(at: int, other: int) -> Tensor:
        turned = [rotate(x, *rotary_table(torch.tensor([p]), 16, 100.0, x.dtype)) for x, p in ((q, at), (k, other))]
        return (turned[0] * turned[1]).sum()

    torch.testing.assert_close(score(9, 4), score(25, 20))
    assert not torch.allclose(score(9, 4), score(9, 5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_angles_far_out_are_exact_but_for_the_cast(dtype: torch.dtype) -> None:
    angles = 3_001 / 1e4 ** (torch.arange(0, 64, 2, dtype=torch.float64) / 64)
    cosine, sine = rotary_table(torch.tensor([3_001]), 64, 1e4, dtype)
    near = 5e-4 if dtype == torch.float32 else 4e-3

    torch.testing.assert_close(cosine[0].double(), angles.cos().repeat(2), rtol=0, atol=near)
    torch.testing.assert_close(sine[0].double(), angles.sin().repeat(2), rtol=0, atol=near)


def test_rms_norm_takes_its_statistic_in_float32() -> None:
    x = torch.full((1, 8), 300.0, dtype=torch.float16)

    torch.testing.assert_close(RMSNorm(8, 1e-6).half()(x), torch.ones(1, 8, dtype=torch.float16))


def test_the_loss_is_the_sum_over_labels_that_count() -> None:
    model, labels = Decoder(SHAPE), tokens(seed=1)
    labels[0, :5] = -100
    picked = model(tokens()).log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]

    torch.testing.assert_close(model.loss(tokens(), labels), -picked[labels != -100].sum())
    assert model.loss(tokens(), torch.full_like(labels, -100)) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_learns_a_batch_by_heart(dtype: torch.dtype) -> None:
    model = Decoder(SHAPE).to(dtype)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        loss = model.loss(tokens(), tokens(seed=1))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item() / 24)

    assert loss.dtype == torch.float32
    assert losses[0] == pytest.approx(math.log(SHAPE.vocab_size), rel=0.1)
    assert losses[-1] < 0.2


@pytest.mark.parametrize("qk_norm", [False, True])
def test_the_loss_traces_as_one_graph(qk_norm: bool) -> None:
    model = Decoder(ModelConfig(vocab_size=61, n_layers=1, d_model=32, d_ff=48, qk_norm=qk_norm))
    traced = torch.compile(model.loss, fullgraph=True, backend="aot_eager")
    labels = tokens(seed=1)
    labels[0, :5] = -100

    torch.testing.assert_close(traced(tokens(), labels), model.loss(tokens(), labels))
    traced(tokens(), labels).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_cached_logits_equal_those_of_the_whole() -> None:
    model, whole = Decoder(SHAPE), tokens()
    cache = KeyValueCache(SHAPE, 2, 12, model.head_vd)
    parts = [model(part, cache) for part in whole.split([5, 4, 1, 2], dim=1)]

    torch.testing.assert_close(torch.cat(parts, dim=1), model(whole))


def test_weights_come_from_the_seed_alone() -> None:
    first = Decoder(SHAPE, seed=1).state_dict()
    torch.manual_seed(99)
    again, other = Decoder(SHAPE, seed=1).state_dict(), Decoder(SHAPE, seed=2).state_dict()

    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


def test_weights_that_write_to_the_stream_shrink_with_depth() -> None:
    model = Decoder(ModelConfig(vocab_size=2_000, n_layers=8, d_model=128, d_ff=256))
    spread = {name: parameter.std().item() for name, parameter in model.named_parameters() if parameter.dim() == 2}

    assert spread["model.embed_tokens.weight"] == pytest.approx(0.02, rel=0.05)
    assert spread["model.layers.3.mlp.up_proj.weight"] == pytest.approx(0.02, rel=0.05)
    assert spread["model.layers.3.mlp.down_proj.weight"] == pytest.approx(0.02 / 4, rel=0.05)
    assert spread["model.layers.3.self_attn.o_proj.weight"] == pytest.approx(0.02 / 4, rel=0.05)


@pytest.mark.parametrize("short", [0, 6])
def test_attention_is_the_formula_by_either_way(short: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.model.attention.SHORT", short)
    model = Decoder(SHAPE)
    attention = model.model.layers[0].self_attn
    x = torch.randn(1, 6, 32, generator=torch.Generator().manual_seed(0))
    table = rotary_table(torch.zeros(6), 8, 1e4, torch.float32)
    q, k, v = (p(x).view(1, 6, -1, 8).transpose(1, 2) for p in (attention.q_proj, attention.k_proj, attention.v_proj))
    scores = q @ k.repeat_interleave(2, 1).mT / math.sqrt(8)
    weights = F.softmax(scores.masked_fill(~torch.ones(6, 6).tril().bool(), float("-inf")), dim=-1)
    mixed = (weights @ v.repeat_interleave(2, 1)).transpose(1, 2).flatten(2)

    torch.testing.assert_close(attention(x, table, None), attention.o_proj(mixed))


def test_a_model_needs_its_vocabulary() -> None:
    with pytest.raises(ConfigError, match="vocab_size"):
        Decoder(ModelConfig())
