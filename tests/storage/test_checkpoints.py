"""Checkpoints: only what was committed and still verifies is loaded."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from storage.checkpoints import Checkpoint, Checkpoints


def commit(checkpoints: Checkpoints, step: int) -> Checkpoint:
    draft = checkpoints.draft(step)
    (draft / "state").mkdir(parents=True)
    (draft / "state" / "weights.pt").write_bytes(bytes(range(256)) * step)
    return checkpoints.commit(step, step * 8, "digest", 0, {"torch": "2"})


def test_the_newest_committed_checkpoint_is_found(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.newest() is None
    commit(checkpoints, 10)
    second = commit(checkpoints, 20)
    assert checkpoints.newest() == second
    assert (second.position, second.store) == (160, "digest")


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "record"])
def test_a_damaged_checkpoint_is_refused_by_name_for_the_one_before(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(tmp_path)
    first, second = commit(checkpoints, 10), commit(checkpoints, 20)
    file = second.path / "state" / "weights.pt"
    data = file.read_bytes()
    if damage == "truncate":
        file.write_bytes(data[:-1])
    elif damage == "flip":
        file.write_bytes(b"\xff" + data[1:])
    elif damage == "remove":
        file.unlink()
    else:
        (second.path / "checkpoint.json").write_text("{")
    with caplog.at_level(logging.WARNING):
        assert checkpoints.newest() == first
    assert "refused checkpoint" in caplog.text
    assert "step-00000020" in caplog.text


def test_an_unfinished_draft_is_no_checkpoint_and_is_cleared_away(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (10, 20, 30):
        commit(checkpoints, step)
    checkpoints.draft(40).mkdir()
    newest = checkpoints.newest()
    assert newest is not None
    assert newest.step == 30
    checkpoints.rotate(2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000020", "step-00000030"]
