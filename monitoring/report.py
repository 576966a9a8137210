"""The report of a pipeline: one HTML file that stands alone, with plots, samples and identities.

It holds no script and loads nothing, and whatever text it shows (a crawled title, a model's output) is
escaped; a content security policy says the same to the browser.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monitoring.plots import Accuracy, Curve, accuracy_points, loss_curves, source_bars, speed_curves

FILE = "report.html"


@dataclass(frozen=True)
class KeyNumber:
    """A figure to see first: ``value`` with its unit, and a line that explains it."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Stage:
    """A step of the pipeline: the seconds it took when it ran, and what it told (name → value)."""

    name: str
    seconds: float
    statistics: Mapping[str, Any]


@dataclass(frozen=True)
class Sample:
    """A prompt and what each model (name → text) made of it."""

    prompt: str
    completions: Mapping[str, str]


@dataclass(frozen=True)
class Source:
    """Where documents came from: how many were kept, and how many each rule dropped."""

    name: str
    documents: int
    dropped: Mapping[str, int]


@dataclass(frozen=True)
class Identity:
    """An artifact that went into the model: its name, kind, content digest and key."""

    name: str
    kind: str
    digest: str
    key: str


@dataclass(frozen=True)
class Report:
    """All that a report tells.

    Attributes:
        title: what was made.
        summary: one or two sentences on it.
        key_numbers: the figures to see first.
        stages: in the order in which they run.
        losses: training losses by step, in nats per token, one curve a run.
        speeds: tokens per second by step, one curve a run.
        bits_per_byte: model → source → bits per byte on held-out documents.
        accuracies: multiple choice of each model.
        chance: what blind guessing would get of it, as a share.
        questions: how many were asked.
        samples: prompts with completions.
        sources: where the documents came from.
        identities: the artifacts behind it all.
    """

    title: str
    summary: str
    key_numbers: tuple[KeyNumber, ...]
    stages: tuple[Stage, ...]
    losses: tuple[Curve, ...]
    speeds: tuple[Curve, ...]
    bits_per_byte: Mapping[str, Mapping[str, float]]
    accuracies: tuple[Accuracy, ...]
    chance: float
    questions: int
    samples: tuple[Sample, ...]
    sources: tuple[Source, ...]
    identities: tuple[Identity, ...]


def write_report(out: Path, report: Report) -> Path:
    """Write ``report.html`` into the folder ``out``; the same report gives the same bytes."""
    path = out / FILE
    path.write_text(render(report), encoding="utf-8")
    return path


def render(report: Report) -> str:
    """The report as HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "duration": duration}
    rules = sorted({rule for source in report.sources for rule in source.dropped})
    plots = {name: Markup(svg) for name, svg in _plots(report).items()}
    return environment.get_template("report.html").render(report=report, plots=plots, rules=rules)


def _plots(report: Report) -> dict[str, str]:
    """A plot for each part of the report that has something to show."""
    plots: dict[str, str] = {}
    if report.losses:
        plots["loss"] = loss_curves(report.losses)
    if report.speeds:
        plots["speed"] = speed_curves(report.speeds)
    if report.bits_per_byte:
        plots["sources"] = source_bars(report.bits_per_byte)
    if report.accuracies:
        plots["accuracy"] = accuracy_points(report.accuracies, report.chance)
    return plots


def number(value: Any) -> str:
    """A number as people read it: thousands apart, as many decimals as tell something."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 1 else f"{value:.2f}"


def duration(seconds: float) -> str:
    """Seconds as people read them: ``0.42 s``, ``17 s``, ``3 min 05 s``, ``2 h 07 min``."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
