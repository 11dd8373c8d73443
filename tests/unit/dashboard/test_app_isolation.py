"""A panel that fails, wherever it does, costs itself alone: a card names it, its plugin and the error."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.css.query import NoMatches
from textual.pilot import Pilot

from nanoshell.dashboard.actions import Action
from nanoshell.dashboard.faults import ErrorCard
from nanoshell.dashboard.header import Headline
from nanoshell.dashboard.slots import BREATHS, SLOW_SECONDS
from nanoshell.testing import FakeRun
from tests.unit.dashboard.stage import (
    PATIENCE_SECONDS,
    Counter,
    HandFeed,
    desk,
    entry,
    kind,
    play,
    screen_text,
    until,
)


class InCompose(Counter):
    def compose(self) -> Any:
        raise LookupError("broken on purpose")


class InUpdate(Counter):
    def update(self, snapshot: Any) -> None:
        raise LookupError("broken on purpose")


class InRender(Counter):
    def render(self) -> str:
        raise LookupError("broken on purpose")


class InTimer(Counter):
    def on_mount(self) -> None:
        self.set_timer(0.01, self.fail)

    def fail(self) -> None:
        raise LookupError("broken on purpose")


class InLook(Counter):
    def look(self, sight: Any) -> None:
        raise LookupError("broken on purpose")


class InWanted(Counter):
    def wanted(self, snapshot: Any) -> bool:
        raise LookupError("broken on purpose")


class InMount(Counter):
    def on_mount(self) -> None:
        raise LookupError("broken on purpose")


class InWorker(Counter):
    def on_mount(self) -> None:
        self.run_worker(self.fail())

    async def fail(self) -> None:
        raise LookupError("broken on purpose")


class InThread(Counter):
    def on_mount(self) -> None:
        self.run_worker(in_factory, thread=True)


class InAction(Counter):
    actions = (Action("trip", "Trip", ("t",)),)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        raise LookupError("broken on purpose")


class HandedOn(Counter):
    """What fails is called by the app, or by the screen, and knows no panel."""

    def on_mount(self) -> None:
        def fail() -> None:
            raise LookupError("broken on purpose")

        self.app.call_later(fail)


class HandedOnLater(Counter):
    def on_mount(self) -> None:
        def fail() -> None:
            raise LookupError("broken on purpose")

        self.call_after_refresh(fail)


def in_factory() -> Any:
    raise LookupError("broken on purpose")


BROKEN = (
    *(in_factory, InCompose, InMount, InUpdate, InRender, InTimer, InLook, InWanted),
    *(InWorker, InThread, InAction, HandedOn, HandedOnLater),
)


@pytest.mark.parametrize("broken", BROKEN)
def test_a_panel_that_raises_becomes_a_card_and_the_others_live(
    tmp_path: Path, broken: Any, caplog: pytest.LogCaptureFixture
) -> None:
    feed = HandFeed()
    well = kind(panel_id="well", title="Well")
    app = desk(tmp_path, feed=feed, panels=[entry("sick", broken), entry("well", well)])

    async def scene(pilot: Pilot[None]) -> None:
        if broken is in_factory:  # what its place would have been nobody knows
            await until(pilot, lambda: "Well seen" in screen_text(app))
            app.action_view(1)
        feed.give(run.run)
        await until(pilot, lambda: "LookupError: broken on purpose" in screen_text(app))
        known = "sick" if broken is in_factory else "Counter"  # its title, where that is known
        assert f"The panel '{known}' of plugin 'tests' has failed" in screen_text(app)
        assert "To do without the plugin: plugin disable tests" in screen_text(app)
        assert f"─{known}─" in screen_text(app).replace("▸ ", "")
        app.action_view(0)
        feed.give(run.run)
        await until(pilot, lambda: "fake-1" in screen_text(app) and "Well seen" in screen_text(app))
        assert len(app.query(ErrorCard)) == 1
        assert app.failure is None
        assert "the panel 'sick' of plugin 'tests' has failed\nTraceback" in caplog.text
        assert caplog.text.endswith("LookupError: broken on purpose\n")

    with FakeRun(tmp_path) as run:
        play(app, scene)


def leaves() -> Any:
    raise SystemExit("no such device")


def test_a_factory_that_would_leave_becomes_a_card(tmp_path: Path) -> None:
    app = desk(tmp_path, panels=[entry("sick", leaves), entry("well", kind(title="Well"))])

    async def scene(pilot: Pilot[None]) -> None:
        await pilot.press("2")
        await until(pilot, lambda: "SystemExit: no such device" in screen_text(app))
        assert "test_app_isolation.py:" in "".join(screen_text(app).split())
        assert "dashboard.log" in "".join(screen_text(app).split())
        assert app.is_running

    play(app, scene)


def test_what_is_no_panel_becomes_a_card(tmp_path: Path) -> None:
    app = desk(tmp_path, panels=[entry("old", lambda run: run), entry("text", lambda: "a text")])

    async def scene(pilot: Pilot[None]) -> None:
        await pilot.press("3")
        await until(pilot, lambda: "The panel 'text' of plugin 'tests' has failed" in screen_text(app))
        assert "no nanoshell.Panel but str" in screen_text(app)

    play(app, scene)


def test_an_action_that_raises_is_told_and_the_panel_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clumsy = kind(panel_id="clumsy", title="Clumsy", actions=(Action("trip", "Trip", ("t",)),))
    clumsy.action_trip = lambda self: 1 // 0  # type: ignore[attr-defined]
    app = desk(tmp_path, clumsy)

    async def scene(pilot: Pilot[None]) -> None:
        await pilot.press("t")
        await until(pilot, lambda: "ZeroDivisionError" in screen_text(app))
        shown = " ".join(screen_text(app).replace("▌", " ").split())
        assert "trip of panel 'clumsy' (plugin 'tests') failed" in shown
        assert "test_app_isolation.py:" in "".join(shown.split())
        assert "ZeroDivisionError" in caplog.text.splitlines()[-1]
        assert not app.query(ErrorCard)
        await pilot.press("question_mark")
        await until(pilot, lambda: len(app.screen_stack) == 2)

    play(app, scene)


class Slow(Counter):
    def __init__(self) -> None:
        super().__init__()
        self.began: list[float] = []
        self.ended: list[float] = []

    def update(self, snapshot: Any) -> None:
        self.began.append(time.monotonic())
        super().update(snapshot)
        time.sleep(1.5 * SLOW_SECONDS)
        self.ended.append(time.monotonic())


def test_a_slow_panel_is_named_and_updated_less_often_than_the_others(tmp_path: Path) -> None:
    feed = HandFeed()
    app = desk(tmp_path, kind(Slow, panel_id="slow", title="Slow"), kind(panel_id="quick"), feed=feed)

    async def scene(pilot: Pilot[None]) -> None:
        slow, quick = (slot.panel for slot in app.view.slots)
        assert isinstance(slow, Slow)
        assert isinstance(quick, Counter)

        def throttled() -> bool:
            feed.give(run.run)
            return app.view.slots[0].throttled

        await until(pilot, throttled)
        await until(pilot, lambda: "by plugin tests)" in screen_text(app))
        seen = quick.updates
        last = feed.give(run.run)
        await until(pilot, lambda: quick.updates > seen)
        await until(pilot, lambda: app.view.slots[0].saw(last))
        assert slow.began[-1] - slow.ended[-2] >= BREATHS * 1.5 * SLOW_SECONDS

    with FakeRun(tmp_path) as run:
        play(app, scene)


def test_what_is_no_panels_fault_ends_the_dashboard_and_is_kept(tmp_path: Path) -> None:
    app = desk(tmp_path, kind(panel_id="well"))

    async def scene(pilot: Pilot[None]) -> None:
        app.call_later(app.query_one, InTimer)  # no code of a panel's author is on the way
        end = time.monotonic() + PATIENCE_SECONDS
        while app.failure is None and time.monotonic() < end:
            await asyncio.sleep(0.01)

    play(app, scene)
    assert isinstance(app.failure, NoMatches)


def test_what_comes_while_the_dashboard_closes_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = HandFeed()
    app = desk(tmp_path, kind(panel_id="well"), feed=feed)
    close_all = app._close_all

    async def close_slowly() -> None:
        await app.query_one(Headline).remove()  # the first of what goes
        feed.give(run.run)
        app.screen.call_later(app._spread)
        app.say("from a thread")
        await close_all()

    async def scene(pilot: Pilot[None]) -> None:
        feed.give(run.run)
        await until(pilot, lambda: "fake-1" in screen_text(app))
        monkeypatch.setattr(app, "_close_all", close_slowly)

    with FakeRun(tmp_path) as run:
        play(app, scene)
    assert app.failure is None


def test_what_a_panel_raises_cannot_steer_the_terminal() -> None:
    card = ErrorCard("mine", "bad", ValueError("boom \x1b[2J\nevil\x07"))
    assert "\x1b" not in card.text
    assert "\x07" not in card.text
    assert card.text.splitlines()[2].startswith("ValueError: boom")
    assert card.text.splitlines()[3].startswith("evil")


def test_a_panel_whose_styles_cannot_be_read_is_told_where(tmp_path: Path) -> None:
    ugly = kind(panel_id="ugly", title="Ugly", DEFAULT_CSS="Made { colour: red; }")
    app = desk(tmp_path, ugly, kind(panel_id="well", title="Well"))

    async def scene(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "Invalid CSS property 'colour'" in screen_text(app))
        await until(pilot, lambda: "Well seen" in screen_text(app))

    play(app, scene)


def test_the_styles_of_a_panel_are_about_itself(tmp_path: Path) -> None:
    class Loud(Counter):
        panel_id = "loud"
        SCOPED_CSS = False
        DEFAULT_CSS = "Loud { color: red; } KeyFooter { height: 5; } Static { display: none; }"

    app = desk(tmp_path, Loud)

    async def scene(pilot: Pilot[None]) -> None:
        await pilot.pause()
        assert app.query_one("KeyFooter").size.height == 1
        loud = app.view.slots[0].panel
        assert loud is not None
        assert loud.styles.color.rgb == (255, 0, 0)

    play(app, scene)


def test_a_key_that_chooses_views_is_no_panels() -> None:
    with pytest.raises(ValueError, match="'trip' has the key Tab, which chooses views or panels"):
        kind(actions=(Action("trip", "Trip", ("t", "tab")),))


class Curious(Counter):
    actions = (Action("ask", "Ask", ("a",)), Action("leave", "Leave", ("b",)))

    def action_ask(self) -> None:
        self.desk.ask_line("A number?", "x", lambda text: str(float(text)), lambda _text: None)

    def action_leave(self) -> None:
        raise SystemExit(3)


def test_a_question_whose_check_fails_can_be_left(tmp_path: Path) -> None:
    app = desk(tmp_path, kind(Curious, panel_id="curious"))

    async def scene(pilot: Pilot[None]) -> None:
        await pilot.press("a")
        await until(pilot, lambda: "A number?" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: "it cannot be checked: ValueError" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: len(app.screen_stack) == 1)
        await pilot.press("b")  # a panel does not end the dashboard
        await until(pilot, lambda: "SystemExit: 3" in screen_text(app))

    play(app, scene)


def test_a_panel_remembers_nothing_that_cannot_be_kept(tmp_path: Path) -> None:
    app = desk(tmp_path, kind(panel_id="well"))
    with pytest.raises(TypeError):
        app.remember("well.thing", object())
    assert app.recall("well.thing") is None


class Stuck(Counter):
    def update(self, snapshot: Any) -> None:
        while True:
            pass


@pytest.fixture
def alarm() -> Iterator[None]:
    """The alarm of the system, which pytest's timeout has as a rule, is nobody's."""
    left = signal.setitimer(signal.ITIMER_REAL, 0)
    kept = signal.signal(signal.SIGALRM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGALRM, kept)
    signal.setitimer(signal.ITIMER_REAL, *left)


@pytest.mark.usefixtures("alarm")
def test_an_update_that_does_not_come_back_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanoshell.dashboard.slots.STUCK_SECONDS", 1.0)
    app = desk(tmp_path, kind(Stuck, panel_id="stuck"), kind(panel_id="well", title="Well"))

    async def scene(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "TimeoutError: it did not come back within 1 s" in screen_text(app))
        await until(pilot, lambda: "Well seen" in screen_text(app))
        assert f"{Path(__file__).name}:" in screen_text(app)  # not where the alarm is

    play(app, scene, size=(200, 30))
