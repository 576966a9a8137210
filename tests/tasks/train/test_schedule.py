"""The learning rate by step."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import ConfigError
from tasks.train.schedule import Schedule


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    warmup, decay = draw(st.integers(0, 50)), draw(st.integers(1, 50))
    steps = warmup + decay + draw(st.integers(0, 50))
    shape = draw(st.sampled_from(["cosine", "linear"]))
    return Schedule(steps, 1e-3, warmup, shape, decay, draw(st.floats(0, 1)))


@given(schedules())
def test_it_rises_then_never_rises_again(schedule: Schedule) -> None:
    rates = [schedule.at(s) for s in range(schedule.steps)]
    warm, rest = rates[: schedule.warmup_steps], rates[schedule.warmup_steps :]
    assert all(a < b for a, b in pairwise(warm))
    assert all(a >= b for a, b in pairwise(rest))
    assert max(rates) <= schedule.learning_rate * (1 + 1e-12)
    assert min(rest) >= schedule.learning_rate * schedule.final_ratio * (1 - 1e-12)


@given(schedules())
def test_the_end_of_the_run_is_the_final_rate(schedule: Schedule) -> None:
    assert schedule.at(schedule.steps) == pytest.approx(schedule.learning_rate * schedule.final_ratio)


def test_warm_up_stable_and_decay_by_hand() -> None:
    schedule = Schedule(steps=10, learning_rate=1.0, warmup_steps=2, decay="linear", decay_steps=4, final_ratio=0.0)
    assert [schedule.at(s) for s in range(10)] == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25])


def test_cosine_is_half_way_in_the_middle() -> None:
    schedule = Schedule(steps=12, learning_rate=1.0, warmup_steps=2, decay="cosine", final_ratio=0.2)
    assert schedule.at(7) == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("values", "key"),
    [({"steps": 0}, "steps"), ({"learning_rate": 0}, "learning_rate"), ({"warmup_steps": 2000}, "warmup_steps"),
     ({"final_ratio": 1.5}, "final_ratio"), ({"decay_steps": 0}, "decay_steps"), ({"decay_steps": 999}, "decay_steps")],
)  # fmt: skip
def test_what_cannot_work_is_refused_by_its_key(values: dict[str, float], key: str) -> None:
    with pytest.raises(ConfigError, match=f"^{key} ="):
        Schedule(**values)
