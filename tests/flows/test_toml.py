"""Reading recipes: unknown keys, wrong types and impossible values are refused by file, key and what is allowed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from flows.toml import Reader
from storage.errors import GristmillError, require


@dataclass(frozen=True)
class Inner:
    rate: float = 0.1
    mode: Literal["fast", "slow"] = "fast"

    def __post_init__(self) -> None:
        require(self.rate > 0, "rate", self.rate, "above 0")


@dataclass(frozen=True)
class Apple:
    name: str
    type: Literal["apple"] = "apple"


@dataclass(frozen=True)
class Pear:
    name: str
    type: Literal["pear"] = "pear"


@dataclass(frozen=True)
class Outer:
    steps: int = 1
    on: bool = False
    names: tuple[str, ...] = ()
    inner: Inner = field(default_factory=Inner)
    fruit: tuple[Apple | Pear, ...] = ()
    maybe: Inner | None = None


def read(**given: Any) -> Outer:
    return Reader("my.toml").table(Outer, given)


def test_a_good_table_becomes_its_dataclass() -> None:
    fruit = [{"type": "pear", "name": "a"}, {"type": "apple", "name": "b"}]
    got = read(steps=3, names=["x"], inner={"rate": 1}, fruit=fruit, maybe={"mode": "slow"})
    assert got == Outer(3, False, ("x",), Inner(1.0), (Pear("a"), Apple("b")), Inner(mode="slow"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"stesp": 1}, r'my\.toml: stesp is not a known key\. Did you mean "steps"\?'),
        ({"inner": {"rat": 1}}, r'inner\.rat is not a known key\. Did you mean "rate"'),
        ({"steps": "3"}, r"steps = '3' has the wrong type\. It must be an integer"),
        ({"steps": True}, r"steps = True has the wrong type"),
        ({"steps": 1.5}, r"steps = 1\.5 has the wrong type"),
        ({"names": "x"}, r"names = 'x' has the wrong type\. It must be a list, each item a string"),
        ({"names": [1]}, r"names\[0\] = 1 has the wrong type"),
        ({"inner": {"rate": -1}}, r"inner\.rate = -1\.0 cannot work\. It must be above 0"),
        ({"inner": {"mode": "warp"}}, r'inner\.mode = \'warp\' has the wrong type\. It must be one of "fast", "slow"'),
        ({"inner": 3}, r"inner = 3 has the wrong type\. It must be a table"),
        ({"fruit": [{"type": "plum"}]}, r'fruit\[0\]\.type = \'plum\' is not known\. .* one of "apple", "pear"'),
        ({"fruit": [{"type": "pear"}]}, r"fruit\[0\]\.name is missing\. Give it a string"),
        ({"maybe": {"rate": 0}}, r"maybe\.rate = 0\.0 cannot work"),
    ],
)
def test_a_bad_table_is_refused_by_file_key_and_remedy(given: dict[str, Any], message: str) -> None:
    with pytest.raises(GristmillError, match=message):
        read(**given)
