"""The frame of every benchmark: same work, alternating, one table for people and one line of JSON for programs.

A benchmark is a module of this package with a function ``benchmark() -> Result``. Most are a
:class:`Comparison`: ours and each peer in turn, round after round, so that whatever else the machine does
falls on all alike; ratios hold where times do not.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import pkgutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

FRAME = {"frame", "__main__"}
OURS = "gristmill"


@dataclass(frozen=True)
class Side:
    """One of those compared.

    Attributes:
        name: as the table shows it.
        work: does the work once and returns what the check looks at.
        needs: modules that must be importable; without one the peer is left out.
    """

    name: str
    work: Callable[[], Any]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """What a benchmark found.

    Attributes:
        ratios: peer → theirs ÷ ours of the median seconds; above 1, ours is faster.
        figures: other numbers by name, the unit in the name.
        seconds: side → seconds of each round.
        notices: what the reader must know, such as a peer that is missing.
    """

    ratios: Mapping[str, float] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, Sequence[float]] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Ours and its peers on the same work.

    Attributes:
        ours: our side.
        peers: the others.
        same: whether ours and a peer's outcome show the same work; asked in each round.
        rounds: how often each is timed.
        warm: untimed rounds before.
    """

    ours: Callable[[], Any]
    peers: tuple[Side, ...]
    same: Callable[[Any, Any], bool]
    rounds: int = 5
    warm: int = 1

    def run(self) -> Result:
        """Alternate the sides.

        Raises:
            RuntimeError: a peer did other work than ours.
        """
        present = [peer for peer in self.peers if not missing(peer)]
        sides = [Side(OURS, self.ours), *present]
        seconds: dict[str, list[float]] = {side.name: [] for side in sides}
        for number in range(self.warm + self.rounds):
            turn = number % len(sides)
            timed = {side.name: timing(side.work) for side in sides[turn:] + sides[:turn]}
            self._check({name: outcome for name, (_, outcome) in timed.items()})
            if number >= self.warm:
                for name, (took, _) in timed.items():
                    seconds[name].append(took)
        middle = {name: statistics.median(all_) for name, all_ in seconds.items()}
        return Result(
            ratios={peer.name: middle[peer.name] / middle[OURS] for peer in present},
            figures={f"{name} seconds": value for name, value in middle.items()},
            seconds=seconds,
            notices=tuple(notice(peer) for peer in self.peers if missing(peer)),
        )

    def _check(self, outcomes: Mapping[str, Any]) -> None:
        for name, outcome in outcomes.items():
            if name != OURS and not self.same(outcomes[OURS], outcome):
                raise RuntimeError(f"{name} did other work than {OURS}, so their times do not compare.")


def missing(side: Side) -> list[str]:
    """The modules that a side needs and that are not installed."""
    return [module for module in side.needs if importlib.util.find_spec(module) is None]


def notice(side: Side) -> str:
    lacking = ", ".join(missing(side))
    return f"{side.name} is left out: {lacking} is not installed; pip install -e '.[bench]' brings it."


def timing(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that ``work`` took, and its outcome."""
    began = time.perf_counter()
    outcome = work()
    return time.perf_counter() - began, outcome


def available(folder: Path = Path(__file__).parent) -> list[str]:
    """Names of the benchmarks: the modules beside this one, but for the frame and the tests."""
    names = (module.name for module in pkgutil.iter_modules([str(folder)]))
    return sorted(name for name in names if name not in FRAME and not name.startswith("test_"))


def show(name: str, result: Result, console: Console) -> None:
    """The table, the notices, and as the last line one JSON object."""
    for row in table(name, result):
        console.print(row)
    for told in result.notices:
        console.print(told, style="yellow", highlight=False)
    console.file.write(json.dumps({"bench": name, "ratios": result.ratios, "figures": result.figures}) + "\n")
    console.file.flush()


def table(name: str, result: Result) -> Iterator[Table]:
    """Seconds and ratios, if sides were timed; then the other figures."""
    if result.seconds:
        times = Table("side", "median s", "min s", "max s", "theirs / ours", title=name)
        for side, seconds in result.seconds.items():
            ratio = f"{result.ratios[side]:.2f}" if side in result.ratios else ""
            times.add_row(side, *(f"{f(seconds):.4f}" for f in (statistics.median, min, max)), ratio)
        yield times
    figures = Table("figure", "value", title=name)
    for figure, value in result.figures.items():
        figures.add_row(figure, f"{value:,.3f}" if isinstance(value, float) else str(value))
    yield figures


def main(arguments: Sequence[str]) -> None:
    """Run the benchmarks named, or all.

    Raises:
        SystemExit: there is no benchmark of a name given.
    """
    known, console = available(), Console()
    unknown = [name for name in arguments if name not in known]
    if unknown:
        raise SystemExit(f"There is no benchmark {unknown[0]!r}. Known: {', '.join(known)}.")
    for name in arguments or known:
        show(name, importlib.import_module(f"{__package__}.{name}").benchmark(), console)
