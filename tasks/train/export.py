"""From a checkpoint's weights and a tokenizer to a Hugging Face model folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from storage.artifact import Artifact
from tasks.model.config import ModelConfig
from tasks.step import Work, step


@dataclass(frozen=True)
class ExportConfig:
    """How a model is exported.

    Attributes:
        name: which model this is, ``base`` or ``chat``.
    """

    name: str = "base"


@step(kind="model", libraries=("transformers", "safetensors"))
def export_model(work: Work, config: ExportConfig, checkpoint: Artifact, tokenizer: Artifact) -> Mapping[str, Any]:
    """Write ``config.json``, float32 safetensors and the tokenizer, loadable by transformers."""
    from safetensors.torch import load_file

    from tasks.model.decoder import Decoder
    from tasks.model.hf import export_hf

    model = ModelConfig(**checkpoint.statistics["model"])
    decoder = Decoder(model)
    decoder.load_state_dict(load_file(checkpoint.path / "model.safetensors"), strict=True)
    export_hf(decoder, model, tokenizer.path, work.out)
    return {"model": checkpoint.statistics["model"], "parameters": model.n_parameters()}
