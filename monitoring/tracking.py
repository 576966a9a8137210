"""MLflow: one run per logical run across all its attempts, fed from the event log by a background thread.

Only steps up to the last committed checkpoint are sent, so that a replay after a crash draws no zig-zag.
If the store cannot be reached, work goes on and what was not sent is sent later.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitoring.events import Event
from storage.jsonlines import Tail

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger("gristmill.tracking")
EXPERIMENT = "gristmill"
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""MLflow's pages then show training runs first, and not the ones for prompts."""
SEND_EVERY_SECONDS = 5.0
METRICS_PER_BATCH = 1000
STEPS_PER_BATCH = 100
STEP_METRICS = (
    "loss", "grad_norm", "learning_rate", "seconds",
    "data_seconds", "forward_seconds", "backward_seconds", "update_seconds",
)  # fmt: skip


def tracking_uri(home: Path) -> str:
    """``MLFLOW_TRACKING_URI`` if set, else the SQLite file below ``home``."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}"


class Tracker:
    """One MLflow run, found again by its name if it exists.

    Args:
        home: the store's home folder.
        run: the run's name; unique, since it ends in the head of the step's key.
        parameters: what to show as the run's parameters.
    """

    def __init__(self, home: Path, run: str, parameters: Mapping[str, Any]) -> None:
        self.home, self.run, self.parameters = home, run, parameters
        self._client: MlflowClient | None = None
        self.run_id = ""

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log ``values`` at ``step``."""
        self.batch([(name, value, int(time.time() * 1000), step) for name, value in values.items()])

    def batch(self, rows: list[tuple[str, float, int, int]]) -> None:
        """Log rows of (name, value, milliseconds, step)."""
        from mlflow.entities import Metric

        client = self.client()
        for start in range(0, len(rows), METRICS_PER_BATCH):
            metrics = [Metric(*row) for row in rows[start : start + METRICS_PER_BATCH]]
            client.log_batch(self.run_id, metrics=metrics)

    def artifact(self, path: Path) -> None:
        """Copy one small file to the run's artifacts."""
        self.client().log_artifact(self.run_id, str(path))

    def end(self, status: str = "FINISHED") -> None:
        """Close the run."""
        self.client().set_terminated(self.run_id, status)

    def client(self) -> MlflowClient:
        """The client, connected and with the run open."""
        if self._client is None:
            self._client = connect(self.home)
            self.run_id = self._open(self._client)
        return self._client

    def _open(self, client: MlflowClient) -> str:
        experiment = _experiment(client, self.home)
        found = client.search_runs([experiment], f"attributes.run_name = '{self.run}'", max_results=1)
        if found:
            client.update_run(found[0].info.run_id, status="RUNNING")
            return str(found[0].info.run_id)
        created = client.create_run(experiment, run_name=self.run)
        for name, value in self.parameters.items():
            client.log_param(created.info.run_id, name, value)
        return str(created.info.run_id)


def connect(home: Path) -> MlflowClient:
    """A client of the store that :func:`tracking_uri` names."""
    from mlflow import MlflowClient

    home.mkdir(parents=True, exist_ok=True)
    uri = tracking_uri(home)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _experiment(client: MlflowClient, home: Path) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    location = None if os.environ.get("MLFLOW_TRACKING_URI") else (home / "mlflow-files").as_uri()
    return str(client.create_experiment(EXPERIMENT, artifact_location=location, tags=KIND))


@contextmanager
def following(tracker: Tracker, folder: Path) -> Iterator[None]:
    """While inside, send what the event log in ``folder`` tells to ``tracker``, from a thread."""
    sender = _Sender(tracker, folder)
    stop = threading.Event()
    thread = threading.Thread(target=sender.work, args=(stop,), name="mlflow", daemon=True)
    thread.start()
    status = "FAILED"
    try:
        yield
        status = "FINISHED"
    finally:
        stop.set()
        thread.join()
        sender.close(status)


class _Sender:
    """Sends step metrics up to the last committed checkpoint; remembers on disk how far it got."""

    def __init__(self, tracker: Tracker, folder: Path) -> None:
        self.tracker, self.tail = tracker, Tail(folder / "events.jsonl")
        self.mark = folder / "tracked.json"
        self.sent: int = json.loads(self.mark.read_text())["step"] if self.mark.is_file() else 0
        self.waiting: dict[int, Event] = {}
        self.committed = 0
        self.told = False

    def work(self, stop: threading.Event) -> None:
        while not stop.wait(SEND_EVERY_SECONDS):
            self.send()

    def close(self, status: str) -> None:
        self.send(status)

    def send(self, status: str = "") -> None:
        """Send what can be sent; a store out of reach is told once and tried again the next time."""
        for event in self.tail.new():
            if event["event"] == "step":
                self.waiting[event["step"]] = event
            elif event["event"] in ("start", "checkpoint"):
                self._commit(event["step"], restarted=event["event"] == "start")
        ready = [e for s, e in sorted(self.waiting.items()) if self.sent < s <= self.committed]
        try:
            for first in range(0, len(ready), STEPS_PER_BATCH):
                self._send_steps(ready[first : first + STEPS_PER_BATCH])
            if status:
                self.tracker.end(status)
        except Exception as error:  # noqa: BLE001 -- whatever the store's client raises, training goes on
            self._tell(error)

    def _commit(self, step: int, restarted: bool) -> None:
        """Steps up to ``step`` will not be done again; of a restart, those after it will be."""
        self.committed = step
        if restarted:
            self.waiting = {s: event for s, event in self.waiting.items() if s <= step}

    def _send_steps(self, events: list[Event]) -> None:
        self.tracker.batch([row for event in events for row in step_metrics(event)])
        self.sent = events[-1]["step"]
        partial = self.mark.with_suffix(".partial")
        partial.write_text(json.dumps({"step": self.sent}))
        partial.rename(self.mark)
        self.waiting = {step: event for step, event in self.waiting.items() if step > self.sent}

    def _tell(self, error: Exception) -> None:
        if not self.told:
            log.warning(
                "MLflow at %s cannot be reached (%s): training goes on, its metrics are kept in %s",
                tracking_uri(self.tracker.home), str(error).partition("\n")[0], self.tail.path,
            )
        self.told = True


def step_metrics(event: Event) -> Iterator[tuple[str, float, int, int]]:
    """The metrics of one ``step`` event as rows of (name, value, milliseconds, step)."""
    at, step = int(event["time"] * 1000), event["step"]
    yield from ((f"train/{name}", event[name], at, step) for name in STEP_METRICS)
    yield "train/tokens_per_second", event["tokens"] / event["seconds"], at, step
    yield "train/tokens", float(event["tokens"] * step), at, step
