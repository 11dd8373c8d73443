"""Charts of runs that go on: what comes leaves most of what was drawn as it was, and is all there."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st
from textual.geometry import Region

from nanoshell.dashboard.chart import navigate
from nanoshell.dashboard.chart.curve import ChartSeries
from nanoshell.dashboard.chart.line_chart import LineChart
from nanoshell.dashboard.chart.scale import Scale, settled, spread
from nanoshell.dashboard.course import Sight
from tests.unit.dashboard.test_chart_widget import Charts, Pilot, play, text

RANDOM = np.random.default_rng(3)
COUNT = 3000
X = np.arange(COUNT, dtype=np.float64)
Y = 9 * np.exp(-X / 800) + 2 + RANDOM.normal(0, 0.2, COUNT)


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e9, 1e9), st.floats(1e-3, 1e9), st.booleans(), st.floats(0.01, 1))
def test_the_room_is_small_and_holds_for_a_while(first: float, width: float, log: bool, share: float) -> None:
    first = abs(first) + 1e-3 if log else first
    assume(width > 1e-6 * abs(first))
    span = (first, first + width)
    zoomed = Sight(left=first + width * (1 - share), right=first + width)
    for sight in (Sight(log_x=log), *([] if log else [zoomed])):
        begin, end = navigate.with_room(span, sight)
        assert begin == first
        assert end >= span[1]
        if log:
            assert math.log(end / span[1]) <= navigate.ROOM * math.log(span[1] / first) * (1 + 1e-6) + 1e-12
            continue
        seen = width if sight is not zoomed else zoomed.right - zoomed.left  # type: ignore[operator]
        assert end - span[1] <= navigate.ROOM * seen * (1 + 1e-6) + 1e-6 * abs(first)


def test_most_of_what_comes_leaves_the_edges_where_they_are() -> None:
    ends = [navigate.with_room((0.0, float(last)), Sight())[1] for last in range(5000, 10_000)]
    assert len(set(ends)) < 40
    assert ends == sorted(ends)


@settings(max_examples=200, deadline=None)
@given(*[st.floats(1e-6, 1e6)] * 4, st.booleans())
def test_a_settled_scale_shows_everything_and_wastes_little(
    a: float, b: float, c: float, d: float, log: bool
) -> None:
    fresh, before = spread(*sorted((a, b)), log), spread(*sorted((c, d)), log)
    found = settled(fresh, before)
    place = Scale(found.low, found.high, found.log).place(np.array([fresh.low, fresh.high]))
    assert place[0] >= -1e-6
    assert place[1] <= 1 + 1e-6
    assert place[1] - place[0] >= 0.74
    assert settled(fresh, found) == found


def test_what_is_drawn_bit_by_bit_is_what_is_drawn_at_once() -> None:
    """Only the cells that look different are painted anew, and then all look as in a chart drawn afresh."""

    async def scene(app: Charts, pilot: Pilot[None]) -> None:
        chart, other = app.first, app.second
        painted: list[Region] = []
        refresh = LineChart.refresh
        length = 2000
        chart.set_series([ChartSeries("a", X[:length], Y[:length])], growing=True)
        before = text(chart)
        cells = 0
        while length < COUNT:
            length += int(RANDOM.integers(1, 30))
            painted.clear()
            chart.refresh = lambda *regions, **_: painted.extend(regions)  # type: ignore[assignment,method-assign]
            chart.set_series([ChartSeries("a", X[:length], Y[:length])], growing=True)
            chart.refresh = refresh.__get__(chart)  # type: ignore[method-assign]
            now = text(chart)
            for y, (old, new) in enumerate(zip(before, now, strict=True)):
                shown = [region for region in painted if region.y == y]
                for column, (one, two) in enumerate(zip(old, new, strict=True)):
                    assert one == two or any(region.contains(column, y) for region in shown)
            before = now
            cells += sum(region.area for region in painted)
            assert chart._frame is not None
            other.title, other.unit, other._gutter = chart.title, chart.unit, chart._gutter
            other._frame = None
            other.set_series([ChartSeries("a", X[:length], Y[:length])], growing=True)
            other._frame = other._draw(chart._frame)
            assert np.array_equal(other._frame.picture.codes, chart._frame.picture.codes)
            assert np.array_equal(other._frame.picture.styles, chart._frame.picture.styles)
        everything = chart.size.area * (COUNT - 2000) / 15
        assert cells < 0.35 * everything
        chart.look(Sight(cursor=1000.0))
        text(chart)
        chart.set_series([ChartSeries("a", X, Y)], growing=False)
        assert text(chart)[-1].rstrip().endswith("0")

    play(scene)


def test_nothing_new_in_sight_draws_nothing() -> None:
    async def scene(app: Charts, pilot: Pilot[None]) -> None:
        chart = app.first
        chart.set_series([ChartSeries("a", X[:2000], Y[:2000])], span=(0, 1999.0), growing=True)
        text(chart)
        frames = chart.frames
        chart.set_series([ChartSeries("a", X[:2000], Y[:2000])], span=(0, 2001.0), growing=True)
        assert chart.frames == frames, "the span has grown, and the chart shows no more of it"
        assert navigate.seen(chart.sight, chart.span).high > 2001

    play(scene)


@pytest.mark.parametrize("value", [math.nan, 50.0, -50.0])
def test_a_spike_is_seen_at_once(value: float) -> None:
    async def scene(app: Charts, pilot: Pilot[None]) -> None:
        chart = app.first
        chart.set_series([ChartSeries("a", X[:2000], Y[:2000])], growing=True)
        text(chart)
        chart.set_series([ChartSeries("a", X[:2001], np.append(Y[:2000], value))], growing=True)
        assert chart._frame is not None
        if math.isnan(value):
            assert "×" in "".join(text(chart))
        else:
            assert chart._frame.y.low <= value <= chart._frame.y.high

    play(scene)
