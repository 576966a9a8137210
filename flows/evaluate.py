"""``evaluate``: measure the base and the chat model, beside n-gram models of the same tokens, and report."""

from __future__ import annotations

from dataclasses import dataclass, replace

from prefect import flow

from flows.mill import Mill, open_mill
from flows.pretrain import Trained, make_base
from flows.sft import Dialogues, make_chat, make_dialogues
from flows.tokens import Tokens, make_tokens
from storage.artifact import Artifact
from tasks.evaluate.evaluate import evaluate_model, ngram_baseline
from tasks.evaluate.summary import summarize


@dataclass(frozen=True)
class Evaluated:
    """The chat model, how it was judged, and the report."""

    model: Artifact
    result: Artifact
    report: Artifact


@flow(name="evaluate")
def evaluate(recipe: str = "tiny", snapshot: str = "") -> str:
    """Evaluate the models of ``recipe``, and make what is not there yet."""
    return make_evaluation(open_mill(recipe), snapshot).report.name


def make_evaluation(mill: Mill, snapshot: str = "") -> Evaluated:
    """Everything from the sources to the report."""
    tokens = make_tokens(mill, snapshot)
    dialogues = make_dialogues(mill, tokens)
    base = make_base(mill, tokens)
    chat = make_chat(mill, tokens, dialogues, base)
    return judge(mill, tokens, dialogues, base, chat)


def judge(mill: Mill, tokens: Tokens, dialogues: Dialogues, base: Trained, chat: Trained) -> Evaluated:
    """Evaluate both models on the same held-out documents and questions."""
    config, recipe = mill.recipe.evaluate, mill.recipe
    before, after = (
        evaluate_model(mill.store, replace(config, name=name), model, tokens.store, dialogues.conversations)
        for name, model in ((recipe.pretrain.name, base.model), (recipe.finetune.name, chat.model))
    )
    ngrams = ngram_baseline(mill.store, config.ngrams, tokens.store, base.checkpoint)
    report = summarize(mill.store, tokens.documents, (base.checkpoint, chat.checkpoint), (before, after), ngrams)
    return Evaluated(chat.model, after, report)
