from __future__ import annotations

from collections.abc import Callable
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from storage.artifact import Artifact
from storage.documents import Document, document_id
from tasks.curate.split import RANKS, rank, split_documents, split_of

IDS = st.lists(st.integers(0, 10**6).map(lambda n: document_id("s", str(n), "")), min_size=2, max_size=30, unique=True)


@given(IDS, st.integers(1, 500))
def test_every_source_of_two_documents_is_on_both_sides(ids: list[str], permille: int) -> None:
    split = split_of([(i, "s") for i in ids], permille)
    held_out = [i for i in ids if split.is_held_out(i, "s")]
    assert 0 < len(held_out) < len(ids)
    by_hash = {i for i in ids if rank(i) < RANKS * permille // 1000}
    assert by_hash <= set(held_out) or len(by_hash) == len(ids)


@given(IDS, st.integers(1, 500), st.randoms())
def test_the_split_does_not_depend_on_the_order(ids: list[str], permille: int, random: Random) -> None:
    shuffled = random.sample(ids, len(ids))
    assert split_of([(i, "s") for i in ids], permille) == split_of([(i, "s") for i in shuffled], permille)


def test_about_as_many_as_asked_are_held_out() -> None:
    ids = [document_id("s", str(n), "") for n in range(20_000)]
    split = split_of([(i, "s") for i in ids], 30)
    assert 500 < sum(split.is_held_out(i, "s") for i in ids) < 700


def test_nothing_is_held_out_at_0_nor_of_a_single_document() -> None:
    assert not split_of([("a", "s"), ("b", "s")], 0).is_held_out("a", "s")
    assert not split_of([("a", "s")], 500).is_held_out("a", "s")


def test_a_folder_splits_as_its_documents_do(
    publish: Callable[..., Artifact], document: Callable[..., Document]
) -> None:
    documents = [document(f"text {n}", source="ab"[n % 2]) for n in range(40)]
    found = split_documents(publish(documents).path, 30)
    assert found == split_of([(d.id, d.source) for d in documents], 30)
    assert {found.name(d.id, d.source) for d in documents} == {"train", "held_out"}
