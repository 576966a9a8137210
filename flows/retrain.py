"""``retrain``: crawl again and run every stage on what changed; the better model stays the champion."""

from __future__ import annotations

import logging
from dataclasses import replace

from prefect import flow
from prefect.runtime import flow_run

from flows.corpus import make_corpus
from flows.evaluate import Evaluated, make_evaluation
from flows.mill import Mill, open_mill
from flows.sft import make_conversations
from monitoring.gates import Champion, Registry, compare
from storage.artifact import Artifact
from tasks.evaluate.evaluate import evaluate_model
from tasks.tokenize.encode import encode

log = logging.getLogger("gristmill.retrain")


@flow(name="retrain")
def retrain(recipe: str = "tiny") -> str:
    """Crawl the sites of ``recipe`` anew, remake what that changes, and promote the model if it is no worse."""
    mill = open_mill(recipe)
    snapshot = flow_run.get_scheduled_start_time().strftime("%Y-%m-%dT%H:%M:%SZ")
    return promote_if_no_worse(mill, make_evaluation(mill, snapshot))


def promote_if_no_worse(mill: Mill, challenger: Evaluated) -> str:
    """Set the alias ``champion`` to the challenger unless the champion does better on the same documents."""
    registry = Registry(mill.store.home, f"gristmill-{mill.recipe.finetune.name}")
    champion = registry.champion()
    if champion and champion.model_key == challenger.model.key:
        return f"version {champion.version} stays champion: nothing changed"
    score = float(challenger.result.statistics["held_out/bits_per_byte"])
    verdict = compare(score, _champion_score(mill, champion, challenger))
    log.info("gate: %s", verdict.reason)
    if not verdict.promote:
        return f"the champion stays: {verdict.reason}"
    tags = {"model_key": challenger.model.key, "artifact": challenger.model.name, "bits_per_byte": str(score)}
    return f"version {registry.promote(challenger.model.path, tags)} is champion: {verdict.reason}"


def _champion_score(mill: Mill, champion: Champion | None, challenger: Evaluated) -> float | None:
    """The champion's bits per byte on today's held-out documents; None without a champion."""
    model = next((a for a in mill.store.all() if champion and a.key == champion.model_key), None)
    if model is None:
        return champion.bits_per_byte if champion else None
    return float(_evaluate_again(mill, model).statistics["held_out/bits_per_byte"])


def _evaluate_again(mill: Mill, model: Artifact) -> Artifact:
    """Judge an older model, with its own tokenizer, on today's held-out documents and questions."""
    recipe, artifacts = mill.recipe, {a.key: a for a in mill.store.all()}
    documents = make_corpus(mill)
    store = encode(mill.store, recipe.encode, documents, artifacts[model.input_keys["tokenizer"]])
    conversations = make_conversations(mill, documents)
    return evaluate_model(mill.store, replace(recipe.evaluate, name="champion"), model, store, conversations)
