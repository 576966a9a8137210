"""The last step: the evaluations beside each other, as a report, and as metrics in MLflow."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb

from monitoring.events import EventLog, last_steps
from monitoring.plots import Accuracy, Curve
from monitoring.report import Identity, KeyNumber, Report, Sample, Source, Stage, number, write_report
from monitoring.tracking import Tracker
from storage.artifact import Artifact, Store
from storage.documents import document_files
from tasks.evaluate.results import RESULTS
from tasks.step import Work, step

NGRAMS = {"bigram": "Kneser-Ney bigram", "trigram": "Kneser-Ney trigram"}


@step(kind="evaluation", libraries=("matplotlib", "jinja2"))
def summarize(
    work: Work, documents: Artifact, runs: tuple[Artifact, ...], models: tuple[Artifact, ...], ngrams: Artifact
) -> Mapping[str, Any]:
    """Write ``report.html`` and send every figure to MLflow.

    Args:
        documents: the corpus.
        runs: the checkpoints of the training runs, in order.
        models: the evaluations of their models, in the same order.
        ngrams: the evaluation of the n-gram models.
    """
    with work.progress("writing the report") as bar:
        report = write_report(work.out, compose(work.store, documents, runs, models, ngrams))
        bar.advance(1, "sending to MLflow")
        figures = metrics(models, ngrams)
        inputs = {"documents": documents.name, "model": models[-1].input_keys["model"]}
        tracker = Tracker(work.store.home, work.name, inputs)
        tracker.metrics(figures)
        tracker.artifact(report)
        tracker.end()
    return figures


def metrics(models: Iterable[Artifact], ngrams: Artifact) -> dict[str, float]:
    """Every figure by its name in MLflow: ``<model>/held_out/bits_per_byte/<source>`` and so on."""
    found = {f"{m.identity.label}/{name}": float(v) for m in models for name, v in m.statistics.items()}
    return found | {name: float(v) for name, v in ngrams.statistics.items() if name != "windows"}


def compose(
    store: Store, documents: Artifact, runs: tuple[Artifact, ...], models: tuple[Artifact, ...], ngrams: Artifact
) -> Report:
    """The report's data, read from the artifacts and the run records."""
    results = {m.identity.label: json.loads((m.path / RESULTS).read_text()) for m in models}
    lineage = ancestry(store, (*models, ngrams))
    first = next(iter(results.values()))
    return Report(
        title="From raw text to a chat model",
        summary=f"{runs[0].statistics['parameters']:,} parameters, {runs[0].statistics['tokens']:,} tokens of "
        f"pretraining in {runs[0].statistics['steps']:,} steps, every one of them traceable to its document.",
        key_numbers=tuple(key_numbers(results, json.loads((ngrams.path / RESULTS).read_text()))),
        stages=tuple(Stage(a.name.rpartition("-")[0], a.seconds, flat(a.statistics)) for a in lineage),
        losses=tuple(curve(store, run, "loss") for run in runs),
        speeds=tuple(curve(store, run, "tokens_per_second") for run in runs),
        bits_per_byte=bits_by_model(results, json.loads((ngrams.path / RESULTS).read_text())),
        accuracies=tuple(
            Accuracy(name, r["questions"]["acc_mutual_info"], r["questions"]["acc_mutual_info_stderr"])
            for name, r in results.items()
        ),
        chance=first["questions"]["chance"],
        questions=first["questions"]["n"],
        samples=tuple(samples(results)),
        sources=tuple(sources(documents, lineage)),
        identities=tuple(Identity(a.name, a.kind, a.digest, a.key) for a in lineage),
    )


def ancestry(store: Store, artifacts: Iterable[Artifact]) -> list[Artifact]:
    """``artifacts`` and all that they were made from, oldest first."""
    known = {a.key: a for a in store.all()}
    waiting, found = list(artifacts), dict[str, Artifact]()
    while waiting:
        artifact = waiting.pop()
        if artifact.key not in found:
            found[artifact.key] = artifact
            waiting += [known[key] for key in artifact.input_keys.values() if key in known]
    return sorted(found.values(), key=lambda a: a.created_at)


def key_numbers(results: Mapping[str, Any], ngrams: Mapping[str, Any]) -> Iterator[KeyNumber]:
    """The figures to see first."""
    before, *_, after = results
    for name, result in results.items():
        bits = number(result["held_out"]["overall"]["bits_per_byte"])
        yield KeyNumber(f"bits per byte, {name}", bits, "held-out documents")
    for name, label in NGRAMS.items():
        bits = number(ngrams[name]["overall"]["bits_per_byte"])
        yield KeyNumber(f"bits per byte, {name}", bits, f"{label}, same tokens")
    losses = [results[name]["answers"]["loss"] for name in (before, after)]
    yield KeyNumber("loss on answers", f"{losses[0]:.2f} → {losses[1]:.2f}", f"nats a token, {before} → {after}")
    chat = results[after]["questions"]
    share, error = chat["acc_mutual_info"], chat["acc_mutual_info_stderr"]
    yield KeyNumber("multiple choice", f"{share:.1%}", f"acc_mutual_info ± {error:.1%}; chance {chat['chance']:.0%}")


def flat(statistics: Mapping[str, Any]) -> dict[str, Any]:
    """The plain values among a step's statistics."""
    return {k: v for k, v in statistics.items() if isinstance(v, int | float | str)}


def curve(store: Store, run: Artifact, field: str) -> Curve:
    """One value of every step of a run, from its record."""
    steps = last_steps(EventLog(store.home / "runs" / run.name / "events.jsonl").read())
    values = (e["tokens"] / e["seconds"] if field == "tokens_per_second" else e[field] for e in steps)
    return Curve(run.identity.label, tuple(e["step"] for e in steps), tuple(values))


def bits_by_model(results: Mapping[str, Any], ngrams: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Model → source → bits per byte."""
    held_out = {name: r["held_out"] for name, r in results.items()} | {NGRAMS[name]: r for name, r in ngrams.items()}
    return {name: {s: v["bits_per_byte"] for s, v in scores["sources"].items()} for name, scores in held_out.items()}


def samples(results: Mapping[str, Any]) -> Iterator[Sample]:
    """Each prompt with what every model made of it."""
    rows = zip(*(r["samples"] for r in results.values()), strict=True)
    for row in rows:
        yield Sample(row[0]["prompt"], {name: s["completion"] for name, s in zip(results, row, strict=True)})


def sources(documents: Artifact, lineage: Iterable[Artifact]) -> Iterator[Source]:
    """Documents kept of each source, and how many each rule dropped on the way."""
    files = [str(p) for p in document_files(documents.path)]
    drops = [str(p) for a in lineage if a.kind == "documents" for p in dropped_files(a)]
    rule = "SELECT source, stage || ': ' || rule, count(*) FROM read_parquet(?) GROUP BY ALL ORDER BY ALL"
    with duckdb.connect() as db:
        kept = dict(db.execute("SELECT source, count(*) FROM read_parquet(?) GROUP BY 1", [files]).fetchall())
        dropped = db.execute(rule, [drops]).fetchall() if drops else []
    for name in sorted(kept.keys() | {row[0] for row in dropped}):
        yield Source(name, kept.get(name, 0), {rule: n for source, rule, n in dropped if source == name})


def dropped_files(artifact: Artifact) -> list[Path]:
    """The sidecars of a documents artifact that list what was dropped."""
    return sorted(artifact.path.glob("dropped-*.parquet"))
