"""The crosshair among several runs: the next point, the highest and lowest, steps, zoom around it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from nanoshell.dashboard.app import DashboardApp
from nanoshell.dashboard.chart.curve import ChartSeries
from nanoshell.dashboard.chart.drawing import draw
from nanoshell.dashboard.chart.line_chart import LineChart
from nanoshell.dashboard.chart.palette import Look
from nanoshell.dashboard.chart.title import title_words
from nanoshell.dashboard.course import Course, Series, Sight
from nanoshell.dashboard.finding import found
from nanoshell.dashboard.panels.figures import along
from nanoshell.dashboard.panels.kinds import LearningRateChart, LossChart
from nanoshell.dashboard.panels.places import step_named
from nanoshell.dashboard.questions import AskLine
from nanoshell.testing import FakeRun

from .stage import HandFeed, desk, play as stage_play, until
from .still import play as play_dashboard, settled, shows, text
from .test_chart_widget import Charts, play, shown

SHORT = np.arange(1.0, 931.0)
LONG = np.arange(1.0, 100_001.0)
SPIKE = 43_210.0


def overlay() -> list[ChartSeries]:
    """Return a short run in focus, a long one with a spike and a dip, and a sparse series."""
    y = 3 - LONG / 100_000
    y[int(SPIKE) - 1], y[69_999], y[1233] = 37.5, 0.25, math.inf
    return [
        ChartSeries("long", LONG, y, 1),
        ChartSeries("evals", LONG[999::1000], y[999::1000], 1, points=True),
        ChartSeries("short", SHORT, 4 - SHORT / 930, 0, focused=True),
    ]


def in_overlay(act: Callable[[LineChart], object]) -> None:
    async def scene(app: Charts, pilot: Pilot[None]) -> None:
        app.first.set_series(overlay())
        await pilot.pause()
        act(app.first)

    play(scene)


def test_stepping_where_the_run_in_focus_has_no_points_goes_along_those_that_are_seen() -> None:
    def act(chart: LineChart) -> None:
        chart.look(Sight(left=43_000, right=43_400, follow=False, cursor=SPIKE))
        window = shown(chart)
        for step, wanted in ((chart.action_cursor_back, SPIKE - 1), (chart.action_cursor_on, SPIKE)):
            step()
            assert (chart.sight.cursor, shown(chart)) == (wanted, window)
        chart.action_cursor_left()
        assert SPIKE - 12 <= (chart.sight.cursor or 0) < SPIKE
        assert shown(chart) == window
        chart.look(replace(chart.sight, cursor=None))
        chart.action_cursor_back()
        assert (chart.sight.cursor, shown(chart)) == (43_399, window), "from the newest that is seen"

    in_overlay(act)


def test_stepping_off_the_run_in_focus_goes_on_along_the_others_and_comes_back() -> None:
    def act(chart: LineChart) -> None:
        chart.look(Sight(left=900, right=1100, follow=False, cursor=930))
        for step, wanted in (
            (chart.action_cursor_on, 931),
            (chart.action_cursor_on, 932),
            (chart.action_cursor_back, 931),
            (chart.action_cursor_back, 930),
            (chart.action_cursor_back, 929),
        ):
            step()
            assert chart.sight.cursor == wanted
        chart.look(replace(chart.sight, left=None, right=None, cursor=99_999.0))
        chart.action_cursor_right()
        assert chart.sight.cursor == 100_000, "the last, where less than a column is left"
        chart.action_cursor_on()
        assert chart.sight.cursor == 100_000

    in_overlay(act)


def test_a_sparse_run_in_focus_is_stepped_along_where_its_points_are_near() -> None:
    def act(chart: LineChart) -> None:
        sparse = ChartSeries("sparse", LONG[9::10], LONG[9::10], 0, focused=True)
        chart.set_series([overlay()[0], sparse])
        chart.look(Sight(left=400, right=600, follow=False, cursor=500))
        chart.action_cursor_on()
        assert chart.sight.cursor == 510
        chart.look(replace(chart.sight, left=509.0, right=511.0))
        chart.action_cursor_on()
        assert chart.sight.cursor == 511, "what is near is the other run's"

    in_overlay(act)


def test_the_highest_and_the_lowest_point_that_is_seen_are_found_in_all_runs() -> None:
    def act(chart: LineChart) -> None:
        chart.action_highest()
        assert chart.sight.cursor == SPIKE
        chart.action_lowest()
        assert chart.sight.cursor == 70_000
        chart.look(Sight(left=1, right=2000, follow=False))
        window = shown(chart)
        chart.action_highest()
        assert (chart.sight.cursor, shown(chart)) == (1, window), "of what is seen, and not an infinite one"
        chart.set_series([ChartSeries("none", SHORT, np.full(930, math.nan))])
        chart.action_lowest()
        assert chart.sight.cursor == 1

    in_overlay(act)


def test_zooming_by_keys_is_around_the_crosshair_that_is_seen() -> None:
    def act(chart: LineChart) -> None:
        chart.look(replace(chart.sight, cursor=SPIKE))
        column = chart._column(SPIKE) if shown(chart) else None
        for _ in range(12):
            chart.action_zoom_in()
            shown(chart)
            assert abs((chart._column(SPIKE) or 0) - (column or 0)) <= 1
        assert not chart.sight.follow
        chart.action_zoom_out()
        shown(chart)
        assert abs((chart._column(SPIKE) or 0) - (column or 0)) <= 1
        chart.look(Sight(left=90_000, right=100_000, cursor=SPIKE))
        chart.action_zoom_in()
        assert shown(chart) == pytest.approx((92_000, 100_000)), "it is out of sight: the newest stays"

    in_overlay(act)


def test_by_step_the_mouse_points_at_whole_steps() -> None:
    async def scene(app: Charts, pilot: Pilot[None]) -> None:
        chart = app.first
        chart.set_series([ChartSeries("evals", LONG[999::1000], LONG[999::1000], points=True)])
        for left, right in ((1.0, 100_000.0), (43_209.6, 43_214.3)):
            app.first.look(Sight(left=left, right=right, follow=False))
            await pilot.pause()
            for column in (9, 23, 42, 79):
                await pilot.hover(chart, offset=(column, 5))
                at = chart.sight.cursor
                assert at is not None
                assert at == round(at)
                assert left <= at <= right
                assert f" at step {at:,.0f} " in chart.render_line(0).text
        chart.look(Sight(left=43_210.1, right=43_210.9, follow=False))
        await pilot.pause()
        await pilot.hover(chart, offset=(40, 5))
        assert 43_210.1 < (chart.sight.cursor or 0) < 43_210.9, "no whole step is seen"

    play(scene)


@pytest.mark.parametrize(
    ("at", "width", "said"),
    [
        (43_170.0, 80, "at step 43,170"),
        (43_170.0, 30, "at step 43,170"),
        (1_234_567.0, 80, "at step 1,234,567"),
        (1_234_567.0, 36, "at step 1.235M"),
        (43_169.6, 80, "at step 43,169.6"),
    ],
)
def test_the_step_of_the_crosshair_is_written_in_full_where_there_is_room(
    at: float, width: int, said: str
) -> None:
    frame = draw([], (), Sight(), (1, 2_000_000), Look(), (width, 20))
    told = title_words("", "", [], frame, Sight(cursor=at), Look(), width)
    assert "".join(text for text, _ in told).strip() == said


def test_a_crosshair_that_comes_back_to_steps_stands_at_a_whole_one() -> None:
    step = np.arange(1.0, 101.0)
    course = Course(run=None, status=None, series={"loss": Series(step, step * 512, step * 0.37, step)})  # type: ignore[arg-type]
    assert along(Sight(axis="time", cursor=15.1), "step", course).cursor == 41


def go_to(app: DashboardApp, pilot: Pilot[Any], text: str) -> Any:
    """Ask for a step by its key, and answer ``text``."""

    async def answer() -> None:
        await pilot.press("j")
        await shows(app, pilot, lambda: isinstance(app.screen, AskLine))
        app.screen.query_one(Input).value = text
        await pilot.press("enter")

    return answer()


def test_a_step_is_gone_to_by_its_number_on_any_axis(nanoshell_fake_run: Callable[..., FakeRun]) -> None:
    runs = [nanoshell_fake_run("short"), nanoshell_fake_run("long")]
    runs[0].step(30)
    runs[1].step(1500)

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        chart, other = app.query_one(LossChart).chart, app.query_one(LearningRateChart).chart
        await pilot.press("plus", "plus", "plus")
        await go_to(app, pilot, "0.1k")
        await shows(app, pilot, lambda: chart.sight.cursor == 100)
        assert other.sight.cursor == 100
        low, high = shown(chart)
        assert (low <= 100 <= high, high - low) == (True, pytest.approx(768, abs=40))
        await go_to(app, pilot, "nowhere")
        await shows(app, pilot, lambda: "'nowhere' is no step" in text(app))
        await pilot.press("escape")
        await go_to(app, pilot, "1501")
        await shows(app, pilot, lambda: "go from step 1 to 1,500" in text(app))
        await pilot.press("escape")
        assert chart.sight.cursor == 100
        await pilot.press("x")
        await settled(app, pilot)
        await go_to(app, pilot, "1,200")
        await shows(app, pilot, lambda: chart.sight.cursor == 1200 * 512)
        await pilot.press("t")
        await shows(app, pilot, lambda: other.sight.cursor == chart.sight.cursor != 1200 * 512)

    play_dashboard(runs, [LossChart, LearningRateChart], scene)


def test_where_there_are_no_steps_it_is_said(tmp_path: Path) -> None:
    feed = HandFeed()
    app = desk(tmp_path, LossChart, feed=feed)

    async def scene(pilot: Pilot[None]) -> None:
        feed.hand()
        await until(pilot, lambda: "no data yet" in text(app))
        await pilot.press("j")
        await until(pilot, lambda: "no steps yet" in text(app))

    stage_play(app, scene)


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("43210", 43210), ("43,210", 43210), ("43_210", 43210), ("43k", 43000), ("43.21K", 43210),
        ("step 7", 7), ("1.5m", 1_500_000), ("1.5", None), ("", None), ("k", None), ("nan", None),
        ("inf", None),
    ],
)  # fmt: skip
def test_steps_are_read_as_people_write_them(text: str, step: float | None) -> None:
    assert step_named(text) == step


def test_the_palette_finds_what_is_done_with_the_crosshair(
    nanoshell_fake_run: Callable[..., FakeRun],
) -> None:
    run = nanoshell_fake_run()
    run.step(3)

    async def scene(app: DashboardApp, _pilot: Pilot[Any]) -> None:
        for typed, wanted in (
            ("peak", "Crosshair to the highest point that is seen"),
            ("spike", "Crosshair to the highest point that is seen"),
            ("step", "Go to a step"),
            ("go to", "Go to a step"),
            ("lowest", "Crosshair to the lowest point that is seen"),
        ):
            assert wanted in [offer.name for offer in found(app, typed)][:3]

    play_dashboard([run], [LossChart], scene)
