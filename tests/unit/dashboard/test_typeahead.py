"""What is typed ahead: every key arrives where it belongs, in the order in which it was typed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual import events
from textual.app import ComposeResult
from textual.pilot import Pilot
from textual.widgets import Input

from nanoshell.dashboard import typeahead
from nanoshell.dashboard.actions import Action
from nanoshell.dashboard.help import HelpScreen
from nanoshell.dashboard.inside import KeyParser
from nanoshell.dashboard.panel import Panel
from nanoshell.testing import FakeRun
from tests.unit.dashboard.stage import (
    Counter,
    HandFeed,
    desk,
    kind,
    play,
    requests,
    screen_text,
    type_ahead,
    until,
)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[FakeRun]:
    with FakeRun(tmp_path) as fake:
        yield fake


@pytest.mark.parametrize(
    "keys",
    [
        ("L", *"5e-3", "enter"),
        ("L", "ctrl+u", *"0.005", "enter"),
        ("L", *"5e-4", "backspace", "3", "enter"),
        ("L", *"1", "escape", "L", *"5e-3", "enter"),
    ],
)
def test_a_question_gets_the_keys_that_follow_the_one_which_opens_it(
    tmp_path: Path, run: FakeRun, keys: tuple[str, ...]
) -> None:
    feed = HandFeed()
    app = desk(tmp_path, Counter, feed=feed)

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(run.run)
        await until(pilot, lambda: app.snapshot.courses)
        type_ahead(app, *keys, "P")
        await until(pilot, lambda: len(requests(run)) == 2)
        first, second = requests(run)
        assert (first["action"], first["values"]) == ("set", {"learning_rate": 0.005})
        assert second["action"] == "pause"
        assert len(app.screen_stack) == 1
        assert app.chosen == 0

    play(app, scene)


def test_a_question_gets_what_is_pasted_while_it_opens(tmp_path: Path, run: FakeRun) -> None:
    feed = HandFeed()
    app = desk(tmp_path, Counter, feed=feed)

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(run.run)
        await until(pilot, lambda: app.snapshot.courses)
        type_ahead(app, "X")
        app.post_message(events.Paste("250"))
        type_ahead(app, "enter")
        await until(pilot, lambda: [line.get("steps") for line in requests(run)] == [250])

    play(app, scene)


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        ("\x1b3", ["alt+3"]),
        ("\x1bp", ["alt+p"]),
        ("\x1bP", ["alt+shift+p"]),
        ("\x1b?", ["alt+question_mark"]),
        ("\x1b ", ["alt+space"]),
        ("\x1b\x10", ["alt+ctrl+p"]),
        ("\x1bpq", ["alt+p", "q"]),
        ("\x1b\x1b", ["escape", "escape"]),
        ("\x1b[A", ["up"]),
        ("\u00a3", ["pound_sign"]),
    ],
)
def test_a_key_in_one_read_with_esc_is_that_key_with_alt(sent: str, keys: list[str]) -> None:
    parser = KeyParser()
    read = [*parser.feed(sent), *parser.feed("")]
    assert [event.key for event in read if isinstance(event, events.Key)] == keys


def key_with_alt(sign: str) -> events.Key:
    parser = KeyParser()
    event = next(iter([*parser.feed(f"\x1b{sign}"), *parser.feed("")]))
    assert isinstance(event, events.Key)
    return event


def test_a_key_with_alt_that_nothing_is_bound_to_is_esc_and_then_the_key(tmp_path: Path) -> None:
    feed = HandFeed()
    app = desk(tmp_path, Counter, Field, feed=feed, keys=["next_view=alt+x"])

    async def scene(pilot: Pilot[None]) -> None:
        type_ahead(app, "2", "slash", "f")
        await until(pilot, lambda: app.query_one(Input).value == "f")
        app.post_message(key_with_alt("1"))
        await until(pilot, lambda: app.chosen == 0)
        type_ahead(app, "2", "slash", "g")
        await until(pilot, lambda: app.query_one(Input).value == "g")
        app.post_message(key_with_alt("?"))
        await until(pilot, lambda: isinstance(app.screen, HelpScreen))
        app.post_message(key_with_alt("1"))
        await until(pilot, lambda: app.chosen == 0 and len(app.screen_stack) == 1)
        app.post_message(key_with_alt("x"))
        await until(pilot, lambda: app.chosen == 1)
        assert app.query_one(Input).value == "g"

    play(app, scene)


def test_a_paste_of_several_lines_is_one_line_of_a_field(tmp_path: Path) -> None:
    app = desk(tmp_path, Counter, Field)

    async def scene(pilot: Pilot[None]) -> None:
        type_ahead(app, "2", "slash")
        app.post_message(events.Paste("name~a \r\n\n  loss<2\nlr>0"))
        await until(pilot, lambda: app.query_one(Input).value == "name~a loss<2 lr>0")

    play(app, scene)


class Field(Panel):
    """A panel with a field that takes the keys when it is asked to."""

    panel_id = title = "field"
    actions = (Action("search", "Search", ("slash",)),)

    def compose(self) -> ComposeResult:
        yield Input(disabled=True)

    def action_search(self) -> None:
        field = self.query_one(Input)
        field.disabled = False
        field.focus()


def test_a_view_and_a_field_in_it_get_the_keys_that_follow(tmp_path: Path) -> None:
    app = desk(tmp_path, Counter, Field)

    async def scene(pilot: Pilot[None]) -> None:
        type_ahead(app, "2", "slash", *"13 q", "left", "x")
        await until(pilot, lambda: app.query_one(Input).value == "13 xq")
        assert app.chosen == 1

    play(app, scene)


def test_a_held_key_is_drawn_once_for_all_its_repeats_that_wait_and_now_and_then(tmp_path: Path) -> None:
    presses, draws, seen = 60, 0, list[int]()

    class Held(Panel):
        """A panel that is drawn between any two keys, unless that is held back."""

        panel_id = title = "held"
        place = "charts"
        actions = (Action("go", "Go on", ("right",)), Action("go_back", "Go back", ("left",)))

        async def action_go(self) -> None:
            seen.append(draws)
            self.refresh()
            if len(seen) == 1 + typeahead.MOST_UNDRAWN + 1:  # those that waited, behind the one that did not
                await until(pilot_of[0], lambda: draws > seen[-1])
            elif len(seen) <= typeahead.MOST_UNDRAWN:
                await asyncio.sleep(0.03)  # there is time to draw

        def action_go_back(self) -> None:
            self.refresh()

        def render(self) -> str:
            nonlocal draws
            draws += 1
            return f"{len(seen)} presses"

    app, pilot_of = desk(tmp_path, Held), list[Pilot[None]]()

    async def scene(pilot: Pilot[None]) -> None:
        pilot_of.append(pilot)
        await pilot.press("left")
        type_ahead(app, *["right"] * presses)
        await until(pilot, lambda: len(seen) == presses)  # to look at the screen would be to draw it
        await until(pilot, lambda: f"{presses} presses" in screen_text(app))
        assert len(set(seen[1 : typeahead.MOST_UNDRAWN + 1])) == 1
        type_ahead(app, *["left", "right"] * 3)
        await until(pilot, lambda: f"{presses + 3} presses" in screen_text(app))

    play(app, scene)


@pytest.mark.parametrize("how", ["fails", "hangs"])
def test_a_panel_that_does_not_come_to_the_end_of_a_key_holds_back_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(typeahead, "PATIENCE_SECONDS", 0.05)

    async def key_z(self: Panel) -> None:
        if how == "fails":
            raise LookupError("it broke")
        await until(None, lambda: app.chosen == 1)  # type: ignore[arg-type]

    app = desk(tmp_path, kind(key_z=key_z), kind(panel_id="other", place="log"))

    async def scene(pilot: Pilot[None]) -> None:
        type_ahead(app, "z")
        await pilot.pause()
        if how == "hangs":
            app.screen.set_focus(None)
        type_ahead(app, "2")
        await until(pilot, lambda: app.chosen == 1)

    play(app, scene)
