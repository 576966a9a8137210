"""The pace at which one host is asked: so many requests at once, so long a pause between their starts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Pace:
    """Turns at one host.

    Args:
        delay: seconds between the starts of two requests.
        at_once: requests in flight to this host.
        everywhere: shared by all hosts; bounds the requests in flight in all.
    """

    def __init__(self, delay: float, at_once: int, everywhere: asyncio.Semaphore) -> None:
        self.delay = delay
        self._here = asyncio.Semaphore(at_once)
        self._everywhere = everywhere
        self._next = 0.0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for this host's turn, then for a free slot; hold both while the request runs."""
        async with self._here:
            now = asyncio.get_running_loop().time()
            start = max(now, self._next)
            self._next = start + self.delay
            await asyncio.sleep(start - now)
            async with self._everywhere:
                yield
