from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from storage.artifact import Artifact, Store
from storage.documents import Document
from storage.tokens import TokenStore
from tasks.curate.split import split_of
from tasks.tokenize.bpe import TokenizerConfig, train_tokenizer
from tasks.tokenize.encode import EncodeConfig, encode
from tasks.tokenize.vocabulary import load_tokenizer

Corpus = tuple[list[Document], Artifact, Artifact]
TEXT = "The miller grinds the grain of the mill: Müller, 磨坊 and <|endoftext|>.\n"


@pytest.fixture
def corpus(store: Store, publish: Callable[..., Artifact], document: Callable[..., Document]) -> Corpus:
    documents = [document(f"{TEXT * 3}{source} {n}", source, str(n)) for source in ("web", "lib-2") for n in range(30)]
    artifact = publish(documents)
    return documents, artifact, train_tokenizer(store, TokenizerConfig(vocab_size=320), 100, artifact)


def test_every_document_is_in_its_split_and_decodes_to_its_text(store: Store, corpus: Corpus) -> None:
    documents, artifact, tokenizer = corpus
    made = encode(store, EncodeConfig(held_out_permille=100), artifact, tokenizer)
    reader = load_tokenizer(tokenizer.path)
    split = split_of([(d.id, d.source) for d in documents], 100)
    seen = 0
    for side in ("train", "held_out"):
        for document_id, source, n_bytes, tokens in TokenStore(made.path, side).documents():
            document = next(d for d in documents if d.id == document_id)
            assert (split.name(document_id, source), source) == (side, document.source)
            assert tokens[-1] == reader.token_to_id("<|endoftext|>")
            assert reader.decode(tokens[:-1].tolist(), skip_special_tokens=False) == document.text
            assert n_bytes == len(document.text.encode())
            seen += 1
    assert seen == len(documents)


def test_statistics_count_what_the_shards_hold(store: Store, corpus: Corpus) -> None:
    documents, artifact, tokenizer = corpus
    made = encode(store, EncodeConfig(held_out_permille=100, shard_tokens=600), artifact, tokenizer)
    assert made.statistics["vocab_size"] == 320
    for side in ("train", "held_out"):
        store_of = TokenStore(made.path, side)
        assert made.statistics[f"{side}_tokens"] == store_of.n_tokens
        for source in ("lib-2", "web"):
            counts, one = made.statistics["sources"][source][side], TokenStore(made.path, side, (source,))
            rows = list(one.documents())
            assert counts == {
                "shards": len(one.shards), "documents": len(rows), "tokens": one.n_tokens,
                "bytes": sum(r[2] for r in rows),
            }  # fmt: skip
    assert len(TokenStore(made.path, "train").shards) > 4
    assert sum(c["bytes"] for s in made.statistics["sources"].values() for c in s.values()) == sum(
        len(d.text.encode()) for d in documents
    )


def test_the_bytes_do_not_depend_on_the_batches(
    store: Store, corpus: Corpus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, artifact, tokenizer = corpus
    whole = encode(store, EncodeConfig(), artifact, tokenizer)
    monkeypatch.setattr("tasks.tokenize.encode.BATCH_CHARS", 500)
    monkeypatch.setenv("RAYON_NUM_THREADS", "1")
    assert encode(type(store)(tmp_path / "other"), EncodeConfig(), artifact, tokenizer).digest == whole.digest
