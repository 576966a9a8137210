"""One polite HTTP GET: size and time limits, retries, and no way into private networks."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from tasks.ingest.pace import Pace
from tasks.ingest.site import SiteSource
from tasks.ingest.urls import host_of

RETRY_STATUS = {429, 500, 502, 503, 504}
LONGEST_RETRY_PAUSE = 60.0
ACCEPT = "text/html, text/plain;q=0.9, text/markdown;q=0.9, */*;q=0.1"


class NotFetchedError(Exception):
    """Why a URL gave no answer: ``reason`` as in :class:`tasks.ingest.frontier.Skip`, and its detail."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Answer:
    """A server's answer; ``body`` is empty unless the status is 200."""

    status: int
    headers: dict[str, str]
    body: bytes


class PublicResolver(AbstractResolver):
    """DNS answers without private, loopback and link-local addresses.

    The connection is made to the very addresses that were checked, so a second answer cannot slip in.
    """

    def __init__(self) -> None:
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The public addresses of ``host``; NotFetchedError if it has none."""
        found = await self._inner.resolve(host, port, family)
        public = [answer for answer in found if is_public(answer["host"])]
        if not public:
            raise NotFetchedError("error", PRIVATE.format(host=host))
        return public

    async def close(self) -> None:
        """Release what the system's resolver holds."""
        await self._inner.close()


PRIVATE = "{host} is a private address (set allow_private_addresses = true to crawl it)"


def is_public(address: str) -> bool:
    """Whether an IP address is reachable on the public internet (IANA's special-purpose registries)."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_global and not (mapped or ip).is_multicast


def open_session(source: SiteSource) -> aiohttp.ClientSession:
    """A session that keeps to the source's limits; no cookies, no proxies from the environment."""
    resolver = None if source.allow_private_addresses else PublicResolver()
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=source.concurrency, resolver=resolver),
        timeout=aiohttp.ClientTimeout(total=source.timeout_seconds),
        headers={"User-Agent": source.user_agent, "Accept": ACCEPT},
        cookie_jar=aiohttp.DummyCookieJar(),
    )


async def get(session: aiohttp.ClientSession, source: SiteSource, url: str, pace: Pace, largest: int) -> Answer:
    """GET ``url``, each attempt in the host's turn; redirects are returned, not followed.

    Raises:
        NotFetchedError: too large, not reachable, or on an address that is not allowed.
    """
    if not source.allow_private_addresses and _is_private_literal(host_of(url)):
        raise NotFetchedError("error", PRIVATE.format(host=host_of(url)))
    for attempt in range(source.retries + 1):
        last = attempt == source.retries
        pause = max(source.delay_seconds, 0.1) * 2**attempt
        try:
            async with pace.turn():
                answer = await _once(session, url, largest)
            if answer.status not in RETRY_STATUS or last:
                return answer
            pause = _retry_after(answer, pause)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if last:
                raise NotFetchedError("error", _describe(error)) from error
        await asyncio.sleep(min(pause, LONGEST_RETRY_PAUSE))
    raise AssertionError("unreachable: the last attempt returns or raises")


async def _once(session: aiohttp.ClientSession, url: str, largest: int) -> Answer:
    async with session.get(URL(url, encoded=True), allow_redirects=False) as response:
        body = await _read(response, largest) if response.status == 200 else b""
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, headers, body)


async def _read(response: aiohttp.ClientResponse, largest: int) -> bytes:
    chunks, size = [], 0
    async for chunk in response.content.iter_chunked(65_536):
        size += len(chunk)
        if size > largest:
            raise NotFetchedError("size", f"over {largest:,} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _retry_after(answer: Answer, otherwise: float) -> float:
    """Seconds of a Retry-After header; its date form counts as not given."""
    value = answer.headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() else otherwise


def _is_private_literal(host: str) -> bool:
    try:
        return not is_public(host)
    except ValueError:
        return False


def _describe(error: BaseException) -> str:
    """The error's kind without addresses of the moment, so that two crawls of one site say the same."""
    inner: Any = getattr(error, "os_error", error)
    return type(inner).__name__ if not isinstance(error, aiohttp.ClientConnectorDNSError) else "host name not found"
