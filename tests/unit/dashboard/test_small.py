"""Terminals of every size: from one in which nothing can be made out to one of several screens."""

from __future__ import annotations

import random
from pathlib import Path

from textual.pilot import Pilot

from nanoshell.dashboard.app import DashboardApp
from nanoshell.dashboard.panels.lines import TextLines
from nanoshell.dashboard.panels.runs import RunsPanel
from nanoshell.plugin.manager import load_plugins
from nanoshell.testing import FakeRun, write_run
from tests.unit.dashboard.stage import desk, play, screen_text, until


def test_the_chosen_line_stays_in_sight(tmp_path: Path) -> None:
    names = [write_run(tmp_path, f"run-{letter}").name for letter in "abcdefghijkl"]
    app = desk(tmp_path, RunsPanel)

    async def scene(pilot: Pilot[None]) -> None:
        await pilot.press("2")
        await until(pilot, lambda: names[-1] in screen_text(app))
        panel = app.query_one(RunsPanel)
        await pilot.press("home", *["down"] * 8)
        await until(pilot, lambda: panel.chosen == panel.rows[8].run.name)
        await until(pilot, lambda: any(panel.chosen in line for line in screen_text(app).splitlines()[4:15]))
        await pilot.resize_terminal(80, 15)
        table = app.query_one("#runs-table", TextLines)
        await until(pilot, lambda: table.rows < 8)
        shown = "\n".join(screen_text(app).splitlines()[: table.region.bottom])
        assert panel.chosen in shown

    play(app, scene)


def test_a_storm_of_sizes_and_what_is_said_where_there_is_no_room(tmp_path: Path) -> None:
    plugins = load_plugins(safe=True, strict=True)
    app = DashboardApp(tmp_path, panels=plugins.panels, sections=plugins.run_sections)
    draw = random.Random(3)

    async def scene(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "fake-1" in screen_text(app))
        focused = app.focused
        await pilot.resize_terminal(20, 5)
        await until(pilot, lambda: "needs 40 × 10" in screen_text(app))
        assert "here are 20 ×" in screen_text(app)
        assert "fake-1" not in screen_text(app)
        await pilot.resize_terminal(40, 10)
        await until(pilot, lambda: "Keys" in screen_text(app).splitlines()[-1])
        await until(pilot, lambda: "fake-1" in screen_text(app))
        assert app.focused is focused
        for size in [(1, 1), (300, 100), (39, 30), (90, 9)]:
            app.action_view(draw.randrange(len(app.views)))
            await pilot.resize_terminal(*size)
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: "Keys" in screen_text(app).splitlines()[-1])
        assert not [slot for view in app.views for slot in view.slots if slot.error is not None]
        assert app.failure is None

    with FakeRun(tmp_path) as run:
        run.step(30)
        run.eval()
        run.sample()
        run.log("a line\n")
        play(app, scene)
