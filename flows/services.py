"""Services on loopback that live no longer than this process: Prefect's server for a flow, and what ``up`` starts."""

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

from flows.home import home
from storage.errors import GristmillError
from tasks.process import guarded, stop_tree

HOST = "127.0.0.1"
READY_SECONDS = 120.0
FOR_ONE_FLOW = {
    "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    "PREFECT_SERVER_UI_ENABLED": "false",
}
"""A server that lives as long as one flow run needs no scheduler and no pages."""
log = logging.getLogger("gristmill.services")


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


@contextmanager
def prefect_server() -> Iterator[None]:
    """While inside, flows have a Prefect server: the one that the settings name if it answers, else one of their own.

    Its own session keeps the terminal's Ctrl-C from it: it must outlive the flow, which has to tell it how it ended.
    """
    from prefect.settings import PREFECT_API_URL, temporary_settings

    named = PREFECT_API_URL.value()
    if named and answers(f"{named}/health"):
        yield
        return
    if named:
        log.warning("the Prefect server at %s does not answer: this flow brings its own", named)
    port = free_port()
    api, services = f"http://{HOST}:{port}/api", Services(home() / "logs")
    try:
        services.start("prefect-server", server_command(port), FOR_ONE_FLOW)
        services.wait_until_up("prefect-server", f"{api}/health")
        with temporary_settings({PREFECT_API_URL: api}):
            yield
    finally:
        services.stop()


def server_command(port: int) -> list[str]:
    """The Prefect server, on loopback."""
    return ["prefect", "server", "start", "--host", HOST, "--port", str(port)]


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


def free_port() -> int:
    """A port on loopback at which nothing listens."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
