"""``gristmill up``: both servers answer, every flow is deployed and runs, and Ctrl-C leaves nothing behind."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.cli import FLOWS, main
from flows.services import answers, free_port
from tests.flows.small import SmallMill, environment

WAIT_SECONDS = 240.0


@dataclass(frozen=True)
class Up:
    """A ``gristmill up`` that is ready."""

    process: subprocess.Popen[str]
    folder: Path
    api: str
    mlflow: str

    def ask(self, path: str, body: object = None) -> Any:
        """Call the Prefect server's API."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.api + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


def eventually(holds: Callable[[], bool], seconds: float = WAIT_SECONDS) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.2)
    return holds()


@pytest.fixture(scope="module")
def up(small_mill: SmallMill, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder, prefect, mlflow = tmp_path_factory.mktemp("up"), free_port(), free_port()
    command = [sys.executable, "-m", "flows.cli", "up", "--prefect-port", str(prefect), "--mlflow-port", str(mlflow)]
    with (folder / "said.txt").open("w") as said:
        process = subprocess.Popen(
            command, env=environment(small_mill.home) | {"PWD": str(folder)}, cwd=folder,
            stdout=said, stderr=said, text=True,
        )  # fmt: skip
    try:
        assert eventually(lambda: (folder / "prefect.toml").is_file() or process.poll() is not None)
        assert process.poll() is None, (folder / "said.txt").read_text()
        yield Up(process, folder, f"http://127.0.0.1:{prefect}/api", f"http://127.0.0.1:{mlflow}")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def test_both_servers_answer(up: Up) -> None:
    assert answers(f"{up.api}/health")
    assert answers(f"{up.mlflow}/health")
    with urllib.request.urlopen(up.api.removesuffix("/api"), timeout=30) as page:
        assert b"<html" in page.read()
    assert up.api in (up.folder / "prefect.toml").read_text()


def test_every_flow_is_deployed_and_retrain_has_a_schedule(up: Up) -> None:
    found = {name: up.ask(f"/deployments/name/{name}/main") for name in FLOWS}
    assert {d["work_pool_name"] for d in found.values()} == {"gristmill"}
    schedules = {name: [s["schedule"]["cron"] for s in d["schedules"]] for name, d in found.items()}
    assert schedules == {name: [] for name in FLOWS} | {"retrain": ["0 3 * * 0"]}


def test_the_worker_runs_a_deployment_wherever_up_was_started(up: Up, small_mill: SmallMill) -> None:
    deployment = up.ask("/deployments/name/tokens/main")
    run = up.ask(f"/deployments/{deployment['id']}/create_flow_run", {"parameters": {"recipe": str(small_mill.recipe)}})

    def state() -> dict[str, Any]:
        found: dict[str, Any] = up.ask(f"/flow_runs/{run['id']}")["state"]
        return found

    assert eventually(lambda: state()["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"))
    assert state()["type"] == "COMPLETED", state()
    tasks = up.ask("/task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
    assert {t["state"]["name"] for t in tasks} == {"Skipped"}


def test_control_c_ends_everything(up: Up) -> None:
    family = psutil.Process(up.process.pid).children(recursive=True)
    assert len(family) >= 3
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(60) in (0, 130)
    assert psutil.wait_procs(family, timeout=10)[1] == []
    assert not (up.folder / "prefect.toml").exists()
    assert "Traceback" not in (up.folder / "said.txt").read_text()


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("option", ["--prefect-port", "--mlflow-port"])
def test_a_port_in_use_is_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setenv("GRISTMILL_HOME", str(tmp_path / "mill"))
    ports = {"--prefect-port": free_port(), "--mlflow-port": free_port()}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports[option] = taken.getsockname()[1]
        with pytest.raises(SystemExit, match=f"Port {ports[option]} on 127.0.0.1 is in use.*{option}"):
            main(["up", *(str(word) for pair in ports.items() for word in pair)])
    assert not (tmp_path / "mill").exists()
