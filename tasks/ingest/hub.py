"""The source type ``hub``: Hugging Face data sets, from the hub or from local files, streamed or not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from storage.documents import Document, Dropped, document_id
from storage.errors import GristmillError, require
from tasks.ingest.results import drop, write_results
from tasks.step import Work, step


@dataclass(frozen=True)
class HubSource:
    """A data set that the library ``datasets`` can load without running code of the data set's own.

    Attributes:
        type: always ``hub``.
        name: the source's name, unique in the recipe.
        dataset: name on the hub (``wikitext``), or a builder for ``data_files``: json, parquet, text, csv, arrow.
        config_name: the data set's configuration; "" for its default.
        split: which split.
        revision: branch, tag or commit on the hub; a commit makes the source reproducible.
        data_files: local paths or globs for a builder.
        streaming: read row by row, without a copy in the cache.
        text_field: the column that holds the text.
        url_field: the column that holds each row's URL; "" names rows by their number.
        max_documents: documents to keep; 0 means all.
    """

    name: str
    dataset: str
    type: Literal["hub"] = "hub"
    config_name: str = ""
    split: str = "train"
    revision: str = ""
    data_files: tuple[str, ...] = ()
    streaming: bool = True
    text_field: str = "text"
    url_field: str = ""
    max_documents: int = 0

    def __post_init__(self) -> None:
        for field in ("name", "dataset", "split", "text_field"):
            require(bool(getattr(self, field)), field, getattr(self, field), "not empty")
        require(self.max_documents >= 0, "max_documents", self.max_documents, "0 or more")


@step(kind="documents", libraries=("datasets",))
def read_hub(work: Work, source: HubSource) -> dict[str, Any]:
    """Read the rows of a data set as documents, in their order; rows without text are dropped.

    Raises:
        GristmillError: the data set, its split or its text column cannot be had.
    """
    rows = _load(source, work.scratch)
    with work.progress("reading", source.max_documents or None, "documents") as bar:

        def results() -> Iterator[Document | Dropped]:
            for number, row in enumerate(rows):
                yield _document(source, number, row)
                bar.advance(1)

        return write_results(work.out, results(), source.max_documents)


def _load(source: HubSource, cache: Path) -> Iterable[Mapping[str, Any]]:
    import datasets

    try:
        rows = datasets.load_dataset(
            source.dataset, source.config_name or None, split=source.split, revision=source.revision or None,
            data_files=list(source.data_files) or None, streaming=source.streaming, cache_dir=str(cache),
        )  # fmt: skip
        columns = rows.column_names or list(next(iter(rows)))
    except (OSError, ValueError, datasets.exceptions.DatasetsError, StopIteration) as error:
        raise GristmillError(
            f"The data set {source.dataset!r} of the source {source.name!r} could not be loaded: {error}",
            "Check its name, `config_name`, `split`, `revision` and `data_files`, and the network.",
        ) from error
    if source.text_field not in columns:
        raise GristmillError(
            f"The data set {source.dataset!r} has no column {source.text_field!r}; it has {', '.join(columns)}.",
            f"Set `text_field` of the source {source.name!r} to one of them.",
        )
    return rows  # type: ignore[no-any-return]


def _document(source: HubSource, number: int, row: Mapping[str, Any]) -> Document | Dropped:
    url = str(row.get(source.url_field) or _row_url(source, number))
    text = row[source.text_field]
    if not isinstance(text, str) or not text.strip():
        return drop(source.name, url, "ingest", "empty", source.text_field)
    meta = {"dataset": source.dataset, "revision": source.revision, "row": number}
    return Document(document_id(source.name, url, text), source.name, url, None, text, meta=meta)


def _row_url(source: HubSource, number: int) -> str:
    parts = "/".join(filter(None, (source.dataset, source.config_name, source.split)))
    return f"hf://datasets/{parts}#{number}"
