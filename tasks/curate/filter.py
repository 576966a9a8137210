"""The step that keeps the documents of a source that are in the wanted languages and good enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from storage.artifact import Artifact
from storage.documents import Document, Dropped, read_documents, write_documents, write_dropped
from storage.errors import GristmillError
from tasks.curate.language import language_identifier
from tasks.curate.quality import RULES, QualityConfig, broken_rule
from tasks.step import Work, step

STAGE = "filter"


@dataclass(frozen=True)
class FilterConfig:
    """What a source's documents must be like.

    Attributes:
        name: the source.
        languages: languages to keep, natural (``en``) or of source code (``python``); none means any.
        quality: the quality rules.
    """

    name: str = ""
    languages: tuple[str, ...] = ()
    quality: QualityConfig = field(default_factory=QualityConfig)


@step(kind="documents", libraries=("py3langid",))
def filter_documents(work: Work, config: FilterConfig, documents: Artifact) -> dict[str, Any]:
    """Identify the language of each document and keep, in order, those that break no rule.

    Raises:
        GristmillError: nothing is left.
    """
    dropped: list[Dropped] = []
    languages: Counter[str] = Counter()
    kept = write_documents(work.out, _sift(work, config, documents, dropped, languages))
    write_dropped(work.out, dropped)
    rules = Counter(d.rule for d in dropped)
    if not kept:
        raise _nothing_left(config, rules)
    return {
        "documents": kept, "dropped": len(dropped), "dropped_by_rule": dict(sorted(rules.items())),
        "languages": dict(sorted(languages.items())),
    }  # fmt: skip


def _sift(
    work: Work, config: FilterConfig, documents: Artifact, dropped: list[Dropped], languages: Counter[str]
) -> Iterator[Document]:
    """The documents kept; the others are entered in ``dropped``, and what is kept counted by language."""
    identify: Callable[[Document], Document] = language_identifier()
    total = documents.statistics.get("documents")
    with work.progress("filter", total, "documents") as bar:
        for document in map(identify, read_documents(documents.path)):
            bar.advance()
            verdict = _verdict(document, config)
            if verdict is None:
                languages[document.language] += 1
                yield document
            else:
                dropped.append(Dropped(document.id, document.source, document.url, STAGE, *verdict))


def _verdict(document: Document, config: FilterConfig) -> tuple[str, str] | None:
    """The rule that drops the document and the value seen, or None."""
    if config.languages and document.language not in config.languages:
        return "language", document.language
    broken = broken_rule(document, config.quality)
    return (broken[0], f"{broken[1]:g}") if broken else None


def _nothing_left(config: FilterConfig, rules: Counter[str]) -> GristmillError:
    if not rules:
        return GristmillError(f"The source {config.name!r} has no documents.", "See what it reads, and from where.")
    counts = ", ".join(f"{rule} {count:,}" for rule, count in rules.most_common(3))
    worst = rules.most_common(1)[0][0]
    keys = "filter.languages" if worst == "language" else f"{RULES[worst].keys} in filter.quality"
    return GristmillError(
        f"No document of the source {config.name!r} is left after filtering: dropped by {counts}.",
        f"Loosen the rule {worst!r} ({keys}).",
    )
