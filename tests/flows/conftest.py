"""One small mill, made once by the command line; a Prefect server for the flows that run in this process."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from flows.services import free_port
from tests.flows.small import RECIPE, SmallMill, environment


@pytest.fixture(scope="session")
def small_mill(tmp_path_factory: pytest.TempPathFactory) -> SmallMill:
    """The whole pipeline as a user runs it: a process, a home that does not exist yet, Prefect's own server."""
    folder, port = tmp_path_factory.mktemp("small"), free_port()
    recipe = folder / "small.toml"
    recipe.write_text(RECIPE.format(port=port))
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "run", "pipeline", "--recipe", str(recipe)],
        env=environment(folder / "mill"), cwd=folder, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return SmallMill(folder / "mill", recipe, f"http://127.0.0.1:{port}", done.stdout + done.stderr)


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Prefect server for the flows that run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith("PREFECT_")]:
            patch.delenv(name)
        patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
        patch.setenv("PREFECT_LOGGING_LEVEL", "CRITICAL")
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        from prefect.testing.utilities import prefect_test_harness

        with prefect_test_harness(server_startup_timeout=120):
            yield


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what the command line does to a process: environment variables and the handlers of its logger."""
    logger = logging.getLogger("gristmill")
    before, handlers, level, propagate = dict(os.environ), list(logger.handlers), logger.level, logger.propagate
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    yield
    os.environ.clear()
    os.environ.update(before)
    logger.handlers, logger.propagate = handlers, propagate
    logger.setLevel(level)
