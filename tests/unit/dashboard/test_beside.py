"""Runs beside those that are shown: that one begins is told, and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot

from nanoshell.dashboard import beside as rooms, watch
from nanoshell.dashboard.app import DashboardApp
from nanoshell.dashboard.beside import Beside
from nanoshell.dashboard.panels.alerts import AlertsPanel
from nanoshell.dashboard.panels.runs import RunsPanel
from nanoshell.plugin.registry import Entry
from nanoshell.testing import FakeRun, write_run
from tests.unit.dashboard.stage import play, until


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks around at every turn, whatever that takes."""
    monkeypatch.setattr(watch, "LIVENESS_SECONDS", 0.0)
    monkeypatch.setattr(rooms, "_SHARE", 1e9)


def test_what_trains_beside_is_known_until_it_is_shown_or_gone(tmp_path: Path) -> None:
    write_run(tmp_path, "over")
    beside = Beside(tmp_path)

    def known() -> list[tuple[str, str]]:
        beside.look({"shown-1"})
        return [(course.run.name, course.status.state) for course in beside.courses]

    with FakeRun(tmp_path, "shown"), FakeRun(tmp_path, "live") as live, FakeRun(tmp_path, "other") as other:
        both = [("live-1", "running"), ("other-1", "running")]
        assert sorted(known()) == both
        same = beside.courses
        live.step(3)
        assert sorted(known()) == both
        assert beside.courses is same, "nothing is new that anybody is told of"
        live.crash()
        other.vanish()
        assert known() == [("live-1", "crashed")]
        live.start()
        assert known() == [("live-1", "running")]
        beside.look({"shown-1", "live-1"})
        assert beside.courses == ()


def test_a_run_that_nobody_shows_is_told_of_as_it_begins_and_ends(tmp_path: Path) -> None:
    with FakeRun(tmp_path, "early"), FakeRun(tmp_path, "slow") as slow:
        panels = [Entry(panel.panel_id, panel, "tests") for panel in (RunsPanel, AlertsPanel)]
        app = DashboardApp(tmp_path, ["early-1"], panels=panels)
        said: list[str] = []
        tell = app.tell
        app.tell = lambda text, **about: (said.append(text), tell(text, **about))[1]  # type: ignore[method-assign]

        async def scene(pilot: Pilot[None]) -> None:
            await until(pilot, lambda: [course.run.name for course in app.snapshot.beside] == ["slow-1"])
            with FakeRun(tmp_path, "late") as late:
                await until(pilot, lambda: "late-1 has begun: 2, Space puts it in the charts" in said)
                slow.step(7)
                slow.finish()
                await until(pilot, lambda: "slow-1: finished at step 7" in said)
                app.action_view(1)
                panel = app.query_one(RunsPanel)
                await until(pilot, lambda: {row.run.name for row in panel.rows} >= {"late-1"})
                panel._choose("late-1")
                for shown in (True, False):  # it has not begun once more
                    await pilot.press("space")
                    await until(pilot, lambda: (len(app.snapshot.courses) == 2) is shown)  # noqa: B023
                late.step()
                late.crash()
                await until(pilot, lambda: any(text.startswith("late-1: crashed at step 1") for text in said))
            assert len(said) == 3

        play(app, scene)
