"""Lineage against brute force: the samples of every step, and the steps that saw every document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.artifact import Artifact, Identity, Kind, Store
from storage.documents import Document, document_id, write_documents
from storage.manifest import Manifest, Run
from storage.order import Order
from storage.tokens import TokenShardWriter, TokenStore, shard_name
from tasks.align.batches import PackConfig, encode_conversations
from tasks.tokenize.bpe import TokenizerConfig, train_tokenizer
from tasks.tokenize.encode import EncodeConfig, encode
from tasks.tokenize.vocabulary import END_OF_TEXT, load_tokenizer, special_id

Sizes = list[tuple[str, list[int]]]
Step = tuple[int, str, int, int]
Place = tuple[str, int, int, str]
SAMPLE = """SELECT shard, document_id, start, n_tokens, source, url
    FROM documents_in_step(?, ?) WHERE position = ?"""


def drafted(store: Store, kind: Kind, label: str) -> Artifact:
    identity = Identity(f"made-{kind}", label, {}, {"label": label}, {}, {})
    folder = store.building(identity.key)
    folder.mkdir(parents=True)
    return Artifact(kind, identity, identity.key, "", (), {}, "2026-01-02", 0.0, {}, folder)


def token_store(store: Store, shards: Sizes) -> Artifact:
    draft, number = drafted(store, "tokens", str(shards)[:20]), 0
    for index, (source, sizes) in enumerate(shards):
        writer = TokenShardWriter(draft.path / shard_name("train", source, index), 300)
        for size in sizes:
            writer.add(f"document-{number}", np.zeros(size, np.int64), size)
            number += 1
        writer.close()
    return store.publish(draft)


def spans_of(tokens: Artifact) -> Iterator[Place]:
    """(shard, start, n_tokens, document) of each training document."""
    for path in sorted(tokens.path.glob("train*.parquet")):
        for row in pq.read_table(path).to_pylist():
            yield path.stem, row["start"], row["n_tokens"], row["document_id"]


def by_hand(run: Run, n: int, place: list[tuple[str, int]], spans: list[Place]) -> dict[int, list[Step]]:
    """step → (position, document, start, n_tokens): every sample looked up, every span compared."""
    order, width = Order(run.seed, n), run.sequence_length + 1
    found: dict[int, list[Step]] = {step: [] for step in range(1, run.steps + 1)}
    for position in range(run.steps * run.global_batch):
        shard, first = place[order.window(position)]
        for name, start, size, document in spans:
            begin, end = max(start, first), min(start + size, first + width)
            if name == shard and begin < end:
                found[position // run.global_batch + 1].append((position, document, begin, end - begin))
    return {step: sorted(rows) for step, rows in found.items()}


def check(db: duckdb.DuckDBPyConnection, run: Run, expected: dict[int, list[Step]], documents: set[str]) -> None:
    columns = "position, document_id, start, n_tokens"
    for step, rows in expected.items():
        asked = f"SELECT {columns} FROM documents_in_step(?, ?) ORDER BY ALL"
        assert db.execute(asked, [run.run, step]).fetchall() == rows
    for document in documents:
        steps = [step for step, rows in expected.items() if document in {row[1] for row in rows}]
        assert db.execute("SELECT step FROM steps_that_saw(?) WHERE run = ?", [document, run.run]).fetchall() == [
            (step,) for step in steps
        ]


@settings(max_examples=8, deadline=None)
@given(
    shards=st.lists(
        st.tuples(st.sampled_from(["web", "my-files", "web-00000"]), st.lists(st.integers(1, 40), min_size=1)),
        min_size=1, max_size=4,
    ),
    seed=st.integers(0, 2**62), length=st.integers(1, 9), batch=st.integers(1, 5), steps=st.integers(1, 12),
)  # fmt: skip
def test_windows_against_brute_force(
    tmp_path_factory: pytest.TempPathFactory, shards: Sizes, seed: int, length: int, batch: int, steps: int
) -> None:
    store = Store(tmp_path_factory.mktemp("mill"))
    tokens = token_store(store, [*shards, ("last", [2 * length + 1])])
    windows = TokenStore(tokens.path, "train")
    run = Run("run", "pretrain", tokens.key, seed, batch, length, steps)
    Manifest(store).register(run)
    n, spans = windows.n_windows(length), list(spans_of(tokens))
    located = [windows.locate(w, length) for w in range(n)]
    expected = by_hand(run, n, [(shard.name, start) for shard, start in located], spans)
    with Manifest(store).reader() as db:
        check(db, run, expected, {document for *_, document in spans})


def test_a_shard_shorter_than_a_window_has_none(tmp_path: Path) -> None:
    store = Store(tmp_path)
    tokens = token_store(store, [("a", [3]), ("b", [25])])
    Manifest(store).register(Run("run", "pretrain", tokens.key, 0, 1, 8, 1))
    with Manifest(store).reader() as db:
        sizes = db.execute("SELECT shard, n_windows, all_windows FROM run_shards ORDER BY shard").fetchall()
    assert sizes == [("train-a-00000", 0, 3), ("train-b-00001", 3, 3)]


def test_steps_outside_the_run_and_unknown_names_have_no_rows(tmp_path: Path) -> None:
    store = Store(tmp_path)
    tokens = token_store(store, [("a", [50])])
    Manifest(store).register(Run("run", "pretrain", tokens.key, 0, 2, 8, 3))
    with Manifest(store).reader() as db:
        for run, step in (("run", 0), ("run", 4), ("run", -1), ("other", 1)):
            assert db.execute("FROM documents_in_step(?, ?)", [run, step]).fetchall() == []
        assert db.execute("FROM steps_that_saw('nobody')").fetchall() == []
        assert db.execute("FROM shards_with('nobody')").fetchall() == []


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Artifact, Artifact]:
    """A store with 60 documents of two sources, and a tokenizer trained on them."""
    store = Store(tmp_path_factory.mktemp("mill"))
    draft = drafted(store, "documents", "corpus")
    texts = [" ".join(f"grain {i * j % 97} makes flour {j}" for j in range(1, 3 + i % 17)) for i in range(60)]
    made = [("web" if i % 3 else "files", f"http://site/{i}", text) for i, text in enumerate(texts)]
    write_documents(draft.path, [Document(document_id(*m), m[0], m[1], None, m[2]) for m in made])
    documents = store.publish(draft)
    return store, documents, train_tokenizer(store, TokenizerConfig(vocab_size=300), 30, documents)


def test_ten_random_samples_decode_to_the_slices_of_their_documents(
    corpus: tuple[Store, Artifact, Artifact],
) -> None:
    store, documents, tokenizer = corpus
    tokens = encode(store, EncodeConfig(shard_tokens=400), documents, tokenizer)
    run = Run("sampled", "pretrain", tokens.key, 3, 4, 16, 40)
    Manifest(store).register(run)
    windows, reader = TokenStore(tokens.path, "train"), load_tokenizer(tokenizer.path)
    order, end = Order(run.seed, windows.n_windows(16)), special_id(reader, END_OF_TEXT)
    starts = {(shard, document): start for shard, start, _, document in spans_of(tokens)}
    compared = 0
    with Manifest(store).reader() as db:
        texts = dict(db.execute("SELECT id, text FROM documents").fetchall())
        for position in np.random.default_rng(0).integers(0, 160, 10).tolist():
            rows = db.execute(SAMPLE, ["sampled", position // 4 + 1, position]).fetchall()
            shard, first = windows.locate(order.window(position), 16)
            ids = windows.window(order.window(position), 16)
            assert sum(n for *_, n, _, _ in rows) == 17
            for name, document, start, n, source, url in rows:
                assert (name, source) == (shard.name, shard.source)
                assert url.startswith("http://site/")
                mine = [i for i in ids[start - first : start - first + n].tolist() if i != end]
                whole = reader.encode(texts[document], add_special_tokens=False)
                at = start - starts[name, document]
                assert whole.ids[at : at + len(mine)] == mine
                if mine:
                    text = texts[document][whole.offsets[at][0] : whole.offsets[at + len(mine) - 1][1]]
                    assert reader.decode(mine, skip_special_tokens=False) == text
                    compared += 1
    assert compared >= 10


def test_packed_conversations_against_brute_force(corpus: tuple[Store, Artifact, Artifact]) -> None:
    store, _, tokenizer = corpus
    draft = drafted(store, "conversations", "talk")
    for split, count in (("train", 30), ("held_out", 5)):
        talks = [
            {"document_id": f"{split}-{i}", "messages": [
                {"role": "user", "content": "grain " * (1 + i % 7)},
                {"role": "assistant", "content": "flour " * (1 + i % 5)},
            ]} for i in range(count)
        ]  # fmt: skip
        (draft.path / f"{split}.jsonl").write_text("".join(json.dumps(t) + "\n" for t in talks))
    conversations = store.publish(replace(draft, kind="conversations"))
    tokens = encode_conversations(store, PackConfig(sequence_length=64), conversations, tokenizer)
    rows = len(np.load(tokens.path / "train.npy"))
    run = Run("chat", "sft", tokens.key, 5, 2, 64, 2 * rows)
    Manifest(store).register(run)
    spans = list(spans_of(tokens))
    with Manifest(store).reader() as db:
        shards = db.execute("SELECT split, source, stride, n_tokens FROM shards WHERE artifact_key = ?", [tokens.key])
        assert sorted(shards.fetchall())[-1] == ("train", "", 65, rows * 65)
        expected = by_hand(run, rows, [("train", row * 65) for row in range(rows)], spans)
        check(db, run, expected, {document for *_, document in spans} | {"held_out-0"})
