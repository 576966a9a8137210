"""``pipeline``: raw text in, a chat model out, judged, and promoted if it is no worse than the champion."""

from __future__ import annotations

from prefect import flow

from flows.evaluate import make_evaluation
from flows.mill import open_mill
from flows.retrain import promote_if_no_worse


@flow(name="pipeline")
def pipeline(recipe: str = "tiny", snapshot: str = "") -> str:
    """Run every stage of ``recipe``; those that are done already are skipped."""
    mill = open_mill(recipe)
    return promote_if_no_worse(mill, make_evaluation(mill, snapshot))
