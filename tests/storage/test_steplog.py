"""The step log: what became of each step, and why, in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from storage.artifact import Artifact, Identity, Store
from storage.steplog import StepLog, differences, why

IDENTITY = Identity(
    "grind", "rye", {"mill.grind": "aa"}, {"mill": {"stones": 2, "speed": 1.5}}, {"grain": "1" * 64}, {"numpy": "2.0"}
)


def artifact(identity: Identity) -> Artifact:
    then = "2026-01-02T03:04:05.678+00:00"
    return Artifact("pages", identity, identity.key, "digest", (), {}, then, 1.25, {}, Path("/nowhere"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"configuration": {"mill": {"stones": 3, "speed": 1.5}}}, "configuration mill.stones: 2 → 3"),
        ({"configuration": {"mill": {"stones": 2}}}, "configuration mill.speed: 1.5 → none"),
        ({"inputs": {"grain": "2" * 64}}, "inputs grain: 111111111111… → 222222222222…"),
        ({"libraries": {"numpy": "2.1"}}, "libraries numpy: 2.0 → 2.1"),
        ({"code": {"mill.grind": "bb"}}, "code changed: mill.grind"),
        ({"code": {"mill.grind": "aa", "mill.sift": "cc"}}, "code reached or left: mill.sift"),
        ({"label": "wheat"}, ""),
    ],
)
def test_each_difference_is_named_with_both_values(change: dict[str, object], said: str) -> None:
    assert "; ".join(differences(IDENTITY, replace(IDENTITY, **change))) == said


def test_the_reasons_to_run() -> None:
    changed = replace(IDENTITY, libraries={"numpy": "2.1"}, code={"mill.grind": "bb"})
    assert why(IDENTITY, None) == "never ran before"
    assert why(IDENTITY, artifact(IDENTITY)) == "its artifact was removed"
    assert why(changed, artifact(IDENTITY)) == "libraries numpy: 2.0 → 2.1; code changed: mill.grind"


def test_outcomes_are_read_back_in_order(tmp_path: Path) -> None:
    log = StepLog(Store(tmp_path))
    assert list(log.read()) == []
    told = [
        log.ran(artifact(IDENTITY), "never ran before"),
        log.skipped(artifact(IDENTITY)),
        log.failed(IDENTITY, IDENTITY.key, "why", 2.0, ValueError("no grain")),
    ]
    assert list(log.read()) == told
    assert [o.name for o in told] == ["Completed", "Skipped", "Failed"]
    assert told[1].reason == "same code, configuration and inputs as on 2026-01-02 03:04:05 UTC"
    assert told[2].reason == "why; stopped by ValueError: no grain"
    assert {o.artifact for o in told} == {f"grind-rye-{IDENTITY.key[:12]}"}


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\n", "\x1c"])
def test_a_reason_with_any_line_separator_stays_one_line(tmp_path: Path, separator: str) -> None:
    log = StepLog(Store(tmp_path))
    outcome = log.ran(artifact(IDENTITY), f"rye{separator}wheat")
    assert list(log.read()) == [outcome]
