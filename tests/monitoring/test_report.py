"""The report stands alone, shows what it was given, and cannot be made to run what it shows."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from monitoring.plots import VARIABLES, Accuracy, Curve, smooth
from monitoring.report import (
    Identity,
    KeyNumber,
    Report,
    Sample,
    Source,
    Stage,
    duration,
    number,
    render,
    write_report,
)

HOSTILE = "<script>alert('x')</script> & $\\frac{1}{$ \"quoted\""
REPORT = Report(
    title="A model",
    summary="Made here.",
    key_numbers=(KeyNumber("Bits per byte", "1.83", "lower is better"),),
    stages=(Stage("crawl", 12.4, {"pages": 205}), Stage("pretrain", 65, {"loss": 3.21})),
    losses=(Curve("Pretraining", (1, 2, 3), (5.0, 4.0, 3.0)), Curve("Fine-tuning", (1, 2), (3.0, 2.0))),
    speeds=(Curve("Pretraining", (1, 2, 3), (900.0, 1000.0, 1100.0)),),
    bits_per_byte={"before": {"docs": 1.71}, "bigram": {"docs": 2.5, "code": 2.77}},
    accuracies=(Accuracy("after", 0.485, 0.035),),
    chance=0.25,
    questions=200,
    samples=(Sample("What is this?", {"before": "what", "after": "A thing."}),),
    sources=(Source("docs", 198, {"too short": 4}), Source("code", 7, {"duplicate": 3})),
    identities=(Identity("crawl-0a", "pages", "ab" * 32, "cd" * 32),),
)
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Counts tags and collects text; fails on tags that do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value for key, value in attrs if key == "id" and value]
        assert not any(key.startswith("on") or key == "src" for key, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render(REPORT))


def test_it_shows_everything_it_was_given(page: Page) -> None:
    for text in ("A model", "1.83", "lower is better", "205", "1 min 05 s", "What is this?", "A thing.", "198",
                 "dropped: too short", "ab" * 8, "cd" * 8, "1 min 17 s", "200 multiple-choice"):
        assert text in page.text
    assert not page.open


def test_every_plot_has_its_labels_and_units(page: Page) -> None:
    assert page.tags.count("svg") == 4
    for text in ("loss, nats per token", "tokens per second", "median 1,000 tokens/s", "bits per byte, lower is better",
                 "2.77", "chance", "questions answered correctly, %"):
        assert text in page.text


def test_it_loads_nothing_and_takes_colours_from_the_page() -> None:
    html = render(REPORT)
    assert not re.search(r"<script|<link|<img|@import|url\((?!#)", html)
    assert set(re.findall(r"https?://[^\"' ]*", html)) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    svg = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    assert not any(colour in svg for colour in VARIABLES)
    assert "var(--series-1)" in svg
    assert not re.search(r"#[0-9a-f]{6}\b", svg.replace("#ffffff", ""))


def test_ids_of_the_plots_do_not_clash(page: Page) -> None:
    assert page.ids
    assert len(page.ids) == len(set(page.ids))


def test_hostile_text_is_only_ever_text() -> None:
    hostile = replace(
        REPORT, title=HOSTILE, samples=(Sample(HOSTILE, {HOSTILE: HOSTILE}),),
        sources=(Source(HOSTILE, 1, {HOSTILE: 2}),),
        bits_per_byte={HOSTILE: {HOSTILE: 1.0}}, losses=(Curve(HOSTILE, (1, 2), (1.0, 2.0)),),
        stages=(Stage(HOSTILE, 1, {HOSTILE: HOSTILE}),),
    )  # fmt: skip
    page = Page(render(hostile))
    assert "script" not in page.tags
    assert page.text.count("alert('x')") >= 8


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write_report(tmp_path, REPORT).read_bytes()
    assert write_report(tmp_path, REPORT).read_bytes() == first


def test_what_was_not_measured_leaves_no_empty_part() -> None:
    html = render(replace(REPORT, losses=(), speeds=(), bits_per_byte={}, accuracies=(), samples=()))
    page = Page(html)
    assert "svg" not in page.tags
    for title in ("Held-out text", "Held-out questions", "Training", "Samples"):
        assert title not in page.text


def test_smoothing_keeps_a_line_and_halves_noise() -> None:
    line = np.arange(100.0)
    np.testing.assert_allclose(smooth(line)[5:-5], line[5:-5])
    noise = np.random.default_rng(0).normal(size=1000)
    assert smooth(noise).std() < noise.std() / 2


@pytest.mark.parametrize(
    ("value", "text"), [(1234567, "1,234,567"), (3.14159, "3.14"), (0.01234, "0.0123"), (14210.2, "14,210"), ("x", "x"),
                        (True, "True")]
)  # fmt: skip
def test_numbers_read_well(value: object, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0.40 s"), (17.2, "17 s"), (185, "3 min 05 s"), (7620, "2 h 07 min")]
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text
