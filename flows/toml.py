"""From a TOML table to a frozen dataclass: every key known, every value of its type, or one clear error."""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from storage.errors import ConfigError, GristmillError

T = TypeVar("T")
NAMES = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}


class Reader:
    """Reads the tables of one file; errors name the file and the dotted key.

    Args:
        file: the file's path, for messages.
    """

    def __init__(self, file: str) -> None:
        self.file = file

    def table(self, kind: type[T], given: Mapping[str, Any], key: str = "") -> T:
        """A ``kind`` made of the table ``given`` that stands at ``key``."""
        hints = get_type_hints(kind)
        names = [f.name for f in fields(kind)]  # type: ignore[arg-type]
        for name in given:
            if name not in names:
                raise self._unknown(_join(key, name), name, names)
        values = {name: self._value(hints[name], value, _join(key, name)) for name, value in given.items()}
        for field in fields(kind):  # type: ignore[arg-type]
            if field.name not in values and field.default is MISSING and field.default_factory is MISSING:
                raise self._error(_join(key, field.name), "is missing", f"Give it {_describe(hints[field.name])}.")
        try:
            return kind(**values)
        except ConfigError as error:
            what = f"= {error.value!r} cannot work"
            raise self._error(_join(key, error.key), what, f"It must be {error.allowed}.") from error

    def _value(self, hint: Any, value: Any, key: str) -> Any:
        origin = get_origin(hint)
        if origin in (Union, types.UnionType):
            return self._union(get_args(hint), value, key)
        if origin is tuple:
            if not isinstance(value, list):
                raise self._wrong(key, value, hint)
            return tuple(self._value(get_args(hint)[0], item, f"{key}[{i}]") for i, item in enumerate(value))
        if is_dataclass(hint) and isinstance(hint, type):
            if not isinstance(value, dict):
                raise self._wrong(key, value, hint)
            return self.table(hint, value, key)
        if not _fits(hint, value):
            raise self._wrong(key, value, hint)
        return float(value) if hint is float else value

    def _union(self, choices: tuple[Any, ...], value: Any, key: str) -> Any:
        """A value that may be absent; or one of several tables, told apart by their ``type``."""
        given = [c for c in choices if c is not type(None)]
        if len(given) == 1:
            return self._value(given[0], value, key)
        tables = {_tag(c): c for c in given}
        tag = value.get("type") if isinstance(value, dict) else None
        if tag not in tables:
            allowed = ", ".join(f'"{t}"' for t in tables)
            raise self._error(_join(key, "type"), f"= {tag!r} is not known", f"It must be one of {allowed}.")
        return self._value(tables[tag], value, key)

    def _unknown(self, key: str, name: str, names: list[str]) -> GristmillError:
        close = difflib.get_close_matches(name, names, 1)
        guess = f'Did you mean "{close[0]}"? ' if close else ""
        return self._error(key, "is not a known key", f"{guess}Known here: {', '.join(names)}.")

    def _wrong(self, key: str, value: Any, hint: Any) -> GristmillError:
        return self._error(key, f"= {value!r} has the wrong type", f"It must be {_describe(hint)}.")

    def _error(self, key: str, what: str, remedy: str) -> GristmillError:
        return GristmillError(f"{self.file}: {key} {what}.", remedy)


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _tag(kind: Any) -> str:
    return str(get_args(get_type_hints(kind)["type"])[0])


def _fits(hint: Any, value: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


def _describe(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(f'"{c}"' for c in get_args(hint))
    if get_origin(hint) is tuple:
        return f"a list, each item {_describe(get_args(hint)[0])}"
    return NAMES.get(hint, "a table")
