"""Scales, ticks, the words of labels, and moving the view."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st

from nanoshell.dashboard.chart import navigate
from nanoshell.dashboard.chart.axes import gutter_for, x_labels, y_labels
from nanoshell.dashboard.chart.scale import Scale, spread, tick_step, ticks
from nanoshell.dashboard.chart.words import duration, labels, short
from nanoshell.dashboard.course import AXES, Sight

finite = st.floats(-1e12, 1e12)


@settings(max_examples=200, deadline=None)
@given(finite, finite, st.integers(1, 30), st.sampled_from(["linear", "log", "time", "whole"]))
def test_ticks_are_round_few_and_within(a: float, b: float, most: int, kind: str) -> None:
    low, high = sorted((abs(a), abs(b)) if kind == "log" else (a, b))
    assume(high - low > 1e-6 * max(abs(low), abs(high)) and high - low > 1e-9)
    assume(kind != "log" or low > 1e-9)
    scale = Scale(low, high, log=kind == "log")
    found = ticks(scale, most, whole=kind == "whole", time=kind == "time")
    assert len(found) <= most
    assert found == sorted(set(found))
    room = 1e-6 * (high - low)
    assert all(low - room <= value <= high + room for value in found)
    if kind == "whole":
        assert all(value == round(value) for value in found)
    if kind == "linear" and len(found) > 1:
        digits = tick_step(found) / 10 ** math.floor(math.log10(tick_step(found) * 1.0001))
        assert min(abs(digits - k) for k in (1, 2, 5, 10)) < 1e-3
    if most >= 8 and kind == "linear":
        assert len(found) >= 3


@settings(max_examples=200, deadline=None)
@given(finite, finite, st.integers(1, 300), st.sampled_from(AXES), st.booleans(), st.integers(1, 100))
def test_labels_never_overlap(a: float, b: float, columns: int, axis: str, log: bool, rows: int) -> None:
    low, high = sorted((abs(a) + 1e-3, abs(b) + 1e-3) if log else (a, b))
    scale = spread(low, high, log)
    free = 0
    texts = []
    for column, begin, text in x_labels(scale, columns, axis):  # type: ignore[arg-type]
        assert begin >= free
        assert begin >= 0
        assert begin + len(text) <= columns
        assert 0 <= column < columns
        free = begin + len(text) + 1
        texts.append(text)
    if high - low > 1e-6 * max(1.0, abs(low), abs(high)):
        assert len(set(texts)) == len(texts)
    assert len(set(y_labels(scale, rows, 4))) >= min(2, rows), "each end has one, or a tick near it"
    lines = [row for row, _ in y_labels(scale, rows)]
    assert rows < 2 or (lines[0] <= 1 and lines[-1] >= rows - 2)
    assert lines == sorted(set(lines))
    assert all(0 <= row < rows for row in lines)


def test_ticks_of_a_linear_axis_are_all_labelled_or_fewer() -> None:
    rows, texts = zip(*y_labels(Scale(2.55, 3.75), 11, 4), strict=True)
    inner = [float(text) for text in texts[1:-1]]
    assert len({round(b - a, 6) for a, b in itertools.pairwise(inner)}) <= 1
    assert min(b - a for a, b in itertools.pairwise(rows)) >= 2


def test_the_gutter_only_grows_and_leaves_room_for_the_plot() -> None:
    assert gutter_for([(0, "1")], 80) == 7
    assert gutter_for([(0, "1.234567")], 80) == 9
    assert gutter_for([(0, "1")], 80, 9) == 9
    assert gutter_for([(0, "1" * 40)], 60) == 20
    assert gutter_for([(0, "1")], 12) == 0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (2.31449, "2.314"),
        (-2.31449, "-2.314"),
        (1234.5, "1234"),
        (12346, "12.35k"),
        (1_200_000, "1.2M"),
        (9_999_999, "10M"),
        (3.2e12, "3.2T"),
        (0.0003, "3e-4"),
        (0.00012345, "1.234e-4"),
        (1e300, "1e300"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
    ],
)
def test_short(value: float, text: str) -> None:
    assert short(value) == text


def test_short_with_few_digits_needs_no_power_of_ten() -> None:
    assert [short(value, 3) for value in (1, 999, 1000, 2000, 20_000)] == ["1", "999", "1k", "2k", "20k"]
    found = [short(value, digits) for value, digits in ((12.3, 1), (123, 2), (96, 1), (987, 1), (12_345, 1))]
    assert found == ["10", "120", "100", "1k", "10k"]


@pytest.mark.parametrize(
    ("seconds", "step", "text"),
    [
        (0, 1, "0s"),
        (45, 15, "45s"),
        (150, 30, "2m30s"),
        (120, 60, "2m"),
        (3900, 300, "1h05m"),
        (7200, 3600, "2h"),
        (3725, 5, "1h02m05s"),
        (273600, 3600, "3d04h"),
        (0.5, 0.25, "0.5s"),
        (-90, 30, "-1m30s"),
    ],
)
def test_duration(seconds: float, step: float, text: str) -> None:
    assert duration(seconds, step) == text


@pytest.mark.parametrize(
    ("values", "step", "texts"),
    [
        ([0, 500_000, 1_000_000], 500_000, ["0", "0.5M", "1.0M"]),
        ([2000, 4000, 6000], 2000, ["2000", "4000", "6000"]),
        ([0, 2000, 10_000], 2000, ["0", "2k", "10k"]),
        ([1e-4, 1.5e-4], 5e-5, ["1e-4", "1.5e-4"]),
        ([2.34001, 2.34002], 1e-5, ["2.34001", "2.34002"]),
        ([1_234_560, 1_234_561], 1, ["1234560", "1234561"]),
    ],
)
def test_labels_tell_ticks_apart(values: list[float], step: float, texts: list[str]) -> None:
    assert labels(values, step) == texts


@settings(max_examples=100, deadline=None)
@given(st.floats(0.001, 1e6), st.floats(1.001, 1e6), st.floats(0, 1), st.booleans())
def test_a_place_and_its_value_are_inverse(low: float, factor: float, place: float, log: bool) -> None:
    scale = Scale(low, low * factor, log)
    assert scale.place_of(scale.at(place)) == pytest.approx(place, abs=1e-6)
    edges = scale.edges(7)
    assert np.all(np.diff(edges) >= 0)
    assert (edges[0], edges[-1]) == (scale.low, scale.high)


SPAN = (0.0, 1000.0)


def bounds(sight: Sight, span: tuple[float, float] = SPAN) -> tuple[float, float]:
    scale = navigate.seen(sight, span)
    return scale.low, scale.high


def test_zooming_keeps_what_is_under_the_pointer() -> None:
    sight = Sight(left=200, right=600, follow=False)
    near = navigate.zoomed(sight, SPAN, 0.5, 0.25)
    assert bounds(near) == pytest.approx((250, 450))
    assert not near.follow
    assert bounds(navigate.zoomed(near, SPAN, 2, 0.25)) == pytest.approx((200, 600))


def test_zooming_by_keys_keeps_the_newest_while_following() -> None:
    near = navigate.zoomed(Sight(), SPAN, 0.5)
    assert bounds(near) == pytest.approx((500, 1000))
    assert near.follow
    assert bounds(near, (0, 1200)) == pytest.approx((700, 1200)), "the width stays"
    assert bounds(navigate.zoomed(Sight(left=200, right=600, follow=False), SPAN, 0.5)) == pytest.approx(
        (300, 500)
    )


def test_zooming_out_beyond_all_shows_all() -> None:
    sight = navigate.zoomed(Sight(left=200, right=600, follow=False), SPAN, 100)
    assert (sight.left, sight.right, sight.follow) == (None, None, True)


def test_zooming_in_ends_where_floats_do() -> None:
    sight = Sight()
    for _ in range(500):
        sight = navigate.zoomed(sight, SPAN, 0.8, 0.3)
    low, high = bounds(sight)
    assert low < high
    assert high - low >= 1e-7


def test_panning_stays_within_the_data_and_leaves_and_finds_the_newest() -> None:
    sight = Sight(left=800, right=1000, follow=True)
    left = navigate.panned(sight, SPAN, -0.5)
    assert bounds(left) == pytest.approx((700, 900))
    assert not left.follow
    right = navigate.panned(left, SPAN, 10)
    assert bounds(right) == pytest.approx((800, 1000))
    assert right.follow
    assert bounds(navigate.panned(left, SPAN, -100)) == pytest.approx((0, 200))
    assert navigate.panned(Sight(), SPAN, 0.5) == Sight()


def test_following_can_be_switched() -> None:
    sight = Sight(left=100, right=300, follow=False)
    follows = navigate.following(sight, SPAN)
    assert bounds(follows) == pytest.approx((800, 1000))
    still = navigate.following(follows, SPAN)
    assert bounds(still, (0, 5000)) == pytest.approx((800, 1000))
    assert navigate.whole(still).left is None


def test_a_young_run_that_is_followed_begins_at_the_left_edge() -> None:
    assert bounds(Sight(left=500, right=1500, follow=True), (0, 100)) == (0, 100)


def test_moving_on_a_log_axis() -> None:
    span, sight = (1.0, 10_000.0), Sight(log_x=True)
    near = navigate.zoomed(sight, span, 0.5, 0.0)
    assert bounds(near, span) == pytest.approx((1, 100))
    moved = navigate.panned(near, span, 0.5)
    assert bounds(moved, span) == pytest.approx((10, 1000))
    assert bounds(navigate.panned(moved, span, 5), span) == pytest.approx((100, 10_000))


def test_the_crosshair_takes_the_view_along() -> None:
    sight = Sight(left=100, right=200, follow=False)
    assert navigate.showing(sight, SPAN, 150) == Sight(left=100, right=200, follow=False, cursor=150)
    low, high = bounds(navigate.showing(sight, SPAN, 205))
    assert low < 205 < high
    assert high - low == pytest.approx(100)
