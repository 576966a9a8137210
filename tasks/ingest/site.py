"""The source type ``site``: which pages of the web to crawl, how far and how politely."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from storage.errors import require
from tasks.ingest.urls import canonical, host_of

USER_AGENT = "gristmill/0.1"


@dataclass(frozen=True)
class SiteSource:
    """A web site to crawl.

    Attributes:
        type: always ``site``.
        name: the source's name, unique in the recipe.
        start: http or https URLs to start from.
        hosts: hosts that may be crawled; empty means those of the start URLs.
        prefixes: URL prefixes that pages must have; empty means any page on an allowed host.
        max_pages: pages to keep.
        max_depth: links to follow from a start URL.
        max_bytes: largest page, in bytes after decompression.
        max_total_bytes: bytes of all pages together.
        delay_seconds: pause between two requests to one host; robots.txt may ask for a longer one.
        concurrency: requests in flight in all.
        per_host: requests in flight to one host.
        timeout_seconds: for one request, from connecting to the last byte.
        retries: further attempts after a timeout, a broken connection, 429 or 5xx.
        user_agent: sent with each request; the part before ``/`` is the name that robots.txt may address.
        allow_private_addresses: whether hosts on private, loopback or link-local addresses may be asked.
    """

    name: str
    start: tuple[str, ...]
    type: Literal["site"] = "site"
    hosts: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    max_pages: int = 10_000
    max_depth: int = 20
    max_bytes: int = 10_000_000
    max_total_bytes: int = 2_000_000_000
    delay_seconds: float = 1.0
    concurrency: int = 32
    per_host: int = 2
    timeout_seconds: float = 30.0
    retries: int = 2
    user_agent: str = USER_AGENT
    allow_private_addresses: bool = False

    def __post_init__(self) -> None:
        require(bool(self.name), "name", self.name, "a name")
        require(bool(self.start), "start", self.start, "at least one http or https URL")
        for url in (*self.start, *self.prefixes):
            require(canonical(url) is not None, "start or prefixes", url, "an http or https URL without credentials")
        for field in ("max_pages", "max_bytes", "max_total_bytes", "concurrency", "per_host", "timeout_seconds"):
            require(getattr(self, field) > 0, field, getattr(self, field), "above 0")
        for field in ("max_depth", "delay_seconds", "retries"):
            require(getattr(self, field) >= 0, field, getattr(self, field), "0 or more")
        agent = self.user_agent
        require(agent.isprintable() and bool(agent.partition("/")[0].strip()), "user_agent", agent, "a product name")

    @property
    def starts(self) -> tuple[str, ...]:
        """Canonical start URLs."""
        return tuple(filter(None, map(canonical, self.start)))

    @property
    def product(self) -> str:
        """The crawler's name as robots.txt knows it (RFC 9309 section 2.2.1)."""
        return self.user_agent.partition("/")[0].strip()

    def covers(self, url: str) -> bool:
        """Whether a canonical URL lies within the source's scope."""
        return host_of(url) in self._hosts and (not self._prefixes or url.startswith(self._prefixes))

    @cached_property
    def _hosts(self) -> frozenset[str]:
        return frozenset(host.lower() for host in self.hosts) or frozenset(map(host_of, self.starts))

    @cached_property
    def _prefixes(self) -> tuple[str, ...]:
        return tuple(filter(None, map(canonical, self.prefixes)))
