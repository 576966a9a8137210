"""A lease per key: two flows that want the same artifact do the work once.

``flock`` holds it, so that the kernel gives it back the moment its holder dies, however it dies.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger("gristmill.lease")
POLL_SECONDS = 0.2


@contextmanager
def lease(folder: Path, key: str) -> Iterator[None]:
    """Hold the lease of ``key`` below ``folder``; wait for another holder to finish or die first."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{key[:32]}.lock").open("a+") as file:
        _wait_for(file.fileno(), Path(file.name))
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid()}))
        file.flush()
        yield


def _wait_for(descriptor: int, path: Path) -> None:
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not told:
                log.info("waiting for the process that makes the same artifact: %s", path.read_text())
            told = True
            time.sleep(POLL_SECONDS)
