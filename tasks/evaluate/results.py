"""The form of ``results.json``, and the metrics in it by their names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.evaluate.held_out import Score, overall

RESULTS = "results.json"


def score_figures(scores: Mapping[str, Score]) -> dict[str, Any]:
    """Scores as JSON: ``overall``, and each of ``sources``."""
    return {"overall": overall(scores).figures(), "sources": {name: score.figures() for name, score in scores.items()}}


def bits(held_out: Mapping[str, Any]) -> dict[str, float]:
    """The bits per byte among :func:`score_figures`, by the names of metrics."""
    sources = {f"held_out/bits_per_byte/{name}": s["bits_per_byte"] for name, s in held_out["sources"].items()}
    return {"held_out/bits_per_byte": held_out["overall"]["bits_per_byte"], **sources}


def figures(results: Mapping[str, Any]) -> dict[str, float]:
    """The metrics among ``results``: flat, each a number."""
    parts = ("answers", "questions")
    return bits(results["held_out"]) | {f"{part}/{name}": v for part in parts for name, v in results[part].items()}


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """JSON with sorted keys; floats keep seven decimals, below which the order of summing shows."""
    path.write_text(json.dumps(rounded(value), indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def rounded(value: Any) -> Any:
    """``value`` with every float in it rounded to seven decimals."""
    if isinstance(value, Mapping):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return round(value, 7) if isinstance(value, float) else value
