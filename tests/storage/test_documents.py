from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import documents as module
from storage.documents import Document, Dropped, document_id, read_documents, write_documents, write_dropped

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
DOCUMENTS = st.builds(
    Document, id=TEXTS, source=TEXTS, url=TEXTS, text=TEXTS, language=st.just("en"), language_score=st.just(0.5),
    fetched_at=st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    meta=st.dictionaries(TEXTS, TEXTS | st.integers(-9, 9), max_size=3),
)  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(st.lists(DOCUMENTS, max_size=5))
def test_what_is_written_is_read(documents: list[Document]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert write_documents(Path(folder), documents) == len(documents)
        assert list(read_documents(Path(folder))) == documents


def test_shards_and_row_groups_keep_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DOCUMENTS_PER_SHARD", 5)
    monkeypatch.setattr(module, "ROWS_PER_GROUP", 2)
    then = datetime(2026, 1, 1, tzinfo=UTC)
    documents = [Document(str(n), "s", f"u{n}", then, f"text {n}") for n in range(12)]
    assert write_documents(tmp_path, iter(documents)) == 12
    assert [p.name for p in module.document_files(tmp_path)] == [f"documents-{n:05d}.parquet" for n in range(3)]
    assert list(read_documents(tmp_path)) == documents


def test_the_dropped_are_listed(tmp_path: Path) -> None:
    row = Dropped("i", "s", "u", "filter", "words", "3")
    assert write_dropped(tmp_path, [row]) == 1
    assert [Dropped(**r) for r in pq.read_table(tmp_path / "dropped-00000.parquet").to_pylist()] == [row]


def test_the_id_tells_source_url_and_text_apart() -> None:
    ids = {document_id(*parts) for parts in (("a", "b", "c"), ("ab", "", "c"), ("a", "bc", ""), ("", "ab", "c"))}
    assert len(ids) == 4
    assert all(len(i) == 32 and int(i, 16) >= 0 for i in ids)
