"""Our decoder in lm-evaluation-harness, and a multiple-choice task run by it on questions at hand.

The harness (Gao et al., "A framework for few-shot language model evaluation", 2023) asks a model for
five things; what it does with the answers is the same for every model, so that figures compare.
Nothing is downloaded and nothing is cached: the questions are handed over in memory.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate
from tokenizers import Tokenizer

from storage.errors import GristmillError
from tasks.evaluate.scoring import IGNORED, Row, Scorer, sliding
from tasks.serve.generate import SamplingConfig, chat_tokens, generate

METRICS = ("acc", "acc_norm", "acc_mutual_info")
TASK = "questions"
TEMPLATE = "<|im_start|>user\n{{question}}<|im_end|>\n<|im_start|>assistant\n"
CHAT = re.compile(re.escape(TEMPLATE).replace(re.escape("{{question}}"), "(?P<question>.*)"), re.DOTALL)


@dataclass(frozen=True)
class Question:
    """A question with its possible answers, of which ``choices[answer]`` is right."""

    question: str
    choices: tuple[str, ...]
    answer: int


@dataclass(frozen=True)
class MultipleChoice:
    """How many questions were answered rightly, as shares of 1, with standard errors.

    Attributes:
        acc: the likeliest choice is the right one.
        acc_norm: the same, likelihood divided by the choice's characters.
        acc_mutual_info: the same, likelihood divided by that of the choice without the question.
        chance: expected share of blind guessing.
        n: how many questions.
    """

    acc: float
    acc_stderr: float
    acc_norm: float
    acc_norm_stderr: float
    acc_mutual_info: float
    acc_mutual_info_stderr: float
    chance: float
    n: int


class HarnessModel(TemplateLM):  # type: ignore[misc]
    """A decoder as the harness sees it.

    Args:
        scorer: the model and how to run it.
        tokenizer: as :func:`tasks.tokenize.vocabulary.load_tokenizer` gives it.
        end_of_text: the id that stands before a text without context.
        sequence_length: what stands further left than this is cut off.
    """

    def __init__(self, scorer: Scorer, tokenizer: Tokenizer, end_of_text: int, sequence_length: int) -> None:
        super().__init__()
        self.scorer, self.encoder = scorer, tokenizer
        self.end_of_text, self.sequence_length = end_of_text, sequence_length

    @property
    def eot_token_id(self) -> int:
        """The id that stands before a text without context."""
        return self.end_of_text

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """The ids of ``string``: a chat in our template with its markers as single ids, all else as plain text."""
        chat = CHAT.fullmatch(string)
        if chat:
            return chat_tokens(self.encoder, [{"role": "user", "content": chat["question"]}])
        return list(self.encoder.encode(string, add_special_tokens=False).ids)

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Each for itself: an answer begins at a token's edge, as in the chat template, blanks and all."""
        return self.tok_encode(context), self.tok_encode(continuation)

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """log P(continuation | context) of each request, and whether it is the greedy one."""
        result: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        return result

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        rows = [self._row(context, continuation) for _, context, continuation in requests]
        return [(-score.nats, score.greedy) for score in self.scorer.score(rows)]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        """log P(text) of each request, in windows that overlap by half."""
        texts = [np.array(self.tok_encode(request.args[0]), np.int64) for request in requests]
        rows = [list(sliding(text, self.end_of_text, self.sequence_length)) for text in texts]
        return [-sum(score.nats for score in self.scorer.score(text)) for text in rows]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """The greedy continuation of each request, up to the first of its ``until`` strings."""
        return [self._generate(*request.args) for request in requests]

    def _generate(self, context: str, options: dict[str, Any]) -> str:
        if options.get("do_sample"):
            raise GristmillError("A harness task asks for sampling.", "Set its do_sample to false.")
        length = int(options.get("max_gen_toks", 128))
        prompt = self.tok_encode(context)[-max(1, self.sequence_length - length):]
        sampling = SamplingConfig(temperature=0.0, max_new_tokens=length)
        ids = generate(self.scorer.model, prompt, sampling, frozenset({self.end_of_text}))
        text = self.encoder.decode(ids, skip_special_tokens=False)
        return min((text.split(stop)[0] for stop in options.get("until", [])), key=len, default=text)

    def _row(self, context: list[int], continuation: list[int]) -> Row:
        ids = np.array(context + continuation, np.int64)[-(self.sequence_length + 1):]
        targets_t = ids[1:].copy()
        targets_t[: -len(continuation)] = IGNORED
        return Row(ids[:-1], targets_t)


class _QuestionsAtHand(ConfigurableTask):  # type: ignore[misc]
    """A task of the harness whose questions come from memory; it draws no bar of its own."""

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        from datasets import Dataset

        self.dataset = {"test": Dataset.from_list((dataset_kwargs or {})["questions"])}

    def build_all_requests(self, **kwargs: Any) -> None:
        with redirect_stderr(io.StringIO()):
            super().build_all_requests(**kwargs)


def multiple_choice(model: HarnessModel, questions: Sequence[Question]) -> MultipleChoice:
    """Let the harness ask ``questions`` in the chat template and count the right answers.

    Raises:
        GristmillError: there is no question.
    """
    if not questions:
        raise GristmillError("There is no held-out question to ask.", "Raise the number of conversations held out.")
    task = _QuestionsAtHand(config=_task(questions))
    results = evaluate(model, {"tasks": {TASK: task}, "groups": {}}, bootstrap_iters=1, log_samples=False)
    found = results["results"][TASK]
    figures = {m: float(found[f"{m},none"]) for m in METRICS}
    errors = {f"{m}_stderr": float(found[f"{m}_stderr,none"]) for m in METRICS}
    chance = sum(1 / len(q.choices) for q in questions) / len(questions)
    return MultipleChoice(**figures, **errors, chance=chance, n=len(questions))


def _task(questions: Sequence[Question]) -> dict[str, Any]:
    """The task as the harness reads it from YAML, but for the questions themselves."""
    return {
        "task": TASK,
        "output_type": "multiple_choice",
        "dataset_kwargs": {"questions": [{**asdict(q), "choices": list(q.choices)} for q in questions]},
        "test_split": "test",
        "doc_to_text": TEMPLATE,
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "target_delimiter": "",
        "metric_list": [{"metric": m, "aggregation": "mean", "higher_is_better": True} for m in METRICS],
        "metadata": {"version": 1},
    }
