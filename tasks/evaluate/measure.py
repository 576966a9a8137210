"""All that is measured of one model: held-out text, answers, questions, and what it says when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer

from tasks.align.batches import encode_conversation
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.harness import HarnessModel, Question, multiple_choice
from tasks.evaluate.held_out import HeldOutDocument
from tasks.evaluate.perplexity import answer_loss, bits_per_byte
from tasks.evaluate.results import score_figures
from tasks.evaluate.scoring import Scorer
from tasks.model.decoder import Decoder
from tasks.model.hf import load_hf
from tasks.serve.generate import chat_tokens, generate, stop_tokens
from tasks.tokenize.vocabulary import END_OF_TEXT, load_tokenizer, special_id

Record = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """What a model said: ``kind`` is ``text`` (a continuation) or ``chat`` (an answer)."""

    kind: Literal["text", "chat"]
    prompt: str
    completion: str


@dataclass(frozen=True)
class Subject:
    """A model to measure, with its tokenizer."""

    decoder: Decoder
    tokenizer: Tokenizer

    @property
    def end_of_text(self) -> int:
        """The id that stands before and after each document."""
        return special_id(self.tokenizer, END_OF_TEXT)


def load_subject(folder: Path) -> Subject:
    """The model in a Hugging Face folder, on the GPU if there is one."""
    decoder = load_hf(folder)[0].eval().to("cuda" if torch.cuda.is_available() else "cpu")
    return Subject(decoder, load_tokenizer(folder))


def measure(
    subject: Subject,
    config: EvaluateConfig,
    documents: Sequence[HeldOutDocument],
    held_out: Sequence[Record],
    questions: Sequence[Record],
    advance: Callable[[int], None],
) -> dict[str, Any]:
    """All that is measured of a model, as ``results.json`` holds it.

    Args:
        subject: the model.
        config: how much to measure.
        documents: held-out documents.
        held_out: held-out conversations, each with ``messages``.
        questions: each with ``question``, ``choices`` and ``answer``.
        advance: told how many tokens are done after each forward pass.
    """
    length, end = config.sequence_length, subject.end_of_text
    scorer = Scorer(subject.decoder, precision=config.precision, advance=advance)
    pairs = (encode_conversation(c["messages"], subject.tokenizer) for c in spread(held_out, config.max_conversations))
    asked = [Question(q["question"], tuple(q["choices"]), q["answer"]) for q in spread(questions, config.max_questions)]
    return {
        "held_out": score_figures(bits_per_byte(scorer, documents, length, end)),
        "answers": asdict(answer_loss(scorer, pairs, length)),
        "questions": asdict(multiple_choice(HarnessModel(scorer, subject.tokenizer, end, length), asked)),
        "samples": [asdict(sample) for sample in samples(subject, config, held_out)],
    }


def samples(subject: Subject, config: EvaluateConfig, held_out: Sequence[Record]) -> Iterator[Sample]:
    """Continuations of the configured prompts, then answers to held-out questions."""
    def complete(prompt: list[int]) -> str:
        ids = generate(subject.decoder, prompt, config.sampling, stop)
        return str(subject.tokenizer.decode(ids, skip_special_tokens=True))

    stop = stop_tokens(subject.tokenizer)
    for text in config.prompts:
        ids = subject.tokenizer.encode(text, add_special_tokens=False).ids
        yield Sample("text", text, complete([subject.end_of_text, *ids]))
    for conversation in spread(held_out, config.chat_prompts):
        message = conversation["messages"][:1]
        yield Sample("chat", message[0]["content"], complete(chat_tokens(subject.tokenizer, message)))


def spread(items: Sequence[Record], n: int) -> list[Record]:
    """At most ``n`` of ``items``, evenly spread over them."""
    return list(items) if len(items) <= n else [items[i * len(items) // n] for i in range(n)]


@contextmanager
def cpu_threads(n: int) -> Iterator[None]:
    """Let torch use ``n`` CPU threads, and as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
