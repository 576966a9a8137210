"""The step that makes the instruction data: from the corpus itself, or from a file of the user's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from storage.artifact import Artifact, canonical_json, sha256_file
from storage.documents import read_documents
from storage.errors import GristmillError, require
from tasks.align.dialogues import Messages, read_dialogues
from tasks.align.functions import documented
from tasks.align.questions import multiple_choice
from tasks.curate.split import Split, split_documents, split_of
from tasks.ingest.files import module_name
from tasks.step import Work, step


@dataclass(frozen=True)
class ConversationsConfig:
    """Where the instruction data come from.

    Attributes:
        path: a JSON or JSONL file of conversations; "" makes them from the corpus's documented Python code.
        min_answer_chars: shortest answer made from the corpus, in characters.
        max_answer_chars: longest answer made from the corpus, in characters.
    """

    path: str = ""
    min_answer_chars: int = 20
    max_answer_chars: int = 400

    def __post_init__(self) -> None:
        longest = f"from 1 to max_answer_chars ({self.max_answer_chars})"
        require(1 <= self.min_answer_chars <= self.max_answer_chars, "min_answer_chars", self.min_answer_chars, longest)


@dataclass(frozen=True)
class Conversation:
    """A conversation that ends in an answer.

    Attributes:
        id: hash of what is said.
        messages: ``role`` and ``content`` of each turn.
        document_id: the document that it was made from, or the file and line.
    """

    id: str
    messages: Messages
    document_id: str

    @property
    def question(self) -> str:
        """All that is said before the answer."""
        return "\n".join(m["content"] for m in self.messages[:-1])

    @property
    def answer(self) -> str:
        """What the assistant says last."""
        return self.messages[-1]["content"]


def conversations_fingerprint(config: ConversationsConfig) -> str:
    """SHA-256 of the user's file, so that a changed file changes the key; "" without one."""
    if not config.path:
        return ""
    if not Path(config.path).is_file():
        raise GristmillError(f"There is no file {config.path}.", "Set conversations.path to a JSON or JSONL file.")
    return sha256_file(Path(config.path))


@step(kind="conversations")
def build_conversations(
    work: Work, config: ConversationsConfig, held_out_permille: int, documents: Artifact, fingerprint: str
) -> dict[str, Any]:
    """Write ``train.jsonl``, ``held_out.jsonl`` and, made of the latter, ``questions.jsonl``.

    A conversation is held out if its document is; no question of a held-out one, and of those made from the
    corpus no answer either, occurs in the training ones.

    Args:
        work: where to write.
        config: where they come from.
        held_out_permille: thousandths held out, as in the token store.
        documents: the corpus.
        fingerprint: :func:`conversations_fingerprint` of ``config``.

    Raises:
        GristmillError: a malformed record; no conversation to train on; the file is not that of the fingerprint.
    """
    if fingerprint != conversations_fingerprint(config):
        raise GristmillError(f"The file {config.path} has changed meanwhile.", "Run the same command again.")
    found = _from_file(Path(config.path)) if config.path else _from_corpus(work, config, documents)
    split = _split(config, held_out_permille, documents, found)
    held_out, train = _apart(found, split, answers_too=not config.path)
    if not train:
        raise GristmillError(
            f"{config.path or documents.name} gives no conversation to train on.",
            "Set conversations.path to a JSON or JSONL file, or add documented Python code to the sources.",
        )
    questions = multiple_choice([(c.question, c.answer, c.document_id) for c in held_out])
    _write(work.out / "train.jsonl", map(_record, train))
    _write(work.out / "held_out.jsonl", map(_record, held_out))
    _write(work.out / "questions.jsonl", questions)
    return {"train": len(train), "held_out": len(held_out), "questions": len(questions)}


def _from_corpus(work: Work, config: ConversationsConfig, documents: Artifact) -> list[tuple[Conversation, str]]:
    """The corpus's conversations, each with the source of its document."""
    found: list[tuple[Conversation, str]] = []
    with work.progress("read code", documents.statistics.get("documents"), "documents") as bar:
        for document in read_documents(documents.path):
            bar.advance()
            if document.language != "python":
                continue
            for pair in documented(document.text, module_name(document.url), document.id):
                if config.min_answer_chars <= len(pair.answer) <= config.max_answer_chars:
                    messages = _messages(pair.question, pair.answer)
                    found.append((_conversation(messages, document.id), document.source))
    return found


def _from_file(path: Path) -> list[tuple[Conversation, str]]:
    """The file's conversations, each with the file's name."""
    return [(_conversation(messages, f"{path.name}#{n}"), path.name) for n, messages in read_dialogues(path)]


def _split(
    config: ConversationsConfig, permille: int, documents: Artifact, found: Sequence[tuple[Conversation, str]]
) -> Split:
    """The corpus's split; that of a file goes by the hash of what is said, as if it were a document."""
    if config.path:
        return split_of(((c.id, source) for c, source in found), permille)
    return split_documents(documents.path, permille)


def _apart(
    found: Sequence[tuple[Conversation, str]], split: Split, answers_too: bool
) -> tuple[list[Conversation], list[Conversation]]:
    """(held out, to train on), each without repetitions, and the second without anything of the first."""
    asked: set[str] = set()
    answered: set[str] = set()

    def fresh(conversation: Conversation) -> bool:
        question, answer = conversation.question.casefold(), conversation.answer.casefold()
        if question in asked or (answers_too and answer in answered):
            return False
        asked.add(question)
        answered.add(answer)
        return True

    sides: dict[bool, list[Conversation]] = {True: [], False: []}
    for conversation, source in found:
        # A conversation of the corpus goes with its document, one of a file stands for itself.
        key = conversation.document_id if answers_too else conversation.id
        sides[split.is_held_out(key, source)].append(conversation)
    return list(filter(fresh, sides[True])), list(filter(fresh, sides[False]))


def _conversation(messages: Messages, document_id: str) -> Conversation:
    return Conversation(xxhash.xxh3_128_hexdigest(canonical_json(messages)), messages, document_id)


def _messages(question: str, answer: str) -> Messages:
    return {"role": "user", "content": question}, {"role": "assistant", "content": answer}


def _record(conversation: Conversation) -> dict[str, Any]:
    return {"id": conversation.id, "messages": conversation.messages, "document_id": conversation.document_id}


def _write(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as lines:
        lines.writelines(_lines(records))


def _lines(records: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    return (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
