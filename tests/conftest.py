"""What tests of several packages share."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from shutil import copy

import pytest


@pytest.fixture(scope="session")
def tracking_database(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], None]:
    """Give a store's home an empty MLflow database; made once, since its migrations take seconds."""
    from monitoring.tracking import connect

    made = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            connect(made).search_experiments()

    def give(home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        copy(made / "mlflow.db", home / "mlflow.db")

    return give
