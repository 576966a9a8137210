"""``gristmill up``: Prefect server, worker and MLflow's pages on loopback, everything deployed; Ctrl-C ends it all."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.ask import console
from flows.home import INFRA, home
from monitoring.tracking import tracking_uri
from storage.errors import GristmillError
from tasks.process import guarded, stop_tree

HOST = "127.0.0.1"
POOL = "gristmill"
READY_SECONDS = 120.0
SETTINGS = "prefect.toml"
log = logging.getLogger("gristmill.up")


class Services:
    """The processes that ``up`` started, each with a log file of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: list[str], variables: dict[str, str]) -> None:
        """Start one service, which ends with this process, however that ends."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{name}.log").open("ab") as output:
            self.running[name] = subprocess.Popen(
                guarded([sys.executable, "-m", *command]), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env=os.environ | variables, start_new_session=True,
            )  # fmt: skip

    def wait_until_up(self, name: str, url: str) -> None:
        """Wait until ``url`` answers; raise with the end of the log if the service dies first."""
        deadline = time.monotonic() + READY_SECONDS
        while not answers(url):
            self.check()
            if time.monotonic() > deadline:
                what = f"{name} did not answer at {url} in {READY_SECONDS:.0f} s."
                raise GristmillError(what, f"See {self.log_of(name)}.")
            time.sleep(0.3)

    def check(self) -> None:
        """Raise if a service has ended."""
        for name, process in self.running.items():
            if process.poll() is not None:
                end = "\n".join(self.log_of(name).read_text(errors="replace").splitlines()[-15:])
                what = f"{name} ended with exit code {process.returncode}:\n{end}\n"
                raise GristmillError(what, "Mend it and start again.")

    def stop(self) -> None:
        """End every service, the newest first."""
        for process in reversed(self.running.values()):
            stop_tree(process.pid, signal.SIGINT)
            process.wait()

    def log_of(self, name: str) -> Path:
        """Where a service's output goes."""
        return self.folder / f"{name}.log"


def up(prefect_port: int, mlflow_port: int) -> None:
    """Start everything, deploy, and stay until Ctrl-C."""
    for port, option in ((prefect_port, "--prefect-port"), (mlflow_port, "--mlflow-port")):
        require_free(port, option)
    api = f"http://{HOST}:{prefect_port}/api"
    os.environ["PREFECT_API_URL"] = api
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    os.environ["PREFECT_LOGGING_EXTRA_LOGGERS"] = "gristmill"
    services = Services(home() / "logs")
    try:
        services.start("prefect-server", server_command(prefect_port), {"PREFECT_SERVER_UI_API_URL": api})
        services.start("mlflow", mlflow_command(mlflow_port), {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})
        services.wait_until_up("prefect-server", f"{api}/health")
        deploy()
        services.start("prefect-worker", ["prefect", "worker", "start", "--pool", POOL, "--type", "process"], {})
        services.wait_until_up("mlflow", f"http://{HOST}:{mlflow_port}/health")
        with settings_for_others(api):
            announce(prefect_port, mlflow_port, api)
            while True:
                services.check()
                time.sleep(1)
    finally:
        console().print("Stopping …")
        services.stop()


def server_command(port: int) -> list[str]:
    """The Prefect server, on loopback."""
    return ["prefect", "server", "start", "--host", HOST, "--port", str(port)]


def mlflow_command(port: int) -> list[str]:
    """MLflow with one worker and no job runner: two processes instead of fifteen."""
    command = ["mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    stores = ["--backend-store-uri", tracking_uri(home()), "--default-artifact-root", str(home() / "mlflow-files")]
    return [*command, *stores]


def deploy() -> None:
    """Create the work pool and the deployments of ``infra/prefect.yaml``, which run in the project's root."""
    prefect, root = [sys.executable, "-m", "prefect", "--no-prompt"], INFRA.parent
    env = os.environ | {"PWD": str(root)}
    for command in (
        ["work-pool", "create", POOL, "--type", "process", "--overwrite"],
        ["deploy", "--all", "--prefect-file", str(INFRA / "prefect.yaml")],
    ):
        done = subprocess.run([*prefect, *command], cwd=root, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise GristmillError(f"prefect {' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}", "")


@contextmanager
def settings_for_others(api: str) -> Iterator[None]:
    """While inside, Prefect commands in this folder find the server, by a ``prefect.toml`` that says where."""
    path = Path.cwd() / SETTINGS
    mine = not path.exists()
    if mine:
        path.write_text(f'# Written by `gristmill up`, which removes it when it ends.\n[api]\nurl = "{api}"\n')
    try:
        yield
    finally:
        if mine:
            path.unlink(missing_ok=True)


def announce(prefect_port: int, mlflow_port: int, api: str) -> None:
    """Say where everything is and how to use it."""
    say = console().print
    say(f"Prefect   http://{HOST}:{prefect_port}   flows, schedules, logs", highlight=False)
    say(f"MLflow    http://{HOST}:{mlflow_port}   runs, metrics, models", highlight=False)
    say("In another terminal, in this folder:  prefect deployment run pretrain/main --watch", highlight=False)
    say(f"In another folder, first:             export PREFECT_API_URL={api}", highlight=False)
    say("Ctrl-C stops all of it.")


def require_free(port: int, option: str) -> None:
    """Raise if something listens at ``port`` on loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            remedy = f"Stop the program that listens there, or choose another port with {option}."
            raise GristmillError(f"Port {port} on {HOST} is in use.", remedy) from error


def answers(url: str) -> bool:
    """Whether ``url`` answers with success."""
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
