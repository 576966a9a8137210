"""The errors a user meets: each names the thing and says what to do about it."""

from __future__ import annotations


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
