"""What is offered: at the bottom, in the palette and as help; to newcomers, and where there are many runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.pilot import Pilot
from textual.widgets import Input

from nanoshell.dashboard.actions import Action
from nanoshell.dashboard.app import DashboardApp
from nanoshell.runs.status import RunStatus
from nanoshell.testing import FakeRun
from tests.unit.dashboard.stage import Counter, HandFeed, desk, kind, play, screen_text, until

CHART = kind(panel_id="chart", title="Chart")


class Toy(Counter):
    """A panel with a field, and with an action that it may forbid."""

    panel_id = "toy"
    title = "Toy"
    place = "runs"
    about = "It spins."
    actions: ClassVar = (
        *(Action(f"spare({n})", f"Spare {n}", (key,), "Toy") for n, key in enumerate("abdefghijklm")),
        Action("spin", "Spin", ("s",), "Toy", footer=True),
        Action("other", "Other", ("ctrl+t",), "Toy", footer=True),
        Action("start", "Start", ("home", "f7"), "Toy", footer=True),
    )
    may_spin = True

    def compose(self) -> ComposeResult:
        yield Input(compact=True)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self.may_spin if action == "spin" else super().check_action(action, parameters)


def footer(app: DashboardApp) -> str:
    return re.sub(r" +", " ", screen_text(app).splitlines()[-1]).strip()


def test_the_footer_has_no_key_that_would_write_a_letter(tmp_path: Path) -> None:
    feed = HandFeed()
    app = desk(tmp_path, CHART, Toy, feed=feed)

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(run.run, status=RunStatus("running"))
        await pilot.press("2")
        await until(pilot, lambda: footer(app).startswith("? Keys s Spin Ctrl-T Other Home Start P Pause"))
        await pilot.press("tab")
        await until(pilot, lambda: "Esc Step out" in footer(app))
        for part in ("Ctrl-C Quit", "F1 Explain", "Ctrl-P Find", "Ctrl-T Other", "F7 Start"):
            assert part in footer(app)
        assert not re.search(r"(^| )(q|\?|P|s|Home) [A-Z]", footer(app))
        titles = {action.title for _owner, action in app.possible_actions()}
        assert {"Pause", "Spin", "Quit"} <= titles  # the palette lists them all
        await pilot.press("q", "P")
        assert app.query_one(Input).value == "qP"
        await pilot.press("escape")
        await until(pilot, lambda: "q Quit" in footer(app))

    with FakeRun(tmp_path) as run:
        play(app, scene, size=(120, 24))


def test_the_footer_follows_a_panel_that_changes_its_mind(tmp_path: Path) -> None:
    app = desk(tmp_path, Toy)

    async def scene(pilot: Pilot[None]) -> None:
        toy = app.query_one(Toy)
        for may in (True, False, True):
            toy.may_spin = may
            toy.refresh_bindings()
            await until(pilot, lambda may=may: ("s Spin" in footer(app)) == may)  # type: ignore[misc]

    app.chosen = 1
    play(app, scene, size=(120, 24))


def test_the_palette_has_what_the_panel_can_do(tmp_path: Path) -> None:
    app = desk(tmp_path, CHART, Toy)
    spun: list[str] = []
    Toy.action_spin = lambda self: spun.append(self.panel_id)  # type: ignore[attr-defined]

    async def scene(pilot: Pilot[None]) -> None:
        await pilot.press("2", "ctrl+p")
        await until(pilot, lambda: "What is to be done?" in screen_text(app))
        await pilot.press(*"spin")
        await until(pilot, lambda: re.search(r" Spin +Toy +s ", screen_text(app)))
        await pilot.press("enter")
        await until(pilot, lambda: spun == ["toy"])

    play(app, scene)


def test_help_begins_with_the_panel_and_scrolls_to_its_end(tmp_path: Path) -> None:
    app = desk(tmp_path, CHART, Toy)

    async def scene(pilot: Pilot[None]) -> None:
        await pilot.press("2", "f1")
        await until(pilot, lambda: "It spins." in screen_text(app))
        shown = screen_text(app)
        places = [shown.index(word) for word in ("It spins.", "  s  ", "Ctrl-T", "Spare 0")]
        assert places == sorted(places)  # what the footer has comes first
        await pilot.press("escape", "question_mark")
        await until(pilot, lambda: "Spare 0" in screen_text(app))
        assert "Shift-Tab" not in screen_text(app)
        await pilot.press("pagedown", "pagedown", "pagedown")
        await until(pilot, lambda: re.search(r"Shift-Tab +The panel before", screen_text(app)))
        await pilot.press("home", "down")
        await until(pilot, lambda: "Spare 0" in screen_text(app) and "Esc closes" in screen_text(app))

    play(app, scene)


def test_a_newcomer_reads_how_a_first_run_begins_until_one_has(tmp_path: Path) -> None:
    feed = HandFeed()
    app = desk(tmp_path, CHART, Toy, feed=feed, keys=["palette=f9"])

    async def scene(pilot: Pilot[None]) -> None:
        assert "no run yet" not in screen_text(app)  # nobody has looked so far
        feed.give()
        await until(pilot, lambda: "nanoshell demo, or nanoshell train" in screen_text(app))
        for key in ("2", "1"):
            await pilot.press(key)
            assert screen_text(app).startswith(f"no run yet in {str(tmp_path)[:40]}")
            assert "nanoshell demo" in screen_text(app).splitlines()[1]
        app._session = object()  # type: ignore[assignment]
        feed.give()
        await until(pilot, lambda: "F9 and demo or train" in screen_text(app))
        feed.give(run.run)
        await until(pilot, lambda: screen_text(app).startswith("fake-1"))
        assert "demo" not in screen_text(app)
        feed.give()
        await until(pilot, lambda: "Space shows one" in screen_text(app))

    with FakeRun(tmp_path) as run:
        play(app, scene)


def test_of_many_runs_the_one_in_focus_is_told_and_the_key_to_the_next(tmp_path: Path) -> None:
    feed = HandFeed()
    app = desk(tmp_path, CHART, feed=feed)
    runs = [FakeRun(tmp_path) for _ in range(12)]

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(runs[0].run)
        await until(pilot, lambda: screen_text(app).startswith("fake-1  "))
        assert "N Next" not in footer(app)
        feed.give(*(run.run for run in runs))
        await until(pilot, lambda: screen_text(app).startswith("fake-1 (1 of 12)"))
        await until(pilot, lambda: "N Next" in footer(app))
        await pilot.press("N")
        assert feed.asked == [("focus", "fake-2")]

    play(app, scene)
    for run in runs:
        run.close()
