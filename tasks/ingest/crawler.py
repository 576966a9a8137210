"""The crawler: takes URLs from the frontier, asks politely, stores pages and the links on them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import aiohttp
from selectolax.lexbor import LexborHTMLParser

from monitoring.progress import Progress
from tasks.ingest.fetch import Answer, NotFetchedError, get, open_session
from tasks.ingest.frontier import Frontier, Link, Skip, Visit
from tasks.ingest.pace import Pace
from tasks.ingest.pages import Page
from tasks.ingest.robots import LARGEST_ROBOTS, RobotsFile, Rules
from tasks.ingest.site import SiteSource
from tasks.ingest.urls import canonical, origin

CONTENT_TYPES = frozenset({"text/html", "text/plain", "text/markdown", "text/x-markdown"})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_HOPS = 5
BATCH = 512


class Crawler:
    """One crawl of ``source`` on ``frontier``, begun or continued.

    URLs are taken in batches of one level; the number of pages still wanted bounds a batch, so that
    which pages are kept under a limit depends on the site alone.
    """

    def __init__(self, source: SiteSource, frontier: Frontier, session: aiohttp.ClientSession, bar: Progress) -> None:
        self._source, self._frontier, self._session, self._bar = source, frontier, session, bar
        self._slots = asyncio.Semaphore(source.concurrency)
        self._hosts: dict[str, asyncio.Task[tuple[Rules, Pace]]] = {}

    async def run(self) -> None:
        """Visit batch after batch until nothing waits or a limit is reached."""
        self._frontier.add(Link(url, 0) for url in self._source.starts)
        self._bar.at(self._frontier.totals()[0])
        while batch := self._next():
            await asyncio.gather(*map(self._visit, batch))

    def _next(self) -> list[Visit]:
        pages, size = self._frontier.totals()
        if pages >= self._source.max_pages or size >= self._source.max_total_bytes:
            return []
        return self._frontier.next(min(BATCH, self._source.max_pages - pages))

    async def _visit(self, visit: Visit) -> None:
        try:
            rules, pace = await self._host(origin(visit.url))
            if not rules.allow(visit.url):
                raise NotFetchedError("robots", rules.stop or "disallowed")
            answer = await get(self._session, self._source, visit.url, pace, self._source.max_bytes)
            self._keep(visit, answer)
        except NotFetchedError as error:
            self._frontier.skipped(Skip(visit.url, error.reason, error.detail))

    def _keep(self, visit: Visit, answer: Answer) -> None:
        target = answer.headers.get("location", "")
        if answer.status in REDIRECTS and target:
            self._redirect(visit, target)
            return
        page = _page(visit.url, answer)
        hrefs = _hrefs(page) if page.content_type == "text/html" else iter(())
        self._frontier.fetched(page, list(self._links(hrefs, visit.depth + 1)))
        self._bar.advance(1)

    def _redirect(self, visit: Visit, target: str) -> None:
        url = canonical(target, visit.url)
        if url is None or visit.hops == MAX_HOPS:
            raise NotFetchedError("redirect", "too many" if url else f"to {target[:200]}")
        link = Link(url, visit.depth, visit.hops + 1, "" if self._source.covers(url) else "scope")
        self._frontier.skipped(Skip(visit.url, "redirect", f"to {url}"), [link])

    def _links(self, urls: Iterator[str], depth: int) -> Iterator[Link]:
        too_deep = "depth" if depth > self._source.max_depth else ""
        for url in dict.fromkeys(urls):
            yield Link(url, depth, 0, too_deep if self._source.covers(url) else "scope")

    async def _host(self, at: str) -> tuple[Rules, Pace]:
        """The rules and the pace of an origin; robots.txt is asked for once."""
        if at not in self._hosts:
            self._hosts[at] = asyncio.create_task(self._meet(at))
        return await self._hosts[at]

    async def _meet(self, at: str) -> tuple[Rules, Pace]:
        pace = Pace(self._source.delay_seconds, self._source.per_host, self._slots)
        answer = self._frontier.robots(at)
        if answer is None:
            answer = await self._ask_robots(f"{at}/robots.txt", pace)
            self._frontier.remember_robots(at, answer)
        rules = Rules(answer, self._source.product)
        pace.delay = max(pace.delay, rules.delay)
        return rules, pace

    async def _ask_robots(self, url: str, pace: Pace) -> RobotsFile:
        """robots.txt, over at most five redirects (RFC 9309 section 2.3.1.2)."""
        for _ in range(MAX_HOPS + 1):
            try:
                answer = await get(self._session, self._source, url, pace, LARGEST_ROBOTS)
            except NotFetchedError as error:
                return RobotsFile(0, str(error).encode())
            target = canonical(answer.headers.get("location", ""), url)
            if answer.status not in REDIRECTS or target is None:
                return RobotsFile(answer.status, answer.body)
            url = target
        return RobotsFile(404, b"")


async def crawl_site(source: SiteSource, frontier: Frontier, bar: Progress) -> None:
    """Crawl until nothing waits or a limit is reached, and settle what the limits leave out."""
    async with open_session(source) as session:
        await Crawler(source, frontier, session, bar).run()
    frontier.finish(source.max_pages, source.max_total_bytes)


def _page(url: str, answer: Answer) -> Page:
    if answer.status != 200:
        raise NotFetchedError("status", str(answer.status))
    media, _, parameters = answer.headers.get("content-type", "").partition(";")
    content_type = media.strip().lower()
    if content_type not in CONTENT_TYPES:
        raise NotFetchedError("type", content_type or "none given")
    charset = parameters.lower().partition("charset=")[2].partition(";")[0].strip("\"' ")
    return Page(
        url, datetime.now(UTC).isoformat(), answer.status, content_type, charset,
        answer.headers.get("etag", ""), answer.headers.get("last-modified", ""), answer.body,
    )  # fmt: skip


def _hrefs(page: Page) -> Iterator[str]:
    """Canonical URLs of the links on an HTML page, resolved against its ``<base>``."""
    tree = LexborHTMLParser(page.body)
    base_node = tree.css_first("base[href]")
    base = canonical((base_node.attributes["href"] or "") if base_node else "", page.url) or page.url
    hrefs = ((node.attributes["href"] or "").partition("#")[0] for node in tree.css("a[href], area[href]"))
    return filter(None, (canonical(href, base) for href in dict.fromkeys(hrefs)))
