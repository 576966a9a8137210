"""Where a project keeps what it makes, and the environment that its parts share."""

from __future__ import annotations

import os
from pathlib import Path

from storage.artifact import Store
from tasks.train.config import visible_gpus

INFRA = Path(__file__).parents[1] / "infra"
QUIET = {
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}
"""Defaults for libraries that would report home otherwise, talk on the terminal, or try a dead server for minutes."""


def home() -> Path:
    """``GRISTMILL_HOME``, or ``mill`` in the current folder."""
    return Path(os.environ.get("GRISTMILL_HOME") or Path.cwd() / "mill").absolute()


def store() -> Store:
    """The artifacts of this project."""
    return Store(home())


def prepare_environment() -> None:
    """Set what is not set: no telemetry, DeepSpeed's device, and Prefect's own database below the home."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if not visible_gpus():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    os.environ.setdefault("PREFECT_HOME", str(home() / "prefect"))
    os.environ.setdefault("GRISTMILL_HOME", str(home()))
