"""The gate before promotion: a challenger becomes champion only if its bits per byte are no worse."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from monitoring.tracking import connect

ALIAS = "champion"


@dataclass(frozen=True)
class Champion:
    """The registered version that holds the alias.

    Attributes:
        version: its number in the registry.
        model_key: key of its model artifact.
        bits_per_byte: on the held-out documents of the day it was promoted.
    """

    version: str
    model_key: str
    bits_per_byte: float


@dataclass(frozen=True)
class Verdict:
    """Whether the challenger passes, and why in words."""

    promote: bool
    reason: str


def compare(challenger: float, champion: float | None) -> Verdict:
    """Compare bits per byte, both on the same held-out documents; lower is better."""
    if not math.isfinite(challenger):
        return Verdict(False, f"{challenger} bits per byte: the challenger diverged")
    if champion is None:
        return Verdict(True, f"there is no champion yet; {challenger:.4f} bits per byte")
    sign = "<" if challenger < champion else "=" if challenger == champion else ">"
    return Verdict(challenger <= champion, f"{challenger:.4f} {sign} the champion's {champion:.4f} bits per byte")


class Registry:
    """The registered model of one name in MLflow, below ``home`` or where ``MLFLOW_TRACKING_URI`` says."""

    def __init__(self, home: Path, name: str) -> None:
        self.client, self.name = connect(home), name

    def champion(self) -> Champion | None:
        """The holder of the alias, if any."""
        from mlflow.exceptions import MlflowException

        try:
            version = self.client.get_model_version_by_alias(self.name, ALIAS)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            return None
        return Champion(str(version.version), version.tags["model_key"], float(version.tags["bits_per_byte"]))

    def promote(self, source: Path, tags: Mapping[str, str]) -> str:
        """Register the model folder ``source`` as a new version, a pointer and no copy, and give it the alias."""
        if not self.client.search_registered_models(f"name = '{self.name}'"):
            self.client.create_registered_model(self.name)
        created = self.client.create_model_version(self.name, source=source.as_uri(), tags=dict(tags))
        self.client.set_registered_model_alias(self.name, ALIAS, created.version)
        return str(created.version)
