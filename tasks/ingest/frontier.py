"""The crawl's frontier on disk: every URL ever seen, what became of it, and the pages fetched.

Each outcome is one SQLite transaction in WAL mode, so a process killed at any moment loses only the
requests that were in flight. URLs come out level by level, and within a level by a hash of the URL: the
order, and so the choice of pages under a limit, does not depend on which answer came first.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

import xxhash

from tasks.ingest.pages import Page
from tasks.ingest.robots import RobotsFile

TABLES = """
CREATE TABLE IF NOT EXISTS urls (
    url TEXT PRIMARY KEY, rank INTEGER, depth INTEGER, hops INTEGER, state TEXT, reason TEXT, detail TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_rank ON urls (state, depth, rank);
CREATE TABLE IF NOT EXISTS pages (
    url TEXT PRIMARY KEY, fetched_at TEXT, status INTEGER, content_type TEXT, charset TEXT, etag TEXT,
    last_modified TEXT, body BLOB
);
CREATE TABLE IF NOT EXISTS robots (origin TEXT PRIMARY KEY, status INTEGER, body BLOB) WITHOUT ROWID;
"""
ADD = """
INSERT INTO urls VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (url) DO UPDATE
SET depth = excluded.depth, hops = excluded.hops, state = excluded.state, reason = excluded.reason
WHERE excluded.depth < urls.depth AND (urls.state = 'waiting' OR urls.reason = 'depth')
"""
OVER_THE_LIMIT = """
UPDATE urls SET state = 'skipped', reason = 'limit' WHERE state = 'fetched' AND url IN (
    SELECT url FROM (SELECT urls.url, sum(length(body)) OVER (ORDER BY depth, rank) AS total, depth, rank,
        row_number() OVER (ORDER BY depth, rank) AS number
        FROM urls JOIN pages USING (url) WHERE state = 'fetched')
    WHERE number > ? OR (total > ? AND number > 1))
"""


@dataclass(frozen=True)
class Visit:
    """A URL to fetch: ``depth`` links from the start, ``hops`` redirects in a row."""

    url: str
    depth: int
    hops: int


@dataclass(frozen=True)
class Link:
    """A URL that was seen. ``reason`` says why it must not be fetched, or is ""."""

    url: str
    depth: int
    hops: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Skip:
    """A URL that was not fetched.

    Attributes:
        reason: ``robots``, ``scope``, ``depth``, ``limit``, ``status``, ``error``, ``type``, ``size`` or ``redirect``.
        detail: the status, the error, the content type, the target.
    """

    url: str
    reason: str
    detail: str


class Frontier:
    """The frontier in the SQLite file ``path``; a context manager. One process at a time."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(TABLES)

    def __enter__(self) -> Frontier:
        return self

    def __exit__(self, *exception: object) -> None:
        self._db.close()

    def add(self, links: Iterable[Link]) -> None:
        """Remember URLs; those known already keep what they have, unless found nearer to the start."""
        with self._transaction():
            self._add(links)

    def fetched(self, page: Page, links: Iterable[Link]) -> None:
        """A page and the links on it, stored together."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO pages VALUES (?, ?, ?, ?, ?, ?, ?, ?)", astuple(page))
            self._db.execute("UPDATE urls SET state = 'fetched' WHERE url = ?", (page.url,))
            self._add(links)

    def skipped(self, skip: Skip, links: Iterable[Link] = ()) -> None:
        """A URL that gave no page; ``links`` holds the target of a redirect."""
        with self._transaction():
            self._db.execute(
                "UPDATE urls SET state = 'skipped', reason = ?, detail = ? WHERE url = ?",
                (skip.reason, skip.detail, skip.url),
            )
            self._add(links)

    def next(self, most: int) -> list[Visit]:
        """Up to ``most`` URLs of the shallowest level that still has any."""
        rows = self._db.execute(
            "SELECT url, depth, hops FROM urls WHERE state = 'waiting' AND depth = "
            "(SELECT min(depth) FROM urls WHERE state = 'waiting') ORDER BY rank LIMIT ?",
            (most,),
        )
        return [Visit(*row) for row in rows]

    def totals(self) -> tuple[int, int]:
        """Pages and bytes stored."""
        row = self._db.execute("SELECT count(*), coalesce(sum(length(body)), 0) FROM pages").fetchone()
        return int(row[0]), int(row[1])

    def finish(self, max_pages: int, max_bytes: int) -> None:
        """Count as skipped what waits still, and the pages beyond either limit, the deepest first."""
        with self._transaction():
            self._db.execute("UPDATE urls SET state = 'skipped', reason = 'limit' WHERE state = 'waiting'")
            self._db.execute(OVER_THE_LIMIT, (max_pages, max_bytes))

    def pages(self) -> Iterator[Page]:
        """The pages, sorted by URL."""
        query = "SELECT pages.* FROM pages JOIN urls USING (url) WHERE state = 'fetched' ORDER BY pages.url"
        for row in self._db.execute(query):
            yield Page(*row)

    def skips(self) -> Iterator[Skip]:
        """What was not fetched, sorted by URL."""
        for row in self._db.execute("SELECT url, reason, detail FROM urls WHERE state = 'skipped' ORDER BY url"):
            yield Skip(*row)

    def robots(self, origin: str) -> RobotsFile | None:
        """The robots.txt of an origin if it was asked for already."""
        row = self._db.execute("SELECT status, body FROM robots WHERE origin = ?", (origin,)).fetchone()
        return RobotsFile(*row) if row else None

    def remember_robots(self, origin: str, answer: RobotsFile) -> None:
        """Keep an origin's robots.txt, so that a crawl that goes on need not ask again."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO robots VALUES (?, ?, ?)", (origin, answer.status, answer.body))

    def _add(self, links: Iterable[Link]) -> None:
        rows = (
            (n.url, _rank(n.url), n.depth, n.hops, "skipped" if n.reason else "waiting", n.reason, "") for n in links
        )
        self._db.executemany(ADD, rows)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def _rank(url: str) -> int:
    return xxhash.xxh3_64_intdigest(url.encode()) >> 1
