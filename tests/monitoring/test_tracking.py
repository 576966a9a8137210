"""Tracking in a real MLflow store: one run a logical run, each step once, and never in the way of the work."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from monitoring import tracking
from monitoring.events import EventLog
from monitoring.tracking import EXPERIMENT, STEP_METRICS, Tracker, connect, following, tracking_uri

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
RUN = "pretrain-base-0123456789ab"


class Crash(BaseException):
    """The work's process is gone: nothing after it was done."""


def log_steps(folder: Path, first: int, last: int, loss: float = 0.0) -> None:
    log = EventLog(folder / "events.jsonl")
    for step in range(first, last + 1):
        log.add("step", step=step, tokens=64, **dict.fromkeys(STEP_METRICS, 0.5) | {"loss": step + loss})


def checkpoint(folder: Path, step: int) -> None:
    EventLog(folder / "events.jsonl").add("checkpoint", step=step)


def history(home: Path, metric: str = "train/loss") -> list[tuple[int, float]]:
    client = connect(home)
    (run,) = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    return [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, metric)]


def status(home: Path) -> str:
    client = connect(home)
    (run,) = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    return str(run.info.status)


def test_only_committed_steps_are_sent_and_a_replay_draws_no_zig_zag(home: Path, tmp_path: Path) -> None:
    first = Tracker(home, RUN, {"seed": 0})
    log_steps(tmp_path, 1, 7)
    checkpoint(tmp_path, 4)
    with pytest.raises(Crash), following(first, tmp_path):
        raise Crash
    assert history(home) == [(s, float(s)) for s in (1, 2, 3, 4)]
    assert status(home) == "FAILED"
    second = Tracker(home, RUN, {"seed": 0})
    with following(second, tmp_path):
        EventLog(tmp_path / "events.jsonl").add("start", step=4)
        log_steps(tmp_path, 5, 8, loss=0.25)
        checkpoint(tmp_path, 8)
    assert history(home) == [(s, float(s)) for s in (1, 2, 3, 4)] + [(s, s + 0.25) for s in (5, 6, 7, 8)]
    assert second.run_id == first.run_id
    assert status(home) == "FINISHED"


def test_steps_of_a_refused_checkpoint_are_sent_as_they_are_done_again(home: Path, tmp_path: Path) -> None:
    log_steps(tmp_path, 1, 8)
    for step in (4, 8):
        checkpoint(tmp_path, step)
    EventLog(tmp_path / "events.jsonl").add("start", step=4)
    log_steps(tmp_path, 5, 5, loss=0.25)
    with pytest.raises(Crash), following(Tracker(home, RUN, {}), tmp_path):
        raise Crash
    assert history(home) == [(s, float(s)) for s in (1, 2, 3, 4)]
    with following(Tracker(home, RUN, {}), tmp_path):
        EventLog(tmp_path / "events.jsonl").add("start", step=4)
        log_steps(tmp_path, 5, 8, loss=0.25)
        checkpoint(tmp_path, 8)
    assert history(home) == [(s, float(s)) for s in (1, 2, 3, 4)] + [(s, s + 0.25) for s in (5, 6, 7, 8)]


def test_a_checkpoint_whose_event_was_lost_counts_when_the_run_resumes_there(home: Path, tmp_path: Path) -> None:
    log_steps(tmp_path, 1, 4)
    with following(Tracker(home, RUN, {}), tmp_path):
        EventLog(tmp_path / "events.jsonl").add("start", step=4)
    assert [step for step, _ in history(home)] == [1, 2, 3, 4]


def test_the_thread_sends_while_the_work_goes_on(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    monkeypatch.setattr(tracking, "SEND_EVERY_SECONDS", 0.05)
    with following(Tracker(home, RUN, {}), tmp_path):
        log_steps(tmp_path, 1, 2)
        checkpoint(tmp_path, 2)
        deadline = time.monotonic() + 30
        while not (tmp_path / "tracked.json").is_file() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [step for step, _ in history(home)] == [1, 2]


def test_a_store_out_of_reach_costs_one_warning_and_its_steps_are_sent_later(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracking, "SEND_EVERY_SECONDS", 0.02)
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "gristmill.tracking"):
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with following(Tracker(home, RUN, {}), tmp_path):
            log_steps(tmp_path, 1, 3)
            checkpoint(tmp_path, 3)
    warnings = [r.getMessage() for r in caplog.records if r.name == "gristmill.tracking"]
    assert len(warnings) == 1
    assert "http://127.0.0.1:9 cannot be reached" in warnings[0]
    with following(Tracker(home, RUN, {}), tmp_path):
        pass
    assert [step for step, _ in history(home)] == [1, 2, 3]


def test_many_steps_go_in_batches_and_one_that_fails_is_not_sent_twice(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_steps(tmp_path, 1, 250)
    checkpoint(tmp_path, 250)
    real, calls = Tracker.batch, []

    def fails_second(self: Tracker, rows: list[tuple[str, float, int, int]]) -> None:
        calls.append(len(rows))
        if len(calls) == 2:
            raise ConnectionError("gone")
        real(self, rows)

    monkeypatch.setattr(Tracker, "batch", fails_second)
    for _ in range(2):
        with following(Tracker(home, RUN, {}), tmp_path):
            pass
    assert max(calls) <= tracking.METRICS_PER_BATCH
    assert [step for step, _ in history(home)] == list(range(1, 251))


def test_parameters_are_shown_and_small_files_kept(home: Path, tmp_path: Path) -> None:
    tracker = Tracker(home, RUN, {"train.seed": 7, "objective": "pretrain"})
    tracker.metrics({"held_out/bits_per_byte": 1.25}, step=9)
    (tmp_path / "report.md").write_text("# Report")
    tracker.artifact(tmp_path / "report.md")
    assert tracker.client().get_run(tracker.run_id).data.params == {"train.seed": "7", "objective": "pretrain"}
    assert history(home, "held_out/bits_per_byte") == [(9, 1.25)]
    assert [p.read_text() for p in (home / "mlflow-files").rglob("report.md")] == ["# Report"]


def test_the_uri_is_the_environment_s_or_the_home_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracker:5000")
    assert tracking_uri(tmp_path) == "http://tracker:5000"
