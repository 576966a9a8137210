"""The steps that measure: a model on held-out documents and questions, and the n-gram models beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.artifact import Artifact
from storage.order import Order
from storage.tokens import TokenStore
from tasks.evaluate.config import EvaluateConfig, NgramConfig
from tasks.evaluate.held_out import HeldOutDocument, choose
from tasks.evaluate.ngram import bits_per_byte, train
from tasks.evaluate.results import RESULTS, bits, figures, score_figures, write_json
from tasks.step import Statistics, Work, step

__all__ = ["EvaluateConfig", "NgramConfig", "evaluate_model", "ngram_baseline"]


@step(kind="evaluation", libraries=("lm-eval", "torch", "transformers"))
def evaluate_model(
    work: Work, config: EvaluateConfig, model: Artifact, tokens: Artifact, conversations: Artifact
) -> Statistics:
    """Measure ``model`` on the held-out documents of ``tokens`` and the held-out pairs of ``conversations``.

    Writes ``results.json``: bits per byte of each source and overall, the loss on answers, multiple choice
    by lm-evaluation-harness, and samples.

    Raises:
        GristmillError: an input holds nothing to measure on.
    """
    from tasks.evaluate.measure import cpu_threads, load_subject, measure

    subject = load_subject(model.path)
    documents = choose(TokenStore(tokens.path, "held_out").documents(), subject.end_of_text, config.max_held_out_bytes)
    held_out = read_jsonl(conversations.path / "held_out.jsonl")
    questions = read_jsonl(conversations.path / "questions.jsonl")
    with work.progress("tokens scored", None, "tokens") as bar, cpu_threads(config.threads):
        results = measure(subject, config, documents, held_out, questions, bar.advance)
    write_json(work.out / RESULTS, results)
    return figures(results)


@step(kind="evaluation", libraries=("numpy",))
def ngram_baseline(work: Work, config: NgramConfig, tokens: Artifact, run: Artifact) -> Statistics:
    """Kneser-Ney bigram and trigram models of exactly the windows that the training run ``run`` saw.

    Reads ``run.json`` of the run: ``seed``, ``global_batch``, ``sequence_length`` and ``steps``. Writes
    ``results.json``: for ``bigram`` and ``trigram``, bits per byte of each source and overall.
    """
    windows = list(seen_windows(TokenStore(tokens.path, "train"), json.loads((run.path / "run.json").read_text())))
    held_out = list(TokenStore(tokens.path, "held_out").documents())
    end_of_text = int(held_out[0][3][-1])
    documents = choose(held_out, end_of_text, config.max_held_out_bytes)
    results = ngram_scores(windows, documents, run.statistics["model"]["vocab_size"], end_of_text)
    write_json(work.out / RESULTS, results)
    scores = {f"{model}/{name}": value for model, found in results.items() for name, value in bits(found).items()}
    return {"windows": len(windows), **scores}


def seen_windows(store: TokenStore, run: Mapping[str, int]) -> Iterator[npt.NDArray[np.integer]]:
    """Each window that a training run saw, once, in the order of the store.

    Args:
        store: the training split.
        run: ``seed``, ``global_batch``, ``sequence_length`` and ``steps`` of the run.
    """
    length = run["sequence_length"]
    order = Order(run["seed"], store.n_windows(length))
    for window in np.unique(order.windows(np.arange(run["steps"] * run["global_batch"]))):
        yield store.window(int(window), length)


def ngram_scores(
    windows: Sequence[npt.NDArray[np.integer]], documents: Sequence[HeldOutDocument], vocabulary: int, end_of_text: int
) -> dict[str, Any]:
    """Train a bigram and a trigram model on ``windows`` and score ``documents`` by each."""
    orders = {"bigram": 2, "trigram": 3}
    return {
        name: score_figures(bits_per_byte(train(windows, order, vocabulary), documents, end_of_text))
        for name, order in orders.items()
    }


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """One JSON object a line."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
