"""Views: how each is reached, how the row of their names moves, and where the keys are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from textual.app import ComposeResult
from textual.pilot import Pilot
from textual.widgets import Input

from nanoshell.dashboard.app import DashboardApp
from nanoshell.dashboard.tabs import TabBar, window
from nanoshell.testing import FakeRun
from tests.unit.dashboard.stage import Counter, HandFeed, desk, entry, kind, play, screen_text, until

CHARTS = [kind(panel_id=f"chart{n}", title=f"Chart {n}") for n in range(5)]
OWN = [kind(panel_id=f"own{n}", title=f"Own [{n}]", place="") for n in range(9)]


class Typed(Counter):
    """A panel with a field."""

    panel_id = "typed"
    title = "Typed"
    place = "runs"

    def compose(self) -> ComposeResult:
        yield Input(compact=True)


def tabs(app: DashboardApp) -> str:
    return screen_text(app).splitlines()[1]


def test_every_view_is_reached_by_keys_and_from_the_palette(tmp_path: Path) -> None:
    app = desk(tmp_path, *CHARTS[:1], *OWN)

    async def scene(pilot: Pilot[None]) -> None:
        seen = []
        for _view in app.views:
            seen.append(app.view.title)
            await pilot.press(">")
        assert seen == ["Charts", *(f"Own [{n}]" for n in range(9))]
        assert app.chosen == 0
        await pilot.press("<")
        await until(pilot, lambda: "Own [8] seen" in screen_text(app))
        await pilot.press("ctrl+p")
        await until(pilot, lambda: "What is to be done?" in screen_text(app))
        await pilot.press(*"go to own [7")
        await until(pilot, lambda: "View 9" in screen_text(app) and "View 8" not in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: "Own [7] seen" in screen_text(app))

    play(app, scene)


@pytest.mark.parametrize("plain", [False, True])
def test_the_row_always_has_the_chosen_view_and_signs_where_there_are_more(
    tmp_path: Path, plain: bool
) -> None:
    app = desk(tmp_path, *CHARTS, *OWN, ascii=plain)
    before, behind = "<>" if plain else "‹›"

    async def scene(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: re.search(rf"{behind} +1/3$", tabs(app)))
        assert not tabs(app).startswith(before)
        for index in (1, 5, 7, 8, 9, 8, 4, 3, 2, 1, 0):
            app.action_view(index)
            await pilot.pause()
            row = tabs(app)
            assert f" {app.views[index].title} " in f"{row} "
            assert row.startswith(before) == ("Charts" not in row)
            assert (behind in row) == ("Own [8]" not in row)
            assert len(row) <= 80

    play(app, scene)


def test_a_click_hits_the_view_that_is_seen_there(tmp_path: Path) -> None:
    app = desk(tmp_path, *CHARTS[:1], *OWN)

    async def click(pilot: Pilot[None], word: str) -> None:
        await pilot.click(TabBar, offset=(tabs(app).index(word), 0))
        await pilot.pause()

    async def scene(pilot: Pilot[None]) -> None:
        await click(pilot, "Own [3]")
        assert app.view.title == "Own [3]"
        await click(pilot, "›")
        hidden = app.view.title
        assert hidden in tabs(app)
        await pilot.press("<", "<")
        app.action_view(9)
        await pilot.pause()
        await click(pilot, "Own [7]")
        assert app.view.title == "Own [7]"
        await click(pilot, "‹")
        assert tabs(app).startswith("‹")
        assert f" {app.view.title} " in tabs(app)

    play(app, scene)


def test_the_keys_that_turn_pages_are_told_where_there_is_room(tmp_path: Path) -> None:
    app = desk(tmp_path, *CHARTS, *OWN[:4])

    async def scene(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: tabs(app).endswith("PgUp PgDn 1/3"))
        await pilot.resize_terminal(60, 24)
        await until(pilot, lambda: re.search(r"[^n] 1/3$", tabs(app)))
        await pilot.press("enter", "pagedown")  # of charts with all the room the next one comes
        await until(pilot, lambda: "Chart 1 seen" in screen_text(app))
        assert "Chart 0" not in screen_text(app)
        await until(pilot, lambda: tabs(app).endswith(" 2/5"))
        assert app.focused_panel is app.view.slots[1].panel

    play(app, scene)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=14), st.integers(1, 90), st.data())
def test_the_window_of_the_row_has_the_chosen_one_and_no_needless_gap(
    widths: list[int], room: int, data: st.DataObject
) -> None:
    chosen = data.draw(st.integers(0, len(widths) - 1))
    first, end = window(widths, room, chosen, data.draw(st.integers(0, len(widths) - 1)))
    assert first <= chosen < end
    signs = bool(first) + (end < len(widths))
    assert sum(widths[first:end]) + signs <= room or end == first + 1
    if sum(widths) <= room:
        assert (first, end) == (0, len(widths))
    if end < len(widths):  # what is left out has no room
        more = bool(first) + (end + 1 < len(widths))
        assert sum(widths[first : end + 1]) + more > room


def test_escape_steps_out_one_layer_at_a_time(tmp_path: Path) -> None:
    app = desk(tmp_path, *CHARTS, Typed, kind(panel_id="chart9", title="Lone", place=""))

    async def scene(pilot: Pilot[None]) -> None:
        await pilot.press("tab", "enter", "2", "tab")
        assert isinstance(app.focused, Input)
        await pilot.press("f1")
        await until(pilot, lambda: len(app.screen_stack) == 2)
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(app.focused, Input)  # the dialog has gone
        await pilot.press("escape")
        assert (app.view.title, type(app.focused).__name__) == ("Runs", "Typed")
        await pilot.press("escape")
        assert app.view.title == "Charts"
        assert app.focused_panel is app.view.slots[1].panel  # the chart that had the keys
        assert [slot.title for slot in app.view.visible_slots()] == ["Chart 1"]
        await pilot.press("escape")
        await pilot.pause()
        assert len(list(app.view.visible_slots())) == 2
        assert app.focused_panel is app.view.slots[1].panel
        await pilot.press("escape")
        assert app.chosen == 0

    play(app, scene)


def test_the_panel_that_has_the_keys_has_a_sign(tmp_path: Path) -> None:
    for plain, sign in ((False, "▸"), (True, ">")):
        app = desk(tmp_path, *CHARTS, ascii=plain)

        async def scene(pilot: Pilot[None], app: DashboardApp = app, sign: str = sign) -> None:
            def signed() -> list[str]:
                return re.findall(rf"{sign} (Chart \d)[─-]", screen_text(app))

            for keys, title in (([], 0), (["tab"], 1), (["tab"], 0), (["shift+tab"], 1), (["pagedown"], 2)):
                await pilot.press(*keys)
                await until(pilot, lambda title=title: signed() == [f"Chart {title}"])  # type: ignore[misc]

        play(app, scene)


def test_keys_go_to_what_is_seen_when_a_chart_goes_or_fails(tmp_path: Path) -> None:
    feed, gone = HandFeed(), [False]
    fleeting = kind(panel_id="fleeting", title="Fleeting", wanted=lambda self, snapshot: not gone[0])

    def fail(self: Counter, snapshot: object) -> None:
        raise LookupError("broken on purpose")

    sick = kind(panel_id="sick", title="Sick", update=fail)
    panels = [entry("fleeting", fleeting), entry("well", CHARTS[0]), entry("sick", sick)]
    app = desk(tmp_path, feed=feed, panels=panels)

    async def scene(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "▸ Fleeting" in screen_text(app))
        gone[0] = True
        feed.give(run.run)
        await until(pilot, lambda: "▸ Chart 0" in screen_text(app))
        await until(pilot, lambda: "─Sick─" in screen_text(app))  # its title, although it has failed
        await until(pilot, lambda: "The panel 'Sick' of plugin 'tests' has failed" in screen_text(app))
        await pilot.press("tab")
        await until(pilot, lambda: "▸ Sick" in screen_text(app))

    with FakeRun(tmp_path) as run:
        play(app, scene)
