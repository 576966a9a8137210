"""``sft``: build instruction pairs from the corpus and fine-tune the base model on them."""

from __future__ import annotations

from dataclasses import dataclass

from prefect import flow

from flows.mill import Mill, open_mill
from flows.pretrain import Trained, make_base
from flows.tokens import Tokens, make_tokens
from storage.artifact import Artifact
from tasks.align.batches import encode_conversations
from tasks.align.conversations import build_conversations, conversations_fingerprint
from tasks.train import run
from tasks.train.export import ExportConfig, export_model


@dataclass(frozen=True)
class Tuned:
    """The conversations and the model fine-tuned on them."""

    conversations: Artifact
    trained: Trained


@flow(name="sft")
def sft(recipe: str = "tiny", snapshot: str = "") -> str:
    """Fine-tune the model of ``recipe``, and pretrain it if it is not there yet."""
    mill = open_mill(recipe)
    tokens = make_tokens(mill, snapshot)
    return make_chat(mill, tokens, make_base(mill, tokens)).trained.model.name


def make_chat(mill: Mill, tokens: Tokens, base: Trained) -> Tuned:
    """The chat model."""
    recipe = mill.recipe
    conversations = make_conversations(mill, tokens.documents)
    rows = encode_conversations(mill.store, recipe.packing, conversations, tokens.tokenizer)
    checkpoint = run.finetune(mill.store, recipe.finetune, rows, base.model)
    exported = export_model(mill.store, ExportConfig(recipe.finetune.name), checkpoint, tokens.tokenizer)
    return Tuned(conversations, Trained(checkpoint, exported))


def make_conversations(mill: Mill, documents: Artifact) -> Artifact:
    """Instruction pairs, split as the token store is, and multiple-choice questions made of the held-out ones."""
    config, permille = mill.recipe.conversations, mill.recipe.encode.held_out_permille
    return build_conversations(mill.store, config, permille, documents, conversations_fingerprint(config))
