"""What the y axis has room for: all that is seen, most of it or the run in focus; the rest is marked."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from textual.pilot import Pilot

from nanoshell.dashboard.app import DashboardApp
from nanoshell.dashboard.chart.curve import ChartSeries, Curve
from nanoshell.dashboard.chart.drawing import Frame, draw
from nanoshell.dashboard.chart.palette import Look, bright
from nanoshell.dashboard.course import Fit, Sight
from nanoshell.dashboard.panels.kinds import LearningRateChart, LossChart
from nanoshell.testing import FakeRun

from .still import play, settled, shows, text

Drawn = tuple[ChartSeries, Curve]


def curve(values: list[float] | np.ndarray[Any, Any], *, log: bool = False, **look: Any) -> Drawn:
    y = np.asarray(values, float)
    made = Curve(log)
    made.feed(np.arange(1.0, len(y) + 1), y)
    return ChartSeries("loss", made.all_x, y, **look), made


def drawn(series: list[Drawn], fit: Fit, *, plain: bool = False, log: bool = False) -> Frame:
    span = (1.0, float(max(len(one.all_x) for _, one in series)))
    look, sight = Look(ascii=plain), Sight(fit=fit, smoothing=0.0)
    return draw(series, [], sight, span, look, (80, 24), log_y=log)


def row(frame: Frame, at: int) -> str:
    return "".join(map(chr, frame.picture.codes[frame.layout.top + at]))


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("log", [False, True])
def test_a_spike_takes_no_height_and_is_marked_with_its_value(plain: bool, log: bool) -> None:
    values = 2 + np.sin(np.arange(1000) / 30) / 10
    values[500] = 657.0
    one = curve(values, log=log, colour=3)
    assert drawn([one], "all", log=log).y.high == 657
    frame = drawn([one], "most", plain=plain, log=log)
    assert 2.05 < frame.y.high < 2.2
    assert ("^" if plain else "▲") + "657" in row(frame, 0)
    cells = frame.picture.styles[frame.layout.top]
    assert bright(3) in cells[frame.layout.gutter :], "in the colour of its run"


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300),
    st.sampled_from(["most", "focus"]),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_whatever_is_outside_is_marked_in_its_column(values: list[float], fit: Fit, plain: bool) -> None:
    series = [curve(values, focused=fit == "most"), curve([1.0, 2.0], focused=fit == "focus", colour=1)]
    frame = drawn(series, fit, plain=plain)
    layout = frame.layout
    for x, y in enumerate(values, start=1):
        column = min(layout.columns - 1, int(frame.x.place_of(x) * layout.columns))
        place = frame.y.place_of(y)
        if place > 1.001:
            assert row(frame, 0)[layout.gutter + column] in "▲^" or any(map(str.isdigit, row(frame, 0)))
        if place < -0.001:
            edge = row(frame, layout.rows - 1)
            assert edge[layout.gutter + column] in "▼v" or any(map(str.isdigit, edge[layout.gutter :]))
    furthest = max(values)
    if frame.y.place_of(furthest) > 1.001:
        assert any(sign in row(frame, 0) for sign in "▲^")


def test_the_run_in_focus_has_all_the_height_and_one_without_the_figure_changes_nothing() -> None:
    good, bad = curve(np.linspace(3, 2, 50), focused=True), curve([10.0, 300.0, 657.0], colour=1)
    assert (drawn([good, bad], "focus").y.low, drawn([good, bad], "focus").y.high) == (2, 3)
    assert drawn([bad], "focus").y == drawn([bad], "all").y
    assert drawn([good, bad], "most").y.high == 657, "fewer than a hundred values: none is left out"


def test_the_line_alone_has_all_the_height_and_points_beyond_it_are_marked() -> None:
    line, points = curve(np.linspace(3, 2, 50)), curve([2.5, 10.0], points=True)
    frame = drawn([line, points], "lines")
    assert (frame.y.low, frame.y.high) == (2, 3)
    assert "▲10" in row(frame, 0)
    assert drawn([points], "lines").y == drawn([points], "all").y


def fit_of(app: DashboardApp) -> str:
    return app.sight.fit


@pytest.fixture
def runs(nanoshell_fake_run: Callable[..., FakeRun]) -> list[FakeRun]:
    good, bad = nanoshell_fake_run("good"), nanoshell_fake_run("bad")
    good.step(60, loss=lambda step: 3 - step / 60)
    bad.step(3, loss=lambda step: 200.0 * step)
    return [good, bad]


def test_the_key_goes_round_and_the_title_says_where_it_stands(runs: list[FakeRun], tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        chart = app.query_one(LossChart).chart
        await pilot.press("l")
        assert "▲600" not in text(app)
        await pilot.press("o")
        assert fit_of(app) == "most"
        await shows(app, pilot, lambda: "fits the middle 98%" in text(app))
        await pilot.press("o")
        await shows(app, pilot, lambda: "fits the run in focus" in text(app) and "▲600" in text(app))
        assert "▼" not in chart.to_svg()
        assert "▲" in chart.to_svg()
        assert ">600<" in chart.to_svg()
        await pilot.press("o")
        assert fit_of(app) == "all"
        await pilot.press("o", "g", "s", "s", "s")

    async def again(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await settled(app, pilot)
        titles = [line for line in text(app).splitlines() if ": log x" in line]
        assert ": log x, smoothed 0.99, fits the middle 98%─" in titles[0]
        assert "Learning rate: log x, fits the middle 98%─" in titles[1], "its figures are not smoothed"
        assert app.query_one(LossChart).chart._ready().x.log
        await pilot.press("g", "o", "o", "s")
        await shows(app, pilot, lambda: "log x" not in text(app) and "smoothed" not in text(app))

    play(runs, [LossChart, LearningRateChart], scene, state_path=kept)
    assert json.loads(kept.read_text())["sight"]["fit"] == "most"
    play(runs, [LossChart, LearningRateChart], again, state_path=kept)


def test_a_chart_with_points_offers_its_line_alone_and_others_do_not(runs: list[FakeRun]) -> None:
    runs[0].eval(val_loss=9.5)

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await settled(app, pilot)
        await pilot.press("o", "o")
        assert fit_of(app) == "lines"
        await shows(app, pilot, lambda: "fits the line alone" in text(app) and "9.5▲" in text(app))
        assert "fits" not in app.query_one(LearningRateChart).remark
        await pilot.press("tab", "o")
        assert fit_of(app) == "most", "as from all, where the line is all there is"
        await pilot.press("shift+tab", "o", "o")
        assert fit_of(app) == "all"

    play(runs[:1], [LossChart, LearningRateChart], scene)


def test_of_one_run_there_is_no_focus_to_fit(runs: list[FakeRun]) -> None:
    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        app.set_sight(replace(app.sight, fit="focus"))
        await settled(app, pilot)
        assert "focus" not in app.query_one(LossChart).remark
        await pilot.press("o")
        assert fit_of(app) == "most"
        await pilot.press("o")
        assert fit_of(app) == "all"

    play(runs[:1], [LossChart], scene)
