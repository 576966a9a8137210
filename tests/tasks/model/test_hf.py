from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaConfig, Qwen3Config

from storage.errors import GristmillError
from tasks.model.config import ModelConfig
from tasks.model.decoder import Decoder
from tasks.model.hf import export_hf, load_hf

SHAPE = ModelConfig(vocab_size=67, n_layers=2, d_model=24, n_heads=6, n_kv_heads=2, d_ff=40, max_position=64)
SHAPES = [
    replace(SHAPE, n_kv_heads=kv, qk_norm=qk_norm, tied_embeddings=tied, head_dim=head_dim, rope_theta=theta)
    for kv, tied, head_dim, theta in [(6, True, 4, 1e4), (2, False, 10, 5e5), (1, True, 8, 1e6)]
    for qk_norm in (False, True)
]
TOKENS = torch.randint(67, (2, 40), generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr("socket.socket.connect", refuse)


@pytest.fixture
def tokenizer_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    tokenizer = Tokenizer(models.BPE(vocab={"a": 0, "b": 1}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def scrambled(config: ModelConfig) -> Decoder:
    """A model none of whose weights, norms included, is where initialization puts it."""
    model = Decoder(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.mark.parametrize("config", SHAPES)
def test_transformers_computes_our_logits(config: ModelConfig, tokenizer_folder: Path, out: Path) -> None:
    model = scrambled(config)
    export_hf(model, config, tokenizer_folder, out)
    theirs, report = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)

    assert type(theirs).__name__ == ("Qwen3ForCausalLM" if config.qk_norm else "LlamaForCausalLM")
    assert not any(report.values())
    torch.testing.assert_close(model(TOKENS), theirs(TOKENS).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("config", SHAPES)
def test_an_exported_model_comes_back_as_it_was(config: ModelConfig, tokenizer_folder: Path, out: Path) -> None:
    model = scrambled(config)
    export_hf(model, config, tokenizer_folder, out)
    back, shape = load_hf(out)

    assert shape == config
    assert torch.equal(back(TOKENS), model(TOKENS))
    assert all(parameter.requires_grad for parameter in back.parameters())


@pytest.mark.parametrize("family", [LlamaConfig, Qwen3Config])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("shard", ["50GB", "20KB"])
def test_we_compute_the_logits_of_models_from_transformers(family: Any, tied: bool, shard: str, out: Path) -> None:
    torch.manual_seed(3)
    theirs = AutoModelForCausalLM.from_config(
        family(
            vocab_size=67, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=6,
            num_key_value_heads=2, head_dim=10, tie_word_embeddings=tied, initializer_range=0.3,
            rope_parameters={"rope_type": "default", "rope_theta": 77_000.0},
        )
    )  # fmt: skip
    theirs.save_pretrained(out, max_shard_size=shard)
    ours, config = load_hf(out)

    assert config.rope_theta == 77_000.0
    torch.testing.assert_close(ours(TOKENS), theirs.eval()(TOKENS).logits, rtol=0, atol=1e-5)


def test_the_files_say_what_transformers_would_say(tokenizer_folder: Path, out: Path) -> None:
    export_hf(Decoder(SHAPE), SHAPE, tokenizer_folder, out)
    ours = json.loads((out / "config.json").read_text())
    theirs = AutoConfig.from_pretrained(out).to_dict()
    generation = json.loads((out / "generation_config.json").read_text())

    assert {key: theirs[key] for key in ours} == ours
    assert generation["eos_token_id"] == [2, 4]
    assert "lm_head.weight" not in load_file(out / "model.safetensors")


def test_the_tokenizer_travels_along(tokenizer_folder: Path, out: Path) -> None:
    export_hf(Decoder(SHAPE), SHAPE, tokenizer_folder, out)
    tokenizer = AutoTokenizer.from_pretrained(out)

    assert tokenizer("ab<|im_end|>")["input_ids"] == [0, 1, 4]
    assert tokenizer.eos_token_id == 2


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_weights_can_be_stored_narrow(dtype: Any, tokenizer_folder: Path, out: Path) -> None:
    model = Decoder(SHAPE)
    export_hf(model, SHAPE, tokenizer_folder, out, dtype=dtype)
    rounded = model.to(getattr(torch, dtype)).float()

    assert AutoModelForCausalLM.from_pretrained(out).dtype == getattr(torch, dtype)
    assert torch.equal(load_hf(out)[0](TOKENS), rounded(TOKENS))


def test_the_same_model_gives_the_same_bytes(tokenizer_folder: Path, tmp_path: Path) -> None:
    def written(folder: Path) -> dict[str, bytes]:
        folder.mkdir()
        export_hf(Decoder(SHAPE), SHAPE, tokenizer_folder, folder)
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    assert written(tmp_path / "one") == written(tmp_path / "two")


def test_weights_that_do_not_fit_are_named(tokenizer_folder: Path, out: Path) -> None:
    export_hf(Decoder(SHAPE), SHAPE, tokenizer_folder, out)
    weights = load_file(out / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    weights |= {"model.stray.weight": torch.ones(2), "model.norm.weight": torch.ones(25)}
    save_file(weights, out / "model.safetensors")

    with pytest.raises(GristmillError) as caught:
        load_hf(out)
    assert "lack model.layers.1.mlp.up_proj.weight" in caught.value.what
    assert "have the unexpected model.stray.weight" in caught.value.what
    assert "have another shape for model.norm.weight" in caught.value.what


def test_an_untied_head_under_a_tied_configuration_is_refused(tokenizer_folder: Path, out: Path) -> None:
    export_hf(Decoder(SHAPE), SHAPE, tokenizer_folder, out)
    weights = load_file(out / "model.safetensors")
    head = weights["model.embed_tokens.weight"].clone()
    save_file(weights | {"lm_head.weight": head}, out / "model.safetensors")
    assert torch.equal(load_hf(out)[0](TOKENS), Decoder(SHAPE)(TOKENS))

    save_file(weights | {"lm_head.weight": head + 1}, out / "model.safetensors")
    with pytest.raises(GristmillError, match=r"unexpected lm_head\.weight"):
        load_hf(out)


def test_an_untied_head_equal_to_the_embedding_stays(tokenizer_folder: Path, out: Path) -> None:
    config = replace(SHAPE, tied_embeddings=False)
    model = Decoder(config)
    model.lm_head.load_state_dict(model.model.embed_tokens.state_dict())
    export_hf(model, config, tokenizer_folder, out)

    assert torch.equal(load_hf(out)[0](TOKENS), model(TOKENS))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_type": "gpt2"}, "model_type = 'gpt2'"),
        ({"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
        ({"attention_bias": True}, "attention_bias = True"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}}, "rope_type = 'yarn'"),
        ({"rope_parameters": None, "rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_type = 'linear'"),
        ({"hidden_size": None}, "d_model"),
        ({"hidden_size": "24"}, "describes no decoder"),
        ({"num_hidden_layers": 10**12}, "n_layers = 1000000000000"),
    ],
)
def test_a_configuration_that_is_not_ours_is_refused(
    change: dict[str, Any], named: str, tokenizer_folder: Path, out: Path
) -> None:
    export_hf(Decoder(SHAPE), SHAPE, tokenizer_folder, out)
    path = out / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))

    with pytest.raises(GristmillError, match=named):
        load_hf(out)


def test_the_rotary_base_of_older_folders_is_read(tokenizer_folder: Path, out: Path) -> None:
    export_hf(Decoder(SHAPE), SHAPE, tokenizer_folder, out)
    path = out / "config.json"
    settings = json.loads(path.read_text())
    del settings["rope_parameters"]
    path.write_text(json.dumps(settings | {"rope_theta": 123.0, "rope_scaling": None}))

    assert load_hf(out)[1].rope_theta == 123.0


def test_damaged_files_are_named(tokenizer_folder: Path, out: Path) -> None:
    export_hf(Decoder(SHAPE), SHAPE, tokenizer_folder, out)
    weights = out / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(GristmillError, match=r"model\.safetensors is damaged"):
        load_hf(out)

    (out / "config.json").write_text("{")
    with pytest.raises(GristmillError, match=r"config\.json is not JSON"):
        load_hf(out)

    (out / "config.json").unlink()
    with pytest.raises(GristmillError, match=r"config\.json does not exist"):
        load_hf(out)
