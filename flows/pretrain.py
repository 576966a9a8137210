"""``pretrain``: train the decoder on the token store and export it."""

from __future__ import annotations

from dataclasses import dataclass

from prefect import flow

from flows.mill import Mill, open_mill
from flows.tokens import Tokens, make_tokens
from storage.artifact import Artifact
from tasks.train import run
from tasks.train.export import ExportConfig, export_model


@dataclass(frozen=True)
class Trained:
    """A training run's checkpoint and the model exported from it."""

    checkpoint: Artifact
    model: Artifact


@flow(name="pretrain")
def pretrain(recipe: str = "tiny", snapshot: str = "") -> str:
    """Pretrain the model of ``recipe``, and make the token store if there is none yet."""
    mill = open_mill(recipe)
    return make_base(mill, make_tokens(mill, snapshot)).model.name


def make_base(mill: Mill, tokens: Tokens) -> Trained:
    """The pretrained model."""
    recipe = mill.recipe
    checkpoint = run.pretrain(mill.store, recipe.model, recipe.pretrain, tokens.store)
    exported = export_model(mill.store, ExportConfig(recipe.pretrain.name), checkpoint, tokens.tokenizer)
    return Trained(checkpoint, exported)
