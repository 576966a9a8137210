"""The errors a user meets: each names the thing and says what to do about it."""

from __future__ import annotations

import shutil
from pathlib import Path


class GristmillError(Exception):
    """What went wrong, with the thing's name, and the remedy.

    Args:
        what: one sentence that names the thing (a URL, a file, a step).
        remedy: what the user can do now.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what} {remedy}" if remedy else what)
        self.what = what
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[GristmillError], tuple[str, str]]:
        return type(self), (self.what, self.remedy)


FULL = ("No space left on device", "database or disk is full", "Disk quota exceeded")
"""How the system, SQLite, and through them every library and worker, say that a disk is full."""
NEXT_TO_NOTHING_BYTES = 1 << 20


def full_disk(error: BaseException, folder: Path) -> GristmillError | None:
    """What to raise if ``error``, or what caused it, came of a full disk below ``folder``; None if it did not.

    Some writers do not pass on the system's words; with next to nothing free, the disk is the cause all the same.
    """
    free = shutil.disk_usage(next(f for f in (folder, *folder.parents) if f.exists())).free
    told: BaseException | None = error
    while told is not None and not any(words in str(told) for words in FULL):
        told = told.__cause__ or told.__context__
    if told is None and free > NEXT_TO_NOTHING_BYTES:
        return None
    return GristmillError(
        f"The disk of {folder} is full ({free:,} bytes are free); nothing half-written was kept. "
        f"The work ended with {type(error).__name__}: {str(error).partition(chr(10))[0]:.200}.",
        "Free some space, or set GRISTMILL_HOME to a folder on a larger disk, and run the same command again.",
    )


class ConfigError(ValueError):
    """A configuration value that cannot work: raised by the dataclass that owns the key.

    Args:
        key: the field's name.
        value: what was given.
        allowed: what is allowed, in words.
    """

    def __init__(self, key: str, value: object, allowed: str) -> None:
        super().__init__(f"{key} = {value!r}: must be {allowed}")
        self.key = key
        self.value = value
        self.allowed = allowed


def require(condition: bool, key: str, value: object, allowed: str) -> None:
    """Raise :class:`ConfigError` for ``key`` unless ``condition`` holds."""
    if not condition:
        raise ConfigError(key, value, allowed)
