"""The order of samples: a permutation each epoch, invertible, and well mixed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import ConfigError
from storage.order import Order


@given(seed=st.integers(0, 2**63 - 1), n=st.integers(1, 3000), epoch=st.integers(0, 5))
def test_each_epoch_sees_each_window_exactly_once(seed: int, n: int, epoch: int) -> None:
    windows = Order(seed, n).windows(np.arange(epoch * n, (epoch + 1) * n))
    assert sorted(windows.tolist()) == list(range(n))


POSITIONS = st.lists(st.integers(0, 10**13), max_size=20)


@given(seed=st.integers(0, 2**63 - 1), n=st.integers(1, 10**12), positions=POSITIONS)
def test_positions_inverts_windows(seed: int, n: int, positions: list[int]) -> None:
    order, at = Order(seed, n), np.array(positions, np.int64)
    assert order.positions(order.windows(at), at // n).tolist() == positions


def test_the_order_depends_on_the_seed_and_the_epoch() -> None:
    n = 1000
    first = Order(1, n).windows(np.arange(2 * n))
    assert (first[:n] != first[n:]).mean() > 0.9
    assert (first[:n] != Order(2, n).windows(np.arange(n))).mean() > 0.9


def test_position_and_window_are_not_correlated() -> None:
    n = 100_000
    windows = Order(7, n).windows(np.arange(n))
    assert abs(np.corrcoef(np.arange(n), windows)[0, 1]) < 0.02
    steps = np.diff(windows)
    assert len(np.unique(steps)) > n // 2  # an affine shuffle has one or two


def test_one_position_agrees_with_many() -> None:
    order = Order(3, 77)
    assert [order.window(p) for p in range(200)] == order.windows(np.arange(200)).tolist()


def test_an_empty_store_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        Order(0, 0)
