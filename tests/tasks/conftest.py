"""Documents and a store of their own, for tests of the stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from storage.artifact import Artifact, Identity, Store
from storage.documents import Document, document_id, write_documents

Publish = Callable[..., Artifact]
THEN = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "mill")


@pytest.fixture
def document() -> Callable[..., Document]:
    def make(text: str, source: str = "web", url: str = "http://site/page", language: str = "und") -> Document:
        return Document(document_id(source, url, text), source, url, THEN, text, language)

    return make


@pytest.fixture
def publish(store: Store) -> Publish:
    """Publish documents as an ingesting step would."""

    def make(documents: Sequence[Document], label: str = "web") -> Artifact:
        identity = Identity("read", label, {}, {"ids": [d.id for d in documents]}, {}, {})
        folder = store.building(identity.key)
        folder.mkdir(parents=True)
        count = write_documents(folder, documents)
        return store.publish(
            Artifact(
                "documents", identity, identity.key, "", (), {"documents": count}, THEN.isoformat(), 0.0, {}, folder
            )
        )

    return make
