"""The pace of updates: often while somebody is there, and by what they take."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from textual.pilot import Pilot

from nanoshell.dashboard import pace, showing
from nanoshell.dashboard.pace import Pace
from nanoshell.dashboard.panel import Panel
from nanoshell.testing import FakeRun
from tests.unit.dashboard.stage import HandFeed, desk, kind, play, until


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_it_rests_by_what_an_update_takes_and_by_who_is_there(clock: list[float]) -> None:
    found = Pace()
    found.judge(0.001)
    assert found.rest_seconds == pace.REFRESH_SECONDS
    found.judge(0.05)
    assert found.rest_seconds == pytest.approx(0.05 / pace.ATTENDED_SHARE)
    clock[0] += pace.ATTENTION_SECONDS
    assert found.rest_seconds == pytest.approx(0.05 / pace.QUIET_SHARE)
    found.judge(0.001)
    assert found.rest_seconds == pace.QUIET_SECONDS
    found.judge(60.0)
    assert found.rest_seconds == pace.LONGEST_SECONDS
    found.judge(0.001)
    found.notice()
    assert found.rest_seconds == pace.REFRESH_SECONDS


def test_a_key_brings_what_waits_for_a_quiet_update(
    tmp_path: Path, nanoshell_fake_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "ATTENTION_SECONDS", 0.0)
    monkeypatch.setattr(pace, "QUIET_SECONDS", 3600.0)
    fake: FakeRun = nanoshell_fake_run()
    feed = HandFeed()
    app = desk(tmp_path, kind(), feed=feed)

    async def scene(pilot: Pilot[None]) -> None:
        assert isinstance(app, showing.Showing)
        slot = app.view.slots[0]
        first = feed.give(fake.run)
        await until(pilot, lambda: slot.saw(first))
        feed.give(fake.run)
        second = feed.give(fake.run)
        await pilot.pause()
        assert not slot.saw(second), "nobody is there: it comes in an hour"
        monkeypatch.setattr(pace, "ATTENTION_SECONDS", 20.0)
        await pilot.press("j")
        await until(pilot, lambda: slot.saw(second))
        assert first is not second

    play(app, scene)


def test_the_runs_are_read_less_often_while_nobody_is_there_and_all_is_read(
    tmp_path: Path, nanoshell_fake_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "ATTENTION_SECONDS", 0.0)
    monkeypatch.setattr(showing, "SHARE_SECONDS", 0.01)
    fake: FakeRun = nanoshell_fake_run()
    feed = HandFeed()
    app = desk(tmp_path, kind(), feed=feed)

    async def scene(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: feed.asked == [("rest", True)])
        feed.give(fake.run, complete=False)
        await until(pilot, lambda: feed.asked[1:] == [("rest", False)])
        feed.give(fake.run)
        await until(pilot, lambda: feed.asked[2:] == [("rest", True)])
        monkeypatch.setattr(pace, "ATTENTION_SECONDS", 3600.0)
        await pilot.press("j")
        await until(pilot, lambda: feed.asked[3:] == [("rest", False)])

    play(app, scene)


class Clock(Panel):
    """A panel that counts what it does by itself."""

    panel_id = "clock"
    title = "Clock"
    place = "run"
    turns = 0

    def on_mount(self) -> None:
        self.every(0.01, self.turn)

    def turn(self) -> None:
        self.turns += 1


def test_what_a_panel_does_by_itself_it_does_while_it_is_seen(tmp_path: Path) -> None:
    app = desk(tmp_path, kind(), Clock)

    async def scene(pilot: Pilot[None]) -> None:
        panel = app.query_one(Clock)
        timer = panel._regular[0][0]
        await until(pilot, lambda: not timer._active.is_set())
        for _ in range(2):
            await pilot.press("2")
            before = panel.turns
            await until(pilot, lambda: panel.turns > before + 3)  # noqa: B023
            await pilot.press("1")
            await until(pilot, lambda: not timer._active.is_set())

    play(app, scene)
