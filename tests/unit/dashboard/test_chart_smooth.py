"""Smoothing against its definition, and curves that grow."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nanoshell.dashboard.chart.curve import Curve, begins_with
from nanoshell.dashboard.chart.smooth import Growing, Smoothing

NAN = math.nan


def tensorboard(values: list[float], weight: float) -> list[float]:
    """The average as TensorBoard defines it, one value at a time; NaN is passed over."""
    last, count, found = 0.0, 0, []
    for value in values:
        if math.isfinite(value):
            last = last * weight + (1 - weight) * value
            count += 1
            found.append(last / (1 - weight**count) if weight else value)
    return found


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 20_000),
    st.sampled_from([0.0, 0.1, 0.6, 0.9, 0.99, 0.999, 0.99999]),
    st.lists(st.integers(0, 20_000), max_size=4),
)
def test_the_average_is_tensorboards_however_it_comes(
    seed: int, length: int, weight: float, stops: list[int]
) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(size=length) * 10 ** random.uniform(-3, 6, length)
    smoothing = Smoothing(weight)
    for stop in sorted(stops):
        smoothing.upto(values[: min(stop, length)])
    found = smoothing.upto(values)
    expected = tensorboard(values.tolist(), weight)
    assert len(found) == length
    scale = np.maximum.accumulate(np.abs(values)) if length else values
    assert np.all(np.abs(found - expected) <= 1e-12 * scale * max(1.0, 1e-1 / (1 - weight)))


def test_a_constant_stays_what_it_is() -> None:
    assert Smoothing(0.999).upto(np.full(50_000, 3.25)) == pytest.approx(np.full(50_000, 3.25), rel=1e-12)


def test_only_what_is_new_is_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    part = Smoothing._part

    def counted(self: Smoothing, values: np.ndarray, count: int) -> np.ndarray:
        seen.append(len(values))
        return part(self, values, count)

    monkeypatch.setattr(Smoothing, "_part", counted)
    values = np.random.default_rng(0).normal(size=300_100)
    curve = Curve()
    x = np.arange(len(values), dtype=np.float64)
    for stop in (300_000, 300_050, 300_100):
        curve.feed(x[:stop].copy(), values[:stop].copy())
        curve.smoothed(0.9)
        curve.smoothed(0.9)
    assert sum(seen) == 300_100


@pytest.mark.parametrize("log", [False, True])
def test_nan_is_passed_over_and_a_log_axis_averages_logarithms(log: bool) -> None:
    y = np.array([1.0, 10.0, NAN, 100.0, math.inf, 0.5, -1.0, 2.0])
    curve = Curve(log)
    curve.feed(np.arange(8.0), y)
    kept = [value for value in y.tolist() if math.isfinite(value) and (value > 0 or not log)]
    expected = tensorboard([math.log10(value) for value in kept] if log else kept, 0.6)
    assert curve.smoothed(0.6) == pytest.approx(np.array(expected), rel=1e-12)
    newest = expected[-1]
    assert curve.smoothed_at(7, 0.6) == pytest.approx(10**newest if log else newest)
    assert math.isnan(curve.smoothed_at(2, 0.6))
    assert math.isnan(curve.smoothed_at(6, 0.6)) == log


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.floats(-10, 10), st.sampled_from([NAN, math.inf, -math.inf, 0.0])), max_size=300),
    st.lists(st.integers(0, 300), max_size=4),
    st.booleans(),
)
def test_a_curve_that_grew_is_the_curve_that_came_at_once(
    values: list[float], stops: list[int], log: bool
) -> None:
    y = np.array(values, np.float64)
    x = np.arange(len(y), dtype=np.float64)
    grown, whole = Curve(log), Curve(log)
    for stop in [*sorted(stops), len(y)]:
        grown.feed(x[:stop].copy(), y[:stop].copy())
        grown.smoothed(0.5)
    whole.feed(x, y)
    for name in ("x", "y", "bad_x", "bad_kind", "all_x", "all_y"):
        assert np.array_equal(getattr(grown, name), getattr(whole, name), equal_nan=True), name
    breaks = [np.zeros(len(c.x)) if c.breaks is None else c.breaks for c in (grown, whole)]
    assert np.array_equal(*breaks)
    assert grown.smoothed(0.5) == pytest.approx(whole.smoothed(0.5))
    assert len(grown.x) + len(grown.bad_x) == len(y)


def test_feeding_says_whether_anything_changed() -> None:
    curve = Curve()
    x, y = np.arange(5.0), np.array([1, 2, NAN, 4, 5])
    assert curve.feed(x, y)
    assert not curve.feed(x, y)
    assert not curve.feed(x.copy(), y.copy())
    assert curve.feed(np.arange(6.0), np.append(y, 6.0))
    rewound = np.array([1.0, 2.0, 3.0])
    assert curve.feed(np.arange(3.0), rewound)
    assert curve.y.tolist() == [1, 2, 3]
    assert curve.feed(np.arange(-2.0, 3.0), np.arange(5.0)), "older points may come before"
    assert curve.x[0] == -2
    with pytest.raises(ValueError, match="2 places and 1 values"):
        curve.feed(np.arange(2.0), np.arange(1.0))


def test_a_clock_that_jumps_back_puts_points_in_the_order_of_their_x() -> None:
    curve = Curve()
    curve.feed(np.array([0.0, 1, 2]), np.array([10.0, 11, 12]))
    x, y = np.array([0.0, 1, 2, 0.5, NAN, 1.5]), np.array([10.0, 11, 12, 13, 14, 15])
    assert curve.feed(x, y)
    assert curve.x.tolist() == [0, 0.5, 1, 1.5, 2]
    assert curve.y.tolist() == [10, 13, 11, 15, 12]
    assert curve.feed(np.append(x, 3.0), np.append(y, 16.0))
    assert curve.x.tolist() == [0, 0.5, 1, 1.5, 2, 3]


def test_the_nearest_point_is_the_latest_of_equals() -> None:
    curve = Curve()
    assert curve.nearest(1) is None
    curve.feed(np.array([0.0, 10, 10, 20]), np.arange(4.0))
    assert [curve.nearest(x) for x in (-5, 4, 6, 10, 16, 99)] == [0, 0, 2, 2, 3, 3]


def test_growing_and_beginning() -> None:
    growing = Growing()
    for k in range(100):
        growing.extend(np.full(k, float(k)))
    assert len(growing) == 4950
    assert growing.values[-1] == 99
    a = np.array([1.0, NAN, 3.0])
    assert begins_with(np.append(a, 4.0), a)
    assert begins_with(a, a[:2])
    assert not begins_with(a, np.append(a, 4.0))
    assert not begins_with(np.array([1.0, 2.0, 3.0]), a)
