"""The step ``crawl``: a site becomes pages, and a list of what was not fetched and why."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from storage.artifact import Artifact
from storage.errors import GristmillError
from tasks.ingest.crawler import crawl_site
from tasks.ingest.frontier import Frontier, Skip
from tasks.ingest.pages import Page, read_pages, write_pages
from tasks.ingest.site import SiteSource
from tasks.step import Work, step

SKIPPED_SCHEMA = pa.schema([("url", pa.string()), ("reason", pa.string()), ("detail", pa.string())])


@step(kind="pages", libraries=("aiohttp", "protego", "selectolax"))
def crawl(work: Work, source: SiteSource, snapshot: str) -> dict[str, Any]:
    """Crawl a site politely; a run that was killed is continued by the next.

    Writes ``pages-*.parquet`` (:mod:`tasks.ingest.pages`) and ``skipped.parquet`` (url, reason, detail).
    A page whose body is the same as in the source's last crawl keeps that crawl's time and validators, so
    that a site that has not changed gives an identical artifact.

    Args:
        source: what to crawl.
        snapshot: a label or date; a new one means to crawl anew.

    Raises:
        GristmillError: the site cannot be reached, forbids every start URL, or gives no page.
    """
    path = work.scratch / "frontier.sqlite"
    with Frontier(path) as frontier, work.progress("crawling", None, "pages") as bar:
        asyncio.run(crawl_site(source, frontier, bar))
        before = work.store.latest("crawl", source.name)
        pages, size = write_pages(work.out, _with_old_times(frontier.pages(), before))
        reasons = write_skipped(work.out, frontier.skips())
        failure = None if pages else _nothing_fetched(source, list(frontier.skips()))
    if failure:
        path.unlink()
        raise failure
    return {"pages": pages, "bytes": size, "skipped": dict(sorted(reasons.items()))}


def write_skipped(folder: Path, skips: Iterable[Skip]) -> Counter[str]:
    """Write ``skipped.parquet``; return how many there were of each reason."""
    rows = list(skips)
    columns = zip(*map(astuple, rows), strict=True) if rows else [[], [], []]
    table = pa.table([pa.array(column, pa.string()) for column in columns], schema=SKIPPED_SCHEMA)
    pq.write_table(table, folder / "skipped.parquet", compression="zstd")
    return Counter(skip.reason for skip in rows)


def _with_old_times(pages: Iterable[Page], before: Artifact | None) -> Iterator[Page]:
    """The pages, those that are unchanged with the time and validators of the crawl ``before``."""
    old = {page.url: _stamp(page) for page in read_pages(before.path)} if before else {}
    for page in pages:
        same, fetched_at, etag, last_modified = old.get(page.url, (b"", "", "", ""))
        if same == _print(page):
            yield replace(page, fetched_at=fetched_at, etag=etag, last_modified=last_modified)
        else:
            yield page


def _stamp(page: Page) -> tuple[bytes, str, str, str]:
    return _print(page), page.fetched_at, page.etag, page.last_modified


def _print(page: Page) -> bytes:
    return xxhash.xxh3_128_digest(b"\0".join([page.content_type.encode(), page.charset.encode(), page.body]))


def _nothing_fetched(source: SiteSource, skips: list[Skip]) -> GristmillError:
    first = next((skip for skip in skips if skip.url in source.starts), skips[0])
    if first.reason == "robots" and first.detail == "disallowed":
        return GristmillError(
            f"The robots.txt of {first.url} forbids {source.product} to crawl it.",
            f"Ask its owner, or choose other `start` URLs for the source {source.name!r}.",
        )
    return GristmillError(
        f"Nothing could be fetched from {first.url} ({first.reason}: {first.detail}).",
        f"Check the address and the network, or change `start` of the source {source.name!r}, and run again.",
    )
