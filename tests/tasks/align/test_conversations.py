from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.artifact import Artifact, Store
from storage.documents import Document
from storage.errors import GristmillError
from tasks.align.conversations import ConversationsConfig, build_conversations, conversations_fingerprint
from tasks.curate.split import split_of

Code = tuple[list[Document], Artifact]


def read(made: Artifact, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (made.path / f"{name}.jsonl").read_text().splitlines()]


@pytest.fixture
def code(publish: Callable[..., Artifact], document: Callable[..., Document]) -> Code:
    shared = 'def same():\n    """An answer that every module gives."""\n'
    texts = [f'{shared}def f{n}(a):\n    """Return the {n}th kernel of the heap."""\n' for n in range(60)]
    documents = [document(t, "lib", f"stdlib:pack/mod{n}.py", "python") for n, t in enumerate(texts)]
    return documents, publish([*documents, document("def prose(): '''No code, as it is English.'''", language="en")])


def test_functions_of_held_out_documents_are_kept_apart(store: Store, code: Code) -> None:
    documents, corpus = code
    made = build_conversations(store, ConversationsConfig(), 200, corpus, "")
    train, held_out = read(made, "train"), read(made, "held_out")
    split = split_of([(d.id, d.source) for d in documents], 200)
    assert all(not split.is_held_out(c["document_id"], "lib") for c in train)
    assert all(split.is_held_out(c["document_id"], "lib") for c in held_out)
    assert len({c["document_id"] for c in train + held_out}) == 60
    for turn in (0, 1):
        said = [{c["messages"][turn]["content"] for c in side} for side in (train, held_out)]
        assert not said[0] & said[1]
    assert made.statistics == {"train": len(train), "held_out": len(held_out), "questions": len(held_out)}
    answers = [c["messages"][1]["content"] for c in held_out]
    assert [q["choices"][q["answer"]] for q in read(made, "questions")] == answers
    assert "`pack.mod" in train[0]["messages"][0]["content"]
    assert "An answer that every module gives." in answers


def test_answers_too_short_or_long_are_left_out(store: Store, code: Code) -> None:
    config = ConversationsConfig(min_answer_chars=34, max_answer_chars=35)
    made = build_conversations(store, config, 30, code[1], "")
    lengths = {len(c["messages"][1]["content"]) for c in read(made, "train") + read(made, "held_out")}
    assert lengths == {34, 35}


def test_a_users_file_is_split_by_conversation_without_repetitions(store: Store, code: Code, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([{"instruction": f"Q{n % 80}", "output": f"Yes {n % 2}"} for n in range(100)]))
    config = ConversationsConfig(path=str(path))
    made = build_conversations(store, config, 100, code[1], conversations_fingerprint(config))
    train, held_out = read(made, "train"), read(made, "held_out")
    questions = [c["messages"][0]["content"] for c in train + held_out]
    assert sorted(questions) == sorted({f"Q{n}" for n in range(80)})
    assert 0 < len(held_out) < 25
    assert train[0]["document_id"].startswith("mine.json#")
    assert read(made, "questions") == []


def test_a_changed_file_is_read_anew_and_never_under_an_old_key(store: Store, code: Code, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    config = ConversationsConfig(path=str(path))
    keys = []
    for n in range(2):
        path.write_text(json.dumps([{"instruction": f"{n} {i}", "output": "Yes."} for i in range(9)]))
        keys.append(build_conversations(store, config, 100, code[1], conversations_fingerprint(config)).key)
    assert keys[0] != keys[1]
    with pytest.raises(GristmillError, match="has changed"):
        build_conversations(store, config, 100, code[1], "")
    path.unlink()
    with pytest.raises(GristmillError, match="no file"):
        conversations_fingerprint(config)


def test_a_corpus_without_documented_code_says_so(
    store: Store, publish: Callable[..., Artifact], document: Callable[..., Document]
) -> None:
    with pytest.raises(GristmillError, match="no conversation to train on"):
        build_conversations(store, ConversationsConfig(), 30, publish([document("Prose.")]), "")
