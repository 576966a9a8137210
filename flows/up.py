"""``gristmill up``: Prefect server, worker and MLflow's pages on loopback, everything deployed; Ctrl-C ends it all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.ask import console
from flows.home import INFRA, home
from flows.services import HOST, Services, require_free, server_command
from monitoring.tracking import tracking_uri
from storage.errors import GristmillError

POOL = "gristmill"
SETTINGS = "prefect.toml"


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
