"""The last line: the keys of what is open over the dashboard, and what a click there does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from nanoshell.dashboard.app import DashboardApp
from nanoshell.dashboard.footer import KeyFooter
from nanoshell.dashboard.panels.runs import RunsPanel
from nanoshell.runs.status import RunStatus
from nanoshell.testing import FakeRun

from .stage import Counter, HandFeed, desk, play, screen_text, until


def last_line(app: DashboardApp) -> str:
    line = screen_text(app).rpartition("\n")[2]  # of a screen that is only being opened there is no line
    return line.partition("own cpu")[0].strip()


def ask_line(app: DashboardApp) -> None:
    app.ask_line("How much?", "", lambda _text: "", lambda _text: None)


def ask_yes(app: DashboardApp) -> None:
    app.ask_yes("Really?", lambda: None)


@pytest.mark.parametrize(
    ("opened", "keys"),
    [
        (ask_line, "Enter Take it  Esc Leave"),
        (ask_yes, "y Yes  n No  Esc No"),
        (DashboardApp.action_help, "Down Scroll  PgDn Further  Esc Close"),
        (DashboardApp.action_explain, "Down Scroll  PgDn Further  Esc Close"),
        (DashboardApp.action_palette, "Enter Do it  Down Next  PgDn Further  Esc Leave"),
    ],
)
def test_it_has_the_keys_of_what_is_open(
    tmp_path: Path, opened: Callable[[DashboardApp], None], keys: str
) -> None:
    app = desk(tmp_path, Counter)

    async def scene(pilot: Pilot[None]) -> None:
        before = last_line(app)
        assert "q Quit" in before
        opened(app)
        await pilot.pause()  # a look at a screen that is half drawn would keep what it saw
        await until(pilot, lambda: last_line(app) == keys)
        await pilot.press("escape")
        await until(pilot, lambda: last_line(app) == before)

    play(app, scene)


def test_a_click_on_a_key_is_that_key(tmp_path: Path) -> None:
    feed = HandFeed()
    app = desk(tmp_path, RunsPanel, feed=feed)

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(run.run, status=RunStatus("finished"))
        await pilot.press("2")
        await until(pilot, lambda: "/ Filter" in last_line(app))
        line = screen_text(app).splitlines()[-1]
        await pilot.click(KeyFooter, offset=(line.index("Filter") + 3, 0))
        await until(pilot, lambda: isinstance(app.focused, Input))
        await until(pilot, lambda: "Esc" in last_line(app))

    with FakeRun(tmp_path) as run:
        play(app, scene)


def test_a_click_on_a_key_of_what_is_open_is_that_key(tmp_path: Path) -> None:
    app, answers = desk(tmp_path, Counter), list[str]()

    async def scene(pilot: Pilot[None]) -> None:
        async def click(word: str) -> None:
            await until(pilot, lambda: word in last_line(app))
            lines = screen_text(app).splitlines()
            await pilot.click(offset=(lines[-1].index(word), len(lines) - 1))

        app.ask_yes("Really?", lambda: answers.append("yes"))
        await click("Yes")
        await until(pilot, lambda: answers == ["yes"] and len(app.screen_stack) == 1)
        app.action_palette()
        await until(pilot, lambda: "Do it" in last_line(app))
        await pilot.click(offset=(70, screen_text(app).count("\n")))
        assert len(app.screen_stack) == 2, "beside the keys there is nothing to close"
        await pilot.click(offset=(0, 0))
        await until(pilot, lambda: len(app.screen_stack) == 1)

    play(app, scene)


def test_a_second_click_on_a_run_gives_it_the_focus(tmp_path: Path) -> None:
    feed = HandFeed()
    app = desk(tmp_path, RunsPanel, feed=feed)

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(first.run, status=RunStatus("running"))
        await pilot.press("2")
        await until(pilot, lambda: "fake-2" in screen_text(app))
        rows = app.query_one(RunsPanel).rows
        at = [row.run.name for row in rows].index("fake-2")
        await pilot.click("#runs-table", offset=(5, at + 1))
        assert feed.asked == []
        await pilot.click("#runs-table", offset=(5, at + 1), times=2)
        await until(pilot, lambda: feed.asked == [("focus", "fake-2")])

    with FakeRun(tmp_path) as first, FakeRun(tmp_path):
        play(app, scene)


def test_it_says_that_one_only_reads(tmp_path: Path) -> None:
    app = desk(tmp_path, Counter, read_only=True)

    async def scene(pilot: Pilot[None]) -> None:
        assert "q Quit" in last_line(app)
        assert screen_text(app).rpartition("\n")[2].rstrip().endswith("only reads")
        app.query_one(KeyFooter).tell_share(0.03)
        await until(pilot, lambda: screen_text(app).endswith("only reads, own cpu 3%"))

    play(app, scene)
