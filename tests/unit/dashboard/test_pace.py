"""The pace of updates: often while somebody is there, and by what they take."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from textual.pilot import Pilot

from nanoshell.dashboard import pace, showing
from nanoshell.dashboard.pace import Pace
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
