from __future__ import annotations

from collections.abc import Callable

import pyarrow.parquet as pq
import pytest

from storage.artifact import Artifact, Store
from storage.documents import Document, read_documents
from storage.errors import GristmillError
from tasks.curate.filter import FilterConfig, filter_documents
from tasks.curate.quality import QualityConfig

ENGLISH = "The miller and his sons have to carry the sacks of grain with care, for that is the way of the mill. " * 4
GERMAN = "Der Müller und seine Söhne tragen die Säcke mit dem Korn, denn so ist es in der alten Mühle am Fluss. " * 4
CODE = "def grind(grain):\n    return [crush(kernel) for kernel in grain if kernel.is_ripe()]\n" * 3


def test_good_documents_are_kept_in_order_and_the_others_listed(
    store: Store, publish: Callable[..., Artifact], document: Callable[..., Document]
) -> None:
    texts = [ENGLISH, "short", GERMAN, ENGLISH + "More of it."]
    documents = [document(t) for t in texts] + [document(CODE, language="python")]
    config = FilterConfig(name="web", languages=("en", "python"))
    made = filter_documents(store, config, publish(documents))
    kept = list(read_documents(made.path))
    assert [d.id for d in kept] == [documents[i].id for i in (0, 3, 4)]
    assert [d.language for d in kept] == ["en", "en", "python"]
    dropped = pq.read_table(made.path / "dropped-00000.parquet").to_pylist()
    assert [(d["id"], d["stage"]) for d in dropped] == [(documents[i].id, "filter") for i in (1, 2)]
    assert (dropped[1]["rule"], dropped[1]["value"]) == ("language", "de")
    assert made.statistics["documents"] == 3
    assert made.statistics["languages"] == {"en": 2, "python": 1}
    assert sum(made.statistics["dropped_by_rule"].values()) == 2


def test_nothing_left_names_source_rule_and_remedy(
    store: Store, publish: Callable[..., Artifact], document: Callable[..., Document]
) -> None:
    documents = publish([document("too short", url=f"u{n}", language="en") for n in range(3)])
    with pytest.raises(GristmillError, match=r"'web'.*words 3.*min_words and max_words in filter\.quality"):
        filter_documents(store, FilterConfig(name="web"), documents)
    loose = QualityConfig(rules=("lorem_ipsum",))
    assert filter_documents(store, FilterConfig(name="web", quality=loose), documents).statistics["documents"] == 3


def test_an_empty_source_is_named(store: Store, publish: Callable[..., Artifact]) -> None:
    with pytest.raises(GristmillError, match="'web' has no documents"):
        filter_documents(store, FilterConfig(name="web"), publish([]))


def test_only_unwanted_languages_names_the_languages(
    store: Store, publish: Callable[..., Artifact], document: Callable[..., Document]
) -> None:
    with pytest.raises(GristmillError, match=r"language 1.*filter\.languages"):
        filter_documents(store, FilterConfig(name="web", languages=("fr",)), publish([document(ENGLISH)]))
