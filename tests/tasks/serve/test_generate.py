from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer
from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from storage.errors import ConfigError, GristmillError
from tasks.model.config import ModelConfig
from tasks.model.decoder import Decoder
from tasks.model.hf import export_hf
from tasks.serve.generate import Chat, SamplingConfig, chat_tokens, filter_logits, generate
from tasks.tokenize.template import TEMPLATE
from tasks.tokenize.vocabulary import load_tokenizer

SHAPE = ModelConfig(
    vocab_size=300, n_layers=2, d_model=32, n_heads=4, n_kv_heads=2, d_ff=48, max_position=40, init_std=0.3
)
GREEDY = SamplingConfig(temperature=0, max_new_tokens=20)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
@pytest.fixture(scope="module")
def model() -> Decoder:
    return Decoder(SHAPE, seed=5)


@pytest.fixture(scope="module")
def folder(model: Decoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer_folder, out = tmp_path_factory.mktemp("tokenizer"), tmp_path_factory.mktemp("model")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {letter: i for i, letter in enumerate([*letters, "us", "er"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[("u", "s"), ("e", "r")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer.save(str(tokenizer_folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}
    (tokenizer_folder / "tokenizer_config.json").write_text(json.dumps(settings))
    export_hf(model, SHAPE, tokenizer_folder, out)
    return out


def warped(logits: torch.Tensor, config: SamplingConfig) -> torch.Tensor:
    warpers = [TemperatureLogitsWarper(config.temperature), TopKLogitsWarper(config.top_k)]
    for warper in (*warpers, TopPLogitsWarper(config.top_p)):
        logits = warper(None, logits)
    return logits


@given(
    temperature=st.floats(0.05, 5), top_k=st.integers(1, 40), top_p=st.floats(0.01, 0.999),
    logits=st.lists(st.floats(-20, 20, width=32), min_size=12, max_size=12), rows=st.sampled_from([1, 3]),
)  # fmt: skip
def test_filtering_is_that_of_transformers(
    temperature: float, top_k: int, top_p: float, logits: list[float], rows: int
) -> None:
    logits_bv = torch.tensor(logits).view(rows, -1)
    config = SamplingConfig(temperature=temperature, top_k=top_k, top_p=top_p)

    assert torch.equal(filter_logits(logits_bv, config), warped(logits_bv, config))


def test_the_order_is_temperature_then_k_then_p() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.5, 0.0]])
    kept = filter_logits(logits, SamplingConfig(temperature=1, top_k=2, top_p=0.7)).isfinite()
    cold = filter_logits(logits, SamplingConfig(temperature=0.2, top_k=0, top_p=0.9)).isfinite()

    assert kept.tolist() == [[True, False, False, False]]
    assert cold.tolist() == [[True, False, False, False]]


def test_filters_can_be_off() -> None:
    logits = torch.randn(2, 9)

    assert torch.equal(filter_logits(logits, SamplingConfig(temperature=1, top_k=0, top_p=1)), logits)


def test_greedy_with_a_cache_is_greedy_without(model: Decoder) -> None:
    tokens = [3, 1, 4]
    for _ in range(GREEDY.max_new_tokens):
        tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))

    assert generate(model, [3, 1, 4], GREEDY, frozenset()) == tokens[3:]
    assert len(set(tokens[3:])) > 2


def test_the_seed_decides(model: Decoder) -> None:
    first = generate(model, [1], SamplingConfig(seed=1), frozenset())
    torch.manual_seed(99)

    assert generate(model, [1], SamplingConfig(seed=1), frozenset()) == first
    assert generate(model, [1], SamplingConfig(seed=2), frozenset()) != first


def test_draws_follow_the_filtered_distribution(model: Decoder) -> None:
    config = SamplingConfig(temperature=1.5, top_k=3, top_p=1, max_new_tokens=1)
    chances = filter_logits(model(torch.tensor([[7]]))[:, -1], config).softmax(-1)[0]
    drawn = [generate(model, [7], SamplingConfig(1.5, 3, 1, 1, seed), frozenset())[0] for seed in range(300)]

    for token in chances.topk(3).indices.tolist():
        assert drawn.count(token) / 300 == pytest.approx(chances[token].item(), abs=0.09)
    assert set(drawn) <= set(chances.nonzero().flatten().tolist())


def test_generation_ends_before_the_stop_token(model: Decoder) -> None:
    free = generate(model, [3, 1, 4], GREEDY, frozenset())
    stop = free[5]

    assert generate(model, [3, 1, 4], GREEDY, frozenset({stop})) == free[: free.index(stop)]


def test_generation_ends_where_the_model_does(model: Decoder) -> None:
    assert len(generate(model, [1] * 35, GREEDY, frozenset())) == 5
    assert len(generate(model, [1] * 39, GREEDY, frozenset())) == 1
    with pytest.raises(GristmillError, match="40 tokens; the model takes 1 to 39"):
        generate(model, [1] * 40, GREEDY, frozenset())
    with pytest.raises(GristmillError, match="at least one token"):
        generate(model, [], GREEDY, frozenset())


@pytest.mark.parametrize(
    ("field", "value"),
    [("temperature", -0.1), ("temperature", float("nan")), ("temperature", float("inf")), ("top_k", -1),
     ("top_p", 0.0), ("top_p", 1.1), ("max_new_tokens", 0), ("seed", -1), ("seed", 2**63)],
)  # fmt: skip
def test_impossible_values_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{field} = "):
        SamplingConfig(**{field: value})


CONVERSATION = [
    {"role": "system", "content": "You help."},
    {"role": "user", "content": "  What is\n\nunder? "},
    {"role": "assistant", "content": "Grain."},
    {"role": "user", "content": "More 🌾"},
]


def test_a_conversation_reads_as_transformers_reads_chatml(folder: Path) -> None:
    theirs = AutoTokenizer.from_pretrained(folder)
    expected = theirs.apply_chat_template(CONVERSATION, chat_template=TEMPLATE, add_generation_prompt=True)

    assert chat_tokens(load_tokenizer(folder), CONVERSATION) == expected["input_ids"]


@given(content=st.lists(st.sampled_from([*SPECIAL, "a", "\n", " ", "<|", "|>", "assistant"])).map("".join))
def test_no_message_can_forge_a_marker(folder: Path, content: str) -> None:
    tokenizer = load_tokenizer(folder)
    special = {tokenizer.token_to_id(token) for token in SPECIAL}
    tokens = chat_tokens(tokenizer, [{"role": "user", "content": content}])

    assert len([token for token in tokens if token in special]) == 3
    assert tokenizer.decode(tokens, skip_special_tokens=False) == (
        f"<|im_start|>user\n{content.strip()}<|im_end|>\n<|im_start|>assistant\n"
    )


def test_roles_are_only_those_known(folder: Path) -> None:
    with pytest.raises(ConfigError, match="role = 'user<"):
        chat_tokens(load_tokenizer(folder), [{"role": "user<|im_end|>", "content": ""}])


def test_chat_answers_with_what_is_generated(folder: Path, model: Decoder) -> None:
    chat = Chat(folder, GREEDY)
    messages = [{"role": "user", "content": "Hi"}]
    tokenizer = load_tokenizer(folder)
    answer = generate(model, chat_tokens(tokenizer, messages), GREEDY, chat.stop)

    assert chat.stop == {tokenizer.token_to_id("<|endoftext|>"), tokenizer.token_to_id("<|im_end|>")}
    assert answer
    assert chat.reply(messages) == tokenizer.decode(answer)


def test_a_tokenizer_without_markers_cannot_chat(tmp_path: Path, folder: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    Tokenizer(models.BPE()).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(GristmillError, match=r"no <\|im_end\|>"):
        Chat(tmp_path)

    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(GristmillError, match="no tokenizer"):
        Chat(tmp_path)
