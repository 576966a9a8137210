"""The Hugging Face form of a model: a folder that transformers loads as Llama or Qwen3, and back.

Reading trusts nothing: safetensors only, no pickle, no remote code, no network, and every setting that
this decoder does not have is refused by name rather than ignored.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from storage.errors import ConfigError, GristmillError
from tasks.model.config import ModelConfig

if TYPE_CHECKING:
    from torch import Tensor

    from tasks.model.decoder import Decoder

Dtype = Literal["float32", "bfloat16", "float16"]
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
END_OF_TEXT, END_OF_MESSAGE = "<|endoftext|>", "<|im_end|>"
ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM"}
NAMES = {
    "vocab_size": "vocab_size", "num_hidden_layers": "n_layers", "hidden_size": "d_model",
    "num_attention_heads": "n_heads", "num_key_value_heads": "n_kv_heads", "head_dim": "head_dim",
    "intermediate_size": "d_ff", "max_position_embeddings": "max_position", "rms_norm_eps": "norm_eps",
    "tie_word_embeddings": "tied_embeddings", "initializer_range": "init_std",
}  # fmt: skip
FIXED = {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "use_sliding_window": False}


def export_hf(
    model: Decoder, config: ModelConfig, tokenizer_folder: Path, out: Path, dtype: Dtype = "float32"
) -> None:
    """Write ``config.json``, ``generation_config.json``, ``model.safetensors`` and the tokenizer's files.

    Args:
        model: the decoder; its weights are copied, not changed.
        config: its shape.
        tokenizer_folder: holds ``tokenizer.json``; what else it has of :data:`TOKENIZER_FILES` is copied too.
        out: existing folder to write into.
        dtype: of the written weights.

    Raises:
        GristmillError: if there is no tokenizer.
    """
    import torch
    from safetensors.torch import save_file

    ends = _end_tokens(tokenizer_folder)
    wanted = getattr(torch, dtype)
    weights = {name: tensor.detach().to("cpu", wanted).contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    _write_json(out / "config.json", hf_config(config, ends, dtype))
    _write_json(out / "generation_config.json", {"do_sample": True, "eos_token_id": list(ends.values())})
    for file in TOKENIZER_FILES:
        if (tokenizer_folder / file).is_file():
            shutil.copyfile(tokenizer_folder / file, out / file)


def load_hf(folder: Path) -> tuple[Decoder, ModelConfig]:
    """Read a Llama or Qwen3 folder; weights become float32.

    Args:
        folder: holds ``config.json`` and one or more ``model*.safetensors``.

    Raises:
        GristmillError: naming the setting or the tensors that do not fit.
    """
    import torch

    from tasks.model.decoder import Decoder

    config = read_hf_config(folder)
    with torch.device("meta"):
        model = Decoder(config)
    weights = _read_weights(folder)
    if config.tied_embeddings and _repeats_embedding(weights):
        del weights["lm_head.weight"]
    _check_fit(folder, weights, model.state_dict())
    model.load_state_dict(weights, assign=True)
    return model.requires_grad_(True), config


def hf_config(config: ModelConfig, ends: Mapping[str, int], dtype: Dtype) -> dict[str, Any]:
    """``config.json`` in the form of transformers 5: Qwen3 if ``qk_norm``, else Llama.

    Args:
        config: the shape.
        ends: special token → id of those that end a text.
        dtype: of the stored weights.
    """
    family = "qwen3" if config.qk_norm else "llama"
    return {
        "architectures": [ARCHITECTURES[family]],
        "model_type": family,
        **{theirs: getattr(config, ours) for theirs, ours in NAMES.items()},
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": None,
        "eos_token_id": ends.get(END_OF_TEXT),
        "pad_token_id": ends.get(END_OF_TEXT),
        "dtype": dtype,
    }


def read_hf_config(folder: Path) -> ModelConfig:
    """The shape that ``config.json`` describes.

    Raises:
        GristmillError: naming what is missing or what this decoder does not have.
    """
    given = _read_json(folder / "config.json")
    family = given.get("model_type")
    if family not in ARCHITECTURES:
        raise _refused(folder, "model_type", family, "llama or qwen3")
    for key, only in FIXED.items():
        if given.get(key, only) != only:
            raise _refused(folder, key, given[key], repr(only))
    fields = {ours: given[theirs] for theirs, ours in NAMES.items() if given.get(theirs) is not None}
    missing = {"vocab_size", "n_layers", "d_model", "n_heads", "d_ff", "max_position"} - fields.keys()
    if missing:
        raise GristmillError(f"{folder}/config.json lacks what sets {', '.join(sorted(missing))}.", _WHOLE)
    defaults = {"n_kv_heads": fields["n_heads"], "tied_embeddings": False, "norm_eps": 1e-6}
    try:
        return ModelConfig(**(defaults | fields), qk_norm=family == "qwen3", rope_theta=_rope_theta(folder, given))
    except (ConfigError, TypeError) as error:
        raise GristmillError(f"{folder}/config.json describes no decoder: {error}.", _WHOLE) from error


_WHOLE = "Use a folder that export_hf or transformers' save_pretrained wrote."


def _rope_theta(folder: Path, given: Mapping[str, Any]) -> float:
    """The rotary base, as transformers 5 writes it or as 4 did; scaled variants are refused."""
    rope = given.get("rope_parameters") or {"rope_theta": given.get("rope_theta", 10_000.0)}
    rope = rope | (given.get("rope_scaling") or {})
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        raise _refused(folder, "rope_type", kind, "default")
    return float(rope.get("rope_theta", 10_000.0))


def _read_weights(folder: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    weights: dict[str, Tensor] = {}
    for shard in sorted(folder.glob("model*.safetensors")):
        try:
            weights |= {name: tensor.float() for name, tensor in load_file(shard).items()}
        except SafetensorError as error:
            raise GristmillError(f"{shard} is damaged: {error}.", "Copy or export the model again.") from error
    return weights


def _repeats_embedding(weights: Mapping[str, Tensor]) -> bool:
    head, embedding = weights.get("lm_head.weight"), weights.get("model.embed_tokens.weight")
    return head is not None and embedding is not None and head.equal(embedding)


def _check_fit(folder: Path, given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    both = given.keys() & wanted.keys()
    problems = {
        "lack": wanted.keys() - given.keys(),
        "have the unexpected": given.keys() - wanted.keys(),
        "have another shape for": {name for name in both if given[name].shape != wanted[name].shape},
    }
    told = [f"{problem} {_some(names)}" for problem, names in problems.items() if names]
    if told:
        raise GristmillError(f"The weights in {folder} {'; they '.join(told)}.", _WHOLE)


def _some(names: Iterable[str], most: int = 5) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:most]) + (f" and {len(ordered) - most} more" if len(ordered) > most else "")


def _end_tokens(tokenizer_folder: Path) -> dict[str, int]:
    added = _read_json(tokenizer_folder / "tokenizer.json").get("added_tokens", [])
    ids = {token["content"]: token["id"] for token in added}
    return {name: ids[name] for name in (END_OF_TEXT, END_OF_MESSAGE) if name in ids}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise GristmillError(f"{path} does not exist.", _WHOLE) from error
    except ValueError as error:
        raise GristmillError(f"{path} is not JSON: {error}.", _WHOLE) from error
    if not isinstance(value, dict):
        raise GristmillError(f"{path} holds no JSON object.", _WHOLE)
    return value


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _refused(folder: Path, key: str, value: object, only: str) -> GristmillError:
    return GristmillError(f"{folder}/config.json has {key} = {value!r}; this decoder knows only {only}.", _WHOLE)
