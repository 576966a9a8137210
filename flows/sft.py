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
class Dialogues:
    """Conversations, and the rows of tokens packed from them."""

    conversations: Artifact
    rows: Artifact


@flow(name="sft")
def sft(recipe: str = "tiny", snapshot: str = "") -> str:
    """Fine-tune the model of ``recipe``, and pretrain it if it is not there yet."""
    mill = open_mill(recipe)
    tokens = make_tokens(mill, snapshot)
    dialogues = make_dialogues(mill, tokens)
    return make_chat(mill, tokens, dialogues, make_base(mill, tokens)).model.name


def make_dialogues(mill: Mill, tokens: Tokens) -> Dialogues:
    """The conversations, packed: made before the long training runs, so that what is wrong with them shows first."""
    conversations = make_conversations(mill, tokens.documents)
    return Dialogues(
        conversations, encode_conversations(mill.store, mill.recipe.packing, conversations, tokens.tokenizer)
    )


def make_conversations(mill: Mill, documents: Artifact) -> Artifact:
    """Instruction pairs, split as the token store is, and multiple-choice questions made of the held-out ones."""
    config, permille = mill.recipe.conversations, mill.recipe.encode.held_out_permille
    return build_conversations(mill.store, config, permille, documents, conversations_fingerprint(config))


def make_chat(mill: Mill, tokens: Tokens, dialogues: Dialogues, base: Trained) -> Trained:
    """The chat model."""
    train = mill.recipe.finetune
    checkpoint = run.finetune(mill.store, train, dialogues.rows, base.model)
    return Trained(
        checkpoint, export_model(mill.store, ExportConfig(train.name), checkpoint, tokens.tokenizer)
    )
