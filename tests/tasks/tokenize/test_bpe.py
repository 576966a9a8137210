from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.artifact import Artifact, Store
from storage.documents import Document
from storage.errors import ConfigError, GristmillError
from tasks.curate.split import split_of
from tasks.tokenize import bpe
from tasks.tokenize.bpe import SPECIAL_TOKENS, TokenizerConfig, train_tokenizer
from tasks.tokenize.vocabulary import load_tokenizer, special_id

TEXT = "the miller grinds the grain of the mill; def grind(grain): return the_flour  # 2026\n\n"
TRICKY = st.text(st.characters(exclude_categories=["Cs"])) | st.lists(
    st.sampled_from([*SPECIAL_TOKENS, " ", "\n", "<|", "|>", "im_end", "é", "e\u0301", "🌾", "\x00", "\r\n"])
).map("".join)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    tokenizer = bpe.untrained()
    tokenizer.train_from_iterator([TEXT * 20], bpe._trainer(TokenizerConfig(vocab_size=290)))
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps(bpe._transformers_config()))
    return path


@settings(deadline=None, max_examples=300)
@given(text=TRICKY)
def test_any_text_comes_back_and_no_special_token_comes_of_text(folder: Path, text: str) -> None:
    tokenizer = load_tokenizer(folder)
    ids = tokenizer.encode_batch_fast([text], add_special_tokens=False)[0].ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert not {special_id(tokenizer, t) for t in SPECIAL_TOKENS} & set(ids)


def test_transformers_reads_it(folder: Path) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(folder)
    ours = load_tokenizer(folder)
    assert theirs(TEXT)["input_ids"] == ours.encode(TEXT).ids
    assert theirs.decode(theirs(TEXT)["input_ids"]) == TEXT
    assert (theirs.eos_token, theirs.pad_token) == ("<|endoftext|>", "<|pad|>")
    assert len(theirs) == 290
    assert {special_id(ours, t) for t in SPECIAL_TOKENS} == set(theirs.all_special_ids) == {0, 1, 2, 3}


def test_it_learns_from_training_documents_only(
    store: Store, publish: Callable[..., Artifact], document: Callable[..., Document]
) -> None:
    documents = [document(TEXT * 3, url=str(n)) for n in range(40)]
    split = split_of([(d.id, d.source) for d in documents], 100)
    held_out = [d for d in documents if split.is_held_out(d.id, d.source)]
    marked = [document(d.text + "zyzzyva " * 50 if d in held_out else d.text, url=d.url) for d in documents]
    same_ids = [type(d)(**{**vars(m), "id": d.id}) for d, m in zip(documents, marked, strict=True)]
    made = train_tokenizer(store, TokenizerConfig(vocab_size=290), 100, publish(same_ids))
    tokens = json.loads((made.path / "tokenizer.json").read_text())["model"]["vocab"]
    assert not any("zy" in token for token in tokens)
    assert made.statistics == {
        "vocab_size": 290, "documents": 40 - len(held_out), "bytes": (40 - len(held_out)) * len(TEXT) * 3,
    }  # fmt: skip
    leaking = train_tokenizer(store, TokenizerConfig(vocab_size=290), 0, publish(same_ids))
    tokens = json.loads((leaking.path / "tokenizer.json").read_text())["model"]["vocab"]
    assert any("zy" in token for token in tokens)


def test_of_a_large_corpus_a_sample_is_read(
    store: Store, publish: Callable[..., Artifact], document: Callable[..., Document]
) -> None:
    documents = publish([document(TEXT * 3, url=str(n)) for n in range(200)])
    config = TokenizerConfig(vocab_size=280, max_train_bytes=100 * len(TEXT) * 3)
    assert 70 < train_tokenizer(store, config, 0, documents).statistics["documents"] < 130


def test_the_same_corpus_gives_the_same_bytes(
    store: Store, publish: Callable[..., Artifact], document: Callable[..., Document], tmp_path: Path
) -> None:
    documents = publish([document(f"{TEXT} {n} {n * 7919}", url=str(n)) for n in range(200)])
    config = TokenizerConfig(vocab_size=350)
    again = type(store)(tmp_path / "other")
    assert train_tokenizer(store, config, 0, documents).digest == train_tokenizer(again, config, 0, documents).digest


def test_a_vocabulary_beyond_the_corpus_is_refused_with_both_sizes(
    store: Store, publish: Callable[..., Artifact], document: Callable[..., Document]
) -> None:
    with pytest.raises(GristmillError, match=r"5,000 tokens.* only \d+\. Set tokenizer\.vocab_size to \d+ or less"):
        train_tokenizer(store, TokenizerConfig(vocab_size=5000), 30, publish([document(TEXT * 3)]))


def test_a_vocabulary_below_the_bytes_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 260"):
        TokenizerConfig(vocab_size=200)
