"""The gate: who becomes champion, in a real registry."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from monitoring.gates import Champion, Registry, compare

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")


@pytest.mark.parametrize(
    ("challenger", "champion", "promote", "reason"),
    [
        (1.5, None, True, "there is no champion yet; 1.5000 bits per byte"),
        (1.4, 1.5, True, "1.4000 < the champion's 1.5000 bits per byte"),
        (1.5, 1.5, True, "1.5000 = the champion's 1.5000 bits per byte"),
        (1.6, 1.5, False, "1.6000 > the champion's 1.5000 bits per byte"),
        (math.nan, None, False, "nan bits per byte: the challenger diverged"),
        (math.inf, 1.5, False, "inf bits per byte: the challenger diverged"),
    ],
)
def test_a_challenger_passes_if_it_is_no_worse(
    challenger: float, champion: float | None, promote: bool, reason: str
) -> None:
    verdict = compare(challenger, champion)
    assert (verdict.promote, verdict.reason) == (promote, reason)


def test_the_champion_is_the_last_promoted_by_pointer(home: Path, tmp_path: Path) -> None:
    registry = Registry(home, "gristmill-tiny")
    assert registry.champion() is None
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"0" * 1000)
    assert registry.promote(model, {"model_key": "one", "bits_per_byte": "1.5"}) == "1"
    assert Registry(home, "gristmill-tiny").champion() == Champion("1", "one", 1.5)
    assert registry.promote(model, {"model_key": "two", "bits_per_byte": "1.25"}) == "2"
    assert registry.champion() == Champion("2", "two", 1.25)
    assert registry.client.get_model_version("gristmill-tiny", "2").source == model.as_uri()
    assert not list(home.rglob("*.safetensors"))


def test_models_of_other_names_have_champions_of_their_own(home: Path, tmp_path: Path) -> None:
    Registry(home, "one").promote(tmp_path, {"model_key": "k", "bits_per_byte": "1"})
    assert Registry(home, "two").champion() is None


def test_a_registered_model_without_the_alias_has_no_champion(home: Path) -> None:
    registry = Registry(home, "bare")
    registry.client.create_registered_model("bare")
    assert registry.champion() is None
