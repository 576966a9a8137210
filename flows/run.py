"""``gristmill run``: one flow in this process, with Prefect's own server for its time if none is up."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import time
from datetime import UTC, datetime

from flows.ask import console, show_outcomes
from flows.home import home, store
from flows.services import prefect_server
from monitoring.tracking import tracking_uri
from storage.steplog import Outcome, StepLog

log = logging.getLogger("gristmill.run")


def run(flow: str, recipe: str) -> None:
    """Run ``flow`` on ``recipe``, then say what each step did and where the results are."""
    from flows.recipe import load_recipe

    load_recipe(recipe)
    home().mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    started, began = datetime.now(UTC).isoformat(), time.monotonic()
    log.info("flow %s on recipe %s, below %s", flow, recipe, home())
    with prefect_server():
        answer = str(getattr(importlib.import_module(f"flows.{flow}"), flow)(recipe=recipe))
    mine = [o for o in StepLog(store()).read() if o.at >= started and o.process == os.getpid()]
    show_outcomes(once_each(mine))
    _close(flow, answer, mine, time.monotonic() - began)


def once_each(outcomes: list[Outcome]) -> list[Outcome]:
    """One outcome an artifact, in the order of the first; a step that ran and was asked for again did run."""
    found: dict[str, Outcome] = {}
    for outcome in outcomes:
        if outcome.artifact not in found or outcome.name != "Skipped":
            found[outcome.artifact] = outcome
    return list(found.values())


def _close(flow: str, answer: str, outcomes: list[Outcome], seconds: float) -> None:
    done = sum(o.name == "Completed" for o in outcomes)
    say = console().print
    skipped = len({o.artifact for o in outcomes}) - done
    say(f"\n[bold]{flow}[/] took {seconds:.1f} s: {done} steps ran, {skipped} were skipped. {answer}")
    places = [
        (label, folder) for label, (step, name) in {
            "chat model": ("export_model", "chat"), "base model": ("export_model", "base"), "report": ("summarize", ""),
        }.items() if (found := store().latest(step, name)) for folder in [found.path]
    ]  # fmt: skip
    for label, folder in places:
        say(f"  {label:11} {folder / 'report.html' if label == 'report' else folder}", soft_wrap=True, highlight=False)
    say(f"  {'MLflow':11} {tracking_uri(home())}", soft_wrap=True, highlight=False)
    program = sys.argv[0] if os.path.dirname(sys.argv[0]) else "gristmill"
    say("Next:", highlight=False)
    for command, purpose in (
        ("chat", "talk to the model"), ("trace step pretrain 1", "the documents behind the first training step"),
        ("explain", "why each step ran or was skipped"), ("up", "Prefect's and MLflow's pages in the browser"),
    ):  # fmt: skip
        say(f"  {program} {command:24} {purpose}", highlight=False)
