from __future__ import annotations

import unicodedata
from collections.abc import Callable

import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from storage.artifact import Artifact, Store
from storage.documents import Document, read_documents
from tasks.curate.dedup import DedupConfig, deduplicate, text_hash


def test_the_first_of_equal_texts_is_kept_across_sources(
    store: Store, publish: Callable[..., Artifact], document: Callable[..., Document]
) -> None:
    first = [document("café au lait", "a", "1"), document("other", "a", "2")]
    second = [document("third", "b", "1"), document("  cafe\u0301  au\n lait ", "b", "2"), document("third", "b", "3")]
    sources = publish(first, "a"), publish(second, "b")
    made = deduplicate(store, DedupConfig(), sources)
    assert [d.id for d in read_documents(made.path)] == [first[0].id, first[1].id, second[0].id]
    dropped = pq.read_table(made.path / "dropped-00000.parquet").to_pylist()
    assert [(d["id"], d["stage"], d["rule"], d["value"]) for d in dropped] == [
        (second[1].id, "dedup", "exact", first[0].id), (second[2].id, "dedup", "exact", second[0].id)
    ]  # fmt: skip
    assert made.statistics == {"documents": 3, "dropped": 2, "sources": {"a": 2, "b": 1}}


def test_the_order_of_the_sources_decides(
    store: Store, publish: Callable[..., Artifact], document: Callable[..., Document]
) -> None:
    here, there = document("same", "a"), document("same", "b")
    made = deduplicate(store, DedupConfig(), (publish([there], "b"), publish([here], "a")))
    assert [d.id for d in read_documents(made.path)] == [there.id]


def test_switched_off_everything_is_kept(
    store: Store, publish: Callable[..., Artifact], document: Callable[..., Document]
) -> None:
    documents = publish([document("same", url="1"), document("same", url="2")])
    assert deduplicate(store, DedupConfig(exact=False), (documents,)).statistics["documents"] == 2


@given(st.text())
def test_white_space_and_composition_do_not_count(text: str) -> None:
    assert text_hash(f"\n {unicodedata.normalize('NFD', text)}\t") == text_hash(" ".join(text.split()))
    assert text_hash(text + "x") != text_hash(text)
