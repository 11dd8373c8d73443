"""Notices: few at once, each in its turn, none twice, gone with Esc, and nothing of them over a question."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from nanoshell.dashboard import notices
from nanoshell.dashboard.app import DashboardApp
from nanoshell.dashboard.notices import MOST_NOTICES
from tests.unit.dashboard.stage import HandFeed, play, screen_text, until

AN_HOUR = 3600.0


def lines(app: DashboardApp) -> list[str]:
    return screen_text(app).splitlines()


def said(app: DashboardApp) -> list[str]:
    return [notice.message for notice in app.notices]


def test_each_has_its_turn_and_is_there_once_and_esc_takes_them_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "SEEN_SECONDS", AN_HOUR)
    app = DashboardApp(tmp_path, feed=HandFeed())
    seen: list[str] = []

    async def scene(pilot: Pilot[None]) -> None:
        assert not app.fits("step_out")
        for number in range(6):
            app.tell(f"notice {number}")
            app.tell("always the same")
        await until(pilot, lambda: "notice 1" in screen_text(app))
        await pilot.pause()
        assert sorted(said(app)) == ["always the same", "notice 0", "notice 1"]
        while "notice 5" not in seen:
            seen.extend(words for words in said(app) if words not in seen)
            assert len(said(app)) <= MOST_NOTICES
            assert app.fits("step_out")
            await pilot.press("escape")  # makes room for those that wait
        assert [words for words in seen if "always" not in words] == [f"notice {at}" for at in range(6)]
        app.tell("twice")
        app.tell("twice", severity="error")  # what differs in kind is something else
        await until(pilot, lambda: said(app).count("twice") == 2)
        while said(app):
            await pilot.press("escape")
        await until(pilot, lambda: "twice" not in screen_text(app))
        assert not app.fits("step_out")

    play(app, scene)


def test_one_that_has_stood_long_enough_gives_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = DashboardApp(tmp_path, feed=HandFeed())

    async def scene(pilot: Pilot[None]) -> None:
        for number in range(MOST_NOTICES + 2):
            app.tell(f"notice {number}")
        await until(pilot, lambda: len(said(app)) == MOST_NOTICES)
        await pilot.pause()
        assert said(app) == ["notice 0", "notice 1", "notice 2"]
        now = time.time()
        monkeypatch.setattr(notices, "SEEN_SECONDS", 0.2)
        app._show_waiting()
        await until(pilot, lambda: said(app) == ["notice 2", "notice 3", "notice 4"])
        await until(pilot, lambda: "notice 4" in screen_text(app))
        assert min(notice.raised_at for notice in app.notices[1:]) >= now  # since when they are seen

    monkeypatch.setattr(notices, "SEEN_SECONDS", AN_HOUR)
    play(app, scene)


def test_a_clock_that_is_put_back_holds_none_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "SEEN_SECONDS", 0.2)
    app = DashboardApp(tmp_path, feed=HandFeed())

    async def scene(pilot: Pilot[None]) -> None:
        for number in range(MOST_NOTICES):
            app.tell(f"notice {number}")
        await until(pilot, lambda: len(said(app)) == MOST_NOTICES)
        monkeypatch.setattr(notices, "time", lambda: time.time() - AN_HOUR / 2)
        app.tell("after it")
        await until(pilot, lambda: app._waiting)
        app.drop_notice(app.notices[0])
        await until(pilot, lambda: "after it" in said(app))

    play(app, scene)


def test_of_a_flood_the_newest_are_kept(tmp_path: Path) -> None:
    app = DashboardApp(tmp_path, feed=HandFeed())

    async def scene(pilot: Pilot[None]) -> None:
        for number in range(100):
            app.tell(f"notice {number}")
        await until(pilot, lambda: app._waiting and app._waiting[-1].message == "notice 99")
        assert len(app._waiting) == notices.MOST_WAITING

    play(app, scene)


def test_what_is_said_about_a_key_takes_the_place_of_what_was_said_before(tmp_path: Path) -> None:
    app = DashboardApp(tmp_path, feed=HandFeed())

    async def scene(pilot: Pilot[None]) -> None:
        app.tell("written")
        for number in range(5):
            app.tell(f"smoothing {number}", about="smoothing")
        await until(pilot, lambda: "smoothing 4" in screen_text(app))
        assert said(app) == ["written", "smoothing 4"]
        first, last = app.notices
        assert last.timeout < 3 < first.timeout
        await pilot.press("question_mark")
        await until(pilot, lambda: len(app.screen_stack) == 2)
        app.tell("smoothing 5", about="smoothing")
        app.tell("smoothing 6", about="smoothing")
        await pilot.press("escape")
        await until(pilot, lambda: said(app) == ["written", "smoothing 6"])

    play(app, scene)


def test_long_ones_leave_the_headline_the_tabs_and_the_keys_free(tmp_path: Path) -> None:
    app = DashboardApp(tmp_path, feed=HandFeed())

    async def scene(pilot: Pilot[None]) -> None:
        before = lines(app)
        for number in range(MOST_NOTICES):
            app.tell(f"{number} " + "a long notice of many words " * 20, severity="warning")
        await until(pilot, lambda: "2 a long notice" in screen_text(app))
        after = lines(app)
        assert [after[at] for at in (0, 1, 2, 22, 23)] == [before[at] for at in (0, 1, 2, 22, 23)]

    play(app, scene)


def test_what_is_told_after_a_held_key_is_seen(tmp_path: Path) -> None:
    """Each repeat takes the place of the one before; what is left of all these must not take rows."""
    app = DashboardApp(tmp_path, feed=HandFeed())

    def stands(text: str) -> bool:
        return text in screen_text(app)

    async def scene(pilot: Pilot[None]) -> None:
        for number in range(30):
            app.tell(f"smoothing 0.{number:02}", about="smoothing")
            await until(pilot, partial(stands, f"smoothing 0.{number:02}"))
        app.tell("values copied")
        await until(pilot, partial(stands, "values copied"))

    play(app, scene)


@pytest.mark.parametrize("open_it", ["ask_line", "action_palette", "action_help"])
def test_nothing_covers_a_question_and_what_was_told_meanwhile_comes_after_it(
    tmp_path: Path, open_it: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "SEEN_SECONDS", AN_HOUR)
    app = DashboardApp(tmp_path, feed=HandFeed())
    arguments: dict[str, tuple[Any, ...]] = {
        "ask_line": ("How much?", "", lambda _text: "", lambda _text: None)
    }

    async def scene(pilot: Pilot[None]) -> None:
        app.tell("before\n" * 5)
        await until(pilot, lambda: "before" in screen_text(app))
        getattr(app, open_it)(*arguments.get(open_it, ()))
        await until(pilot, lambda: len(app.screen_stack) == 2)
        for number in range(5):
            app.tell(f"meanwhile {number}")
        await pilot.pause(0.2)
        assert not any(toast.region for toast in app.screen.query("Toast"))
        assert "meanwhile" not in screen_text(app)
        now = time.time()
        app.pop_screen()
        await until(pilot, lambda: "meanwhile 1" in screen_text(app))
        assert said(app) == ["before\n" * 4 + "before", "meanwhile 0", "meanwhile 1"]
        assert min(notice.raised_at for notice in app.notices[1:]) >= now
        await pilot.press("escape")
        await until(pilot, lambda: said(app) == ["meanwhile 2", "meanwhile 3", "meanwhile 4"])

    play(app, scene)


@pytest.mark.parametrize("width", [60, 80])
def test_each_is_whole_wherever_its_lines_end(tmp_path: Path, width: int) -> None:
    app = DashboardApp(tmp_path, feed=HandFeed())
    longest = width * 6 // 10

    def told() -> str:
        return " ".join(line.rpartition("▌")[2].strip() for line in lines(app) if "▌" in line)

    async def scene(pilot: Pilot[None]) -> None:
        for letters in (*range(longest - 6, longest + 2), *range(2 * longest - 8, 2 * longest)):
            words = ("it is here " * letters)[: letters - 1].strip() + "!"
            app.tell(words)
            await until(pilot, lambda words=words: told() == words)
            await pilot.press("escape")
            await until(pilot, lambda: not told())

    play(app, scene, size=(width, 24))
