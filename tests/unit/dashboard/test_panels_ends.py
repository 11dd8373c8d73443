"""How runs end while one looks: told, with a bell where it is bad, and listed among the alerts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nanoshell.dashboard.course import Course
from nanoshell.dashboard.panels.alerts import AlertsPanel, EndWatch, broken_end
from nanoshell.dashboard.panels.runs import RunsPanel
from nanoshell.runs.status import RunStatus, State
from nanoshell.testing import FakeRun
from tests.unit.dashboard.desk import run, shown


@pytest.mark.parametrize(
    ("end", "reason", "said", "rings"),
    [
        ("crashed", "", "fake-1: crashed at step 3: process", 1),
        ("failed", "the loss is no number", "fake-1: failed at step 3: the loss is no number", 1),
        ("finished", "", "fake-1: finished at step 3", 0),
        ("stopped", "as it was asked to", "fake-1: stopped at step 3: as it was asked to", 0),
    ],
)
@pytest.mark.parametrize("silent", [False, True])
def test_an_end_is_told_once_and_rings_where_it_is_bad(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    end: str,
    reason: str,
    said: str,
    rings: int,
    silent: bool,
) -> None:
    bells: list[str] = []

    async def scene() -> None:
        with FakeRun(tmp_path) as fake:
            fake.step(3)
            async with shown(tmp_path, [RunsPanel, AlertsPanel], [fake]) as desk:
                monkeypatch.setattr(desk.app, "bell", lambda: bells.append(end))
                desk.app.query_one(AlertsPanel).silent = silent
                await desk.pilot.pause(0.3)
                assert desk.notices == []
                fake.finish(end, reason)
                for _ in range(3):
                    desk.feed.read()
                    await desk.until(lambda: any(notice.startswith(said) for notice in desk.notices))
                    await desk.pilot.pause(0.3)
                assert len(desk.notices) == 1
                desk.app.action_view(len(desk.app.views) - 1)
                await desk.sees("alert")
                if rings:
                    await desk.sees("1 alert;", f"step 3  {end}")
                    assert "nothing was found to be wrong" not in desk.text
                else:
                    await desk.sees("no alerts;", "nothing was found to be wrong")

    run(scene)
    assert len(bells) == (0 if silent else rings)


def test_who_ended_before_one_looked_is_not_told_of_and_a_second_end_is(tmp_path: Path) -> None:
    with FakeRun(tmp_path) as fake:
        course = Course(fake.run, RunStatus("crashed", "process 7 is gone", step=4, updated=9.0))
    watch = EndWatch()

    def stands(state: State) -> bool:
        return bool(watch.new([replace(course, status=replace(course.status, state=state))]))

    states: list[State] = ["crashed", "crashed", "running", "crashed", "crashed", "gone", "running", "silent"]
    assert [stands(state) for state in states] == [False, False, False, True, False, True, False, True]


def test_a_crash_says_how_to_go_on_and_what_is_gone_is_not_to_be_gone_on_with(tmp_path: Path) -> None:
    with FakeRun(tmp_path) as fake:
        course = Course(fake.run, RunStatus("crashed", "process 7\nis gone", step=4, updated=9.0))
    alert = broken_end(course)
    assert alert is not None
    assert (alert["message"], alert["t"]) == ("process 7 is gone", 9.0)
    assert "train --resume fake-1" in alert["hint"]
    gone = broken_end(replace(course, status=RunStatus("gone", "its folder is gone")))
    assert gone is not None
    assert not gone["hint"]
    assert broken_end(replace(course, status=RunStatus("running"))) is None
