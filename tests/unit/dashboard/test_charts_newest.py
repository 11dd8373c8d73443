"""A chart that comes into sight shows what is newest, however it was hidden and though nothing more comes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from nanoshell.dashboard.app import DashboardApp
from nanoshell.dashboard.chart.words import short
from nanoshell.dashboard.panels.charts import ChartPanel
from nanoshell.dashboard.panels.kinds import CHARTS, chart_panel
from nanoshell.dashboard.panels.samples import SamplesPanel
from nanoshell.testing import FakeRun

from .still import feed_of, play, settled, shows, text

_runs: list[FakeRun] = []
ALL: list[Callable[[], Any]] = [*(lambda name=name: chart_panel(name) for name in CHARTS), SamplesPanel]
Scene = Callable[[DashboardApp, "Pilot[Any]"], Awaitable[None]]


@pytest.fixture
def learning(nanoshell_fake_run: Callable[..., FakeRun]) -> FakeRun:
    fake = nanoshell_fake_run(total_steps=100)
    fake.step(20)
    fake.eval()
    fake.sample()
    return fake


async def maximise_and_back(app: DashboardApp, pilot: Pilot[Any]) -> None:
    await pilot.press("enter")
    await _ends(app, pilot)
    await pilot.press("comma", "comma", "full_stop", "enter")


async def other_view_and_back(app: DashboardApp, pilot: Pilot[Any]) -> None:
    await pilot.press("2")
    await _ends(app, pilot)
    await pilot.press("1")


async def next_page(app: DashboardApp, pilot: Pilot[Any]) -> None:
    await _ends(app, pilot)
    await pilot.press("comma", "pagedown")


async def larger(app: DashboardApp, pilot: Pilot[Any]) -> None:
    await _ends(app, pilot)
    await pilot.press("comma")
    await pilot.resize_terminal(200, 60)


async def too_small_and_back(app: DashboardApp, pilot: Pilot[Any]) -> None:
    await pilot.resize_terminal(30, 6)
    await _ends(app, pilot)
    await pilot.resize_terminal(160, 48)


async def maximised_and_larger(app: DashboardApp, pilot: Pilot[Any]) -> None:
    await pilot.press("enter", "2")
    await _ends(app, pilot)
    await pilot.press("1", "enter")
    await pilot.resize_terminal(40, 10)
    await pilot.resize_terminal(200, 60)


async def hidden_and_shown(app: DashboardApp, pilot: Pilot[Any]) -> None:
    await pilot.press("h")
    await _ends(app, pilot)
    await pilot.press("u")
    await shows(app, pilot, lambda: next(app.view.visible_slots()).panel_id == "loss")


async def in_a_dialog(app: DashboardApp, pilot: Pilot[Any]) -> None:
    await pilot.press("question_mark")
    await _ends(app, pilot)
    await pilot.resize_terminal(160, 48)
    await pilot.press("escape")


async def away_and_back(app: DashboardApp, pilot: Pilot[Any]) -> None:
    app.app_suspend_signal.publish(app)
    await _ends(app, pilot)
    app.app_resume_signal.publish(app)
    await pilot.resize_terminal(160, 48)


async def _ends(app: DashboardApp, pilot: Pilot[Any]) -> None:
    """Let the run go on and end: nothing is handed over after that."""
    before, fake = app.snapshot, _runs[0]
    fake.step(30)
    fake.eval()
    fake.finish()
    feed_of(app).read()
    await shows(app, pilot, lambda: app.snapshot is not before)
    await pilot.pause()


@pytest.mark.parametrize(
    "hide",
    [
        maximise_and_back,
        other_view_and_back,
        next_page,
        larger,
        too_small_and_back,
        maximised_and_larger,
        hidden_and_shown,
        in_a_dialog,
        away_and_back,
    ],
)
def test_charts_that_come_into_sight_show_the_newest(hide: Scene, learning: FakeRun) -> None:
    _runs[:] = [learning]

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await hide(app, pilot)
        await settled(app, pilot)
        charts = [slot.panel for slot in app.view.visible_slots()]
        assert charts
        for panel in charts:
            assert isinstance(panel, ChartPanel)
            assert panel.chart.series, panel.panel_id
            assert all(one.x[-1] == 50 for one in panel.chart.series), panel.panel_id
            assert panel.chart.sight.cursor == app.sight.cursor
            title = panel.chart.render_line(0).text
            newest = panel.chart.read_off()[0][2]
            assert any(short(newest, digits) in title for digits in (3, 4)), (panel.panel_id, title)
            assert title.strip() in text(app), "it is on the screen, too"

    play([learning], ALL, scene)
