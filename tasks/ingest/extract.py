"""The step ``extract``: crawled pages become text documents."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from storage.artifact import Artifact
from storage.documents import Document, Dropped, document_id
from storage.errors import require
from tasks.ingest.html import Extracted, extract_html, tidy
from tasks.ingest.pages import Page, read_pages
from tasks.ingest.results import drop, is_garbled, write_results
from tasks.step import Work, step


@dataclass(frozen=True)
class ExtractConfig:
    """How pages become documents.

    Attributes:
        name: the name of the source whose pages they are.
    """

    name: str

    def __post_init__(self) -> None:
        require(bool(self.name), "name", self.name, "a source's name")


@step(kind="documents", libraries=("resiliparse",))
def extract(work: Work, config: ExtractConfig, pages: Artifact) -> dict[str, Any]:
    """Extract each page's main text, in the order of the pages (sorted by URL).

    Dropped, with stage ``extract``: pages that cannot be decoded (``undecodable``) or hold no text (``empty``).
    """

    def results() -> Iterator[Document | Dropped]:
        with work.progress("extracting", pages.statistics["pages"], "pages") as bar:
            for page in read_pages(pages.path):
                yield _document(config.name, page)
                bar.advance(1)

    return write_results(work.out, results())


def _document(source: str, page: Page) -> Document | Dropped:
    text, encoding = decode(page.body, page.charset)
    if is_garbled(text):
        return drop(source, page.url, "extract", "undecodable", encoding)
    found = extract_html(text) if page.content_type == "text/html" else Extracted("", tidy(text))
    if not found.text:
        return drop(source, page.url, "extract", "empty", f"{len(page.body)} bytes")
    return Document(
        id=document_id(source, page.url, found.text), source=source, url=page.url,
        fetched_at=datetime.fromisoformat(page.fetched_at), text=found.text,
        meta={"title": found.title, "content_type": page.content_type},
    )  # fmt: skip


def decode(body: bytes, charset: str) -> tuple[str, str]:
    """Text of a page and the encoding used: UTF-8 if it is that, else what the server says if it fits, else a guess."""
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    for encoding in filter(None, ("utf-8-sig", charset)):
        with contextlib.suppress(LookupError, UnicodeError):
            return body.decode(encoding), encoding.removesuffix("-sig")
    encoding = detect_encoding(body, html5_compatible=True) or "utf-8"
    return bytes_to_str(body, encoding, errors="replace"), encoding
