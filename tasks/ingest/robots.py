"""What a host's robots.txt allows (RFC 9309)."""

from __future__ import annotations

from dataclasses import dataclass

from protego import Protego

LARGEST_ROBOTS = 500 * 1024
LONGEST_DELAY = 60.0


@dataclass(frozen=True)
class RobotsFile:
    """The answer to a request for robots.txt: its status (0 if the host could not be reached) and body."""

    status: int
    body: bytes


class Rules:
    """The rules of one origin for one crawler.

    An answer in the 400s means that all is allowed, one in the 500s or none at all means that nothing is
    (RFC 9309 sections 2.3.1.3 and 2.3.1.4). A host that asks for a pause of over a minute is left alone.

    Args:
        answer: what the host said.
        product: the crawler's name, without version.

    Attributes:
        stop: why nothing on this host may be fetched, or "".
        delay: seconds that the host wants between two requests.
    """

    def __init__(self, answer: RobotsFile, product: str) -> None:
        text = answer.body.decode("utf-8", "replace") if answer.status == 200 else ""
        self._file, self._product = Protego.parse(text), product
        self.delay = float(self._file.crawl_delay(product) or 0.0)
        self.stop = _stop(answer.status, self.delay)

    def allow(self, url: str) -> bool:
        """Whether a URL of this origin may be fetched."""
        return not self.stop and bool(self._file.can_fetch(url, self._product))


def _stop(status: int, delay: float) -> str:
    if status == 0:
        return "robots.txt could not be fetched"
    if status >= 500:
        return f"robots.txt answered {status}"
    return f"robots.txt asks for {delay:g} s between requests" if delay > LONGEST_DELAY else ""
