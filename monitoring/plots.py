"""The report's plots, as SVG that takes its colours and font from the page around it.

A figure is drawn in stand-in colours, which become the page's CSS variables in the finished SVG. So one
picture serves light and dark, and stays sharp at any size.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#010101", "#020202", "#030303"
SERIES = ("#040404", "#050505", "#060606", "#070707", "#080808", "#090909")
VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--line"} | {c: f"--series-{i}" for i, c in enumerate(SERIES, 1)}
SMOOTHING_SHARE = 0.04
"""Of a curve's length, what the moving average spans."""


@dataclass(frozen=True)
class Curve:
    """A measured curve: ``values`` at ``steps``, equally long."""

    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Accuracy:
    """A share of correct answers with its standard error."""

    name: str
    share: float
    stderr: float


def loss_curves(curves: Sequence[Curve]) -> str:
    """One panel a curve: each value faint, their moving average strong."""
    with _style():
        figure = _figure(10, 3.1)
        for axes, curve, colour in zip(_panels(figure, len(curves)), curves, SERIES, strict=False):
            axes.plot(curve.steps, curve.values, color=colour, alpha=0.3, linewidth=0.8)
            axes.plot(curve.steps, smooth(curve.values), color=colour, linewidth=1.8)
            axes.set_title(curve.name, loc="left")
            axes.set_xlabel("step")
        figure.axes[0].set_ylabel("loss, nats per token")
        return _svg(figure, "loss")


def speed_curves(curves: Sequence[Curve]) -> str:
    """Tokens per second of each run, with the median as a dashed line."""
    with _style():
        figure = _figure(10, 2.5)
        for axes, curve, colour in zip(_panels(figure, len(curves)), curves, SERIES, strict=False):
            median = float(np.median(curve.values))
            axes.plot(curve.steps, curve.values, color=colour, linewidth=1.2)
            axes.axhline(median, color=INK, linestyle=(0, (4, 3)), linewidth=1, zorder=3)
            axes.set_ylim(0, 1.12 * max(curve.values))
            axes.set_title(f"{curve.name} · median {median:,.0f} tokens/s", loc="left")
            axes.set_xlabel("step")
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        figure.axes[0].set_ylabel("tokens per second")
        return _svg(figure, "speed")


def source_bars(models: Mapping[str, Mapping[str, float]]) -> str:
    """Grouped bars: bits per byte of each model (model → source → value) on each source."""
    sources = sorted({source for scores in models.values() for source in scores})
    width = 0.8 / len(models)
    with _style():
        figure = _figure(10, 3.4)
        axes = figure.subplots()
        for i, ((name, scores), colour) in enumerate(zip(models.items(), SERIES, strict=False)):
            where = np.arange(len(sources)) + (i - (len(models) - 1) / 2) * width
            bars = axes.bar(where, [scores.get(s, np.nan) for s in sources], width * 0.9, color=colour, label=name)
            axes.bar_label(bars, fmt="%.2f", padding=2, fontsize=9, color=INK)
        axes.set_xticks(np.arange(len(sources)), sources, color=INK)
        axes.tick_params(axis="x", length=0)
        axes.margins(y=0.12)
        axes.set_ylabel("bits per byte, lower is better")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(models), frameon=False, borderaxespad=0)
        return _svg(figure, "sources")


def accuracy_points(results: Sequence[Accuracy], chance: float) -> str:
    """Shares of correct answers with one standard error each way, against blind guessing."""
    rows = np.arange(len(results))[::-1]
    with _style():
        figure = _figure(10, 0.9 + 0.42 * len(results))
        axes = figure.subplots()
        for row, result, colour in zip(rows, results, SERIES, strict=False):
            axes.errorbar(
                100 * result.share, row, xerr=100 * result.stderr, fmt="o", color=colour, capsize=4, markersize=7
            )
        axes.axvline(100 * chance, color=MUTED, linestyle=(0, (4, 3)), linewidth=1)
        axes.annotate("chance", (100 * chance, 1), xycoords=("data", "axes fraction"), xytext=(4, 2),
                      textcoords="offset points", color=MUTED, fontsize=9)
        axes.set_yticks(rows, [r.name for r in results], color=INK)
        axes.set_ylim(-0.6, len(results) - 0.4)
        axes.set_xlim(0, 100)
        axes.grid(False, axis="y")
        axes.set_xlabel("questions answered correctly, % (± 1 standard error)")
        return _svg(figure, "accuracy")


def smooth(values: Sequence[float]) -> npt.NDArray[np.float64]:
    """The centred moving average; at the ends it spans what is there."""
    half = int(len(values) * SMOOTHING_SHARE / 2)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    low, high = np.maximum(at - half, 0), np.minimum(at + half + 1, len(values))
    average: npt.NDArray[np.float64] = (sums[high] - sums[low]) / (high - low)
    return average


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib

    settings = {
        "svg.fonttype": "none", "text.parse_math": False, "font.size": 10, "axes.titlesize": 10.5,
        "text.color": INK, "axes.labelcolor": MUTED, "axes.edgecolor": GRID, "xtick.color": MUTED,
        "ytick.color": MUTED, "axes.grid": True, "axes.grid.axis": "y", "grid.color": GRID, "grid.linewidth": 0.8,
        "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False,
        "ytick.left": False, "axes.titlecolor": INK, "lines.solid_joinstyle": "round",
    }  # fmt: skip
    with matplotlib.rc_context(settings):
        yield


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure((width, height), layout="constrained")


def _panels(figure: Figure, n: int) -> Sequence[Axes]:
    return list(figure.subplots(1, n, squeeze=False)[0])


def _svg(figure: Figure, name: str) -> str:
    """The figure as an ``<svg>`` element; the same figure gives the same bytes, and ids start with ``name``."""
    import matplotlib

    stream = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text[text.index("<svg"):], flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    text = re.sub(r'(id="|href="#|url\(#)', rf"\1{name}-", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return text
