"""Canonical URLs: one spelling for each address, so that no page is fetched twice.

Normalisation after RFC 3986 section 6.2.2 and 6.2.3: case, percent-encoding, dot segments, default port,
empty path. The fragment is dropped, since it is never sent. The query keeps its order: servers may mind it.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

DEFAULT_PORTS = {"http": 80, "https": 443}
UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
PATH_SAFE = UNRESERVED | frozenset("/!$&'()*+,;=:@")
QUERY_SAFE = PATH_SAFE | frozenset("?")
LONGEST_URL = 2_000
TOKEN = re.compile(r"%([0-9A-Fa-f]{2})|(.)", re.DOTALL)
HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")


def canonical(url: str, base: str = "") -> str | None:
    """The one spelling of ``url``, resolved against ``base``; idempotent.

    Returns:
        None for what cannot be crawled: another scheme, no or an invalid host or port, credentials in
        the URL, more than 2,000 characters.
    """
    try:
        parts = urlsplit(urljoin(base, url.strip()))
        host, port = _host(parts.hostname or ""), parts.port
    except ValueError:
        return None
    if parts.scheme not in DEFAULT_PORTS or not host or "@" in parts.netloc:
        return None
    netloc = host if port in (None, DEFAULT_PORTS[parts.scheme]) else f"{host}:{port}"
    path = _without_dot_segments(_encode(parts.path, PATH_SAFE))
    result = urlunsplit((parts.scheme, netloc, path, _encode(parts.query, QUERY_SAFE), ""))
    return result if len(result) <= LONGEST_URL else None


def origin(url: str) -> str:
    """Scheme and host (and port) of a canonical URL: what one robots.txt speaks for."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def host_of(url: str) -> str:
    """Host of a canonical URL, without port and brackets."""
    return urlsplit(url).hostname or ""


def _host(name: str) -> str:
    """ASCII host name in lower case, IPv6 in brackets; "" if it is not a host name."""
    if ":" in name:
        return f"[{ipaddress.IPv6Address(name)}]"
    ascii_name = name.encode("idna").decode().lower().removesuffix(".")
    return ascii_name if HOST_NAME.fullmatch(ascii_name) else ""


def _encode(text: str, safe: frozenset[str]) -> str:
    """Percent-encode all that is not ``safe``; decode escapes of unreserved characters; hex in capitals."""

    def one(token: re.Match[str]) -> str:
        escape, character = token.groups()
        if escape is None:
            return str(character) if character in safe else quote(character, safe="", errors="replace")
        decoded = chr(int(escape, 16))
        return decoded if decoded in UNRESERVED else f"%{escape.upper()}"

    return TOKEN.sub(one, text)


def _without_dot_segments(path: str) -> str:
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments and segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
