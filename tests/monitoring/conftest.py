from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def home(
    tmp_path: Path, tracking_database: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A store's home with an MLflow database of its own."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracking_database(tmp_path / "mill")
    return tmp_path / "mill"
