"""The benchmarks' frame: both sides in turn, the same work or none, and a last line that programs read."""

from __future__ import annotations

import io
import json
import operator
import time
from collections.abc import Callable

import pytest
from rich.console import Console

from storage.steplog import Outcome
from tests.bench import frame
from tests.bench.frame import Comparison, Result, Side, available, main, show
from tests.bench.pipeline import figures


def sleeper(seconds: float, seen: list[str], name: str) -> Callable[[], int]:
    def work() -> int:
        seen.append(name)
        time.sleep(seconds)
        return 42

    return work


def test_sides_take_turns_and_the_faster_has_a_ratio_above_one() -> None:
    seen: list[str] = []
    peers = (Side("slow", sleeper(0.02, seen, "slow")), Side("fast", sleeper(0.0, seen, "fast")))
    result = Comparison(sleeper(0.005, seen, "ours"), peers, operator.eq, rounds=3, warm=1).run()
    assert seen == ["ours", "slow", "fast", "slow", "fast", "ours", "fast", "ours", "slow", "ours", "slow", "fast"]
    assert {name: len(seconds) for name, seconds in result.seconds.items()} == {"gristmill": 3, "slow": 3, "fast": 3}
    assert result.ratios["slow"] > 1 > result.ratios["fast"]
    assert result.notices == ()


def test_other_work_is_not_compared() -> None:
    with pytest.raises(RuntimeError, match="lazy did other work"):
        Comparison(lambda: 42, (Side("lazy", lambda: 41),), operator.eq, rounds=1).run()


def test_a_peer_that_is_not_installed_is_left_out_with_a_notice() -> None:
    def never() -> None:
        raise AssertionError

    peers = (Side("absent", never, needs=("no_such_module_at_all",)), Side("there", lambda: 1, needs=("json",)))
    result = Comparison(lambda: 1, peers, operator.eq, rounds=1).run()
    assert set(result.ratios) == {"there"}
    (told,) = result.notices
    assert "absent" in told
    assert ".[bench]" in told


def test_the_last_line_is_one_json_object() -> None:
    out = io.StringIO()
    result = Result({"peer": 2.0}, {"bytes": 7}, {"gristmill": [1.0, 3.0, 2.0], "peer": [4.0]}, ("a notice",))
    show("name", result, Console(file=out, width=60))
    lines = out.getvalue().splitlines()
    assert json.loads(lines[-1]) == {"bench": "name", "ratios": {"peer": 2.0}, "figures": {"bytes": 7}}
    shown = "\n".join(lines[:-1])
    for value in ("2.0000", "1.0000", "3.0000", "2.00", "a notice"):
        assert value in shown


def test_a_long_last_line_is_not_wrapped() -> None:
    out = io.StringIO()
    show("name", Result(figures={f"figure {n}": n for n in range(100)}), Console(file=out, width=20))
    assert len(json.loads(out.getvalue().splitlines()[-1])["figures"]) == 100


def test_the_benchmarks_are_found_by_their_files() -> None:
    assert "pipeline" in available()
    assert {"frame", "test_frame", "__main__"}.isdisjoint(available())


def test_main_runs_the_one_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("tests.bench.pipeline.benchmark", lambda: Result(figures={"seconds": 1.5}))
    main(["pipeline"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {
        "bench": "pipeline", "ratios": {}, "figures": {"seconds": 1.5},
    }  # fmt: skip


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(SystemExit, match=r"no benchmark 'speed'.*pipeline"):
        main(["speed"])


def test_orchestration_is_what_no_step_took() -> None:
    def outcome(step: str, label: str, name: str, seconds: float) -> Outcome:
        return Outcome("", step, label, "", name, "", seconds, 1)

    steps = [outcome("crawl", "web", "Completed", 6.0), outcome("encode", "", "Completed", 3.0),
             outcome("encode", "", "Skipped", 0.0)]  # fmt: skip
    found = figures(10.0, 2.0, steps)
    assert found["orchestration share"] == pytest.approx(0.1)
    assert (found["crawl-web seconds"], found["encode seconds"]) == (6.0, 3.0)
    assert (found["first run seconds"], found["second run seconds"]) == (10.0, 2.0)


def test_every_benchmark_can_be_imported() -> None:
    for name in available():
        module = frame.importlib.import_module(f"tests.bench.{name}")
        assert callable(module.benchmark)
