"""What the tests of the app share: a feed that a test fills by hand, panels, and the text on the screen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from textual import events
from textual.keys import _character_to_key
from textual.pilot import Pilot

from nanoshell.dashboard.app import DashboardApp
from nanoshell.dashboard.course import Course, Snapshot
from nanoshell.dashboard.feed import RunFeed
from nanoshell.dashboard.panel import Panel
from nanoshell.plugin.registry import Entry
from nanoshell.runs.control import read_lines
from nanoshell.runs.directory import RunDirectory
from nanoshell.runs.status import RunStatus
from nanoshell.testing import FakeRun

PATIENCE_SECONDS = 60.0


class HandFeed:
    """A feed that hands over what a test gives it, or what ``runs`` have written by then, and notes what is
    asked of it.
    """

    def __init__(self, runs: Iterable[RunDirectory] = ()) -> None:
        self.feeds = {run.name: RunFeed(run) for run in runs}
        self.deliver: Callable[[Snapshot], None] = lambda _snapshot: None
        self.asked: list[tuple[Any, ...]] = []
        self.focused = 0
        self.stopped = False

    def start(self, deliver: Callable[[Snapshot], None]) -> None:
        self.deliver = deliver

    def stop(self) -> None:
        self.stopped = True
        self.deliver = lambda _snapshot: None

    def focus(self, name: str) -> None:
        self.asked.append(("focus", name))

    def show(self, name: str, shown: bool) -> None:
        self.asked.append(("show", name, shown))

    def rest(self, resting: bool) -> None:
        self.asked.append(("rest", resting))

    def give(self, *runs: RunDirectory, status: RunStatus | None = None, **fields: Any) -> Snapshot:
        """Hand over a snapshot of ``runs``, of which nothing is read but how they stand, and return it."""
        return self.hand(*(Course(run, status or run.status(), **fields) for run in runs))

    def read(self, **changes: Any) -> Snapshot:
        """Hand over what the runs have written by now, each with ``changes`` to its course."""
        courses = []
        for feed in self.feeds.values():
            while feed.poll() or feed.read_older(0.0):
                pass
            courses.append(replace(feed.course(), **changes) if changes else feed.course())
        return self.hand(*courses)

    def hand(self, *courses: Course) -> Snapshot:
        colours = {course.run.name: number for number, course in enumerate(courses)}
        snapshot = Snapshot(courses, self.focused, colours, time.time())
        self.deliver(snapshot)
        return snapshot


class Counter(Panel):
    """A panel that counts its updates."""

    panel_id = "counter"
    title = "Counter"
    place = "charts"
    updates = 0

    def update(self, snapshot: Snapshot) -> None:
        self.updates += 1
        self.refresh()

    def render(self) -> str:
        return f"{self.title} seen {self.updates}"


def entry(name: str, factory: Callable[..., Any]) -> Entry[Callable[..., Any]]:
    return Entry(name, factory, "tests")


def kind(base: type[Panel] = Counter, **attributes: Any) -> type[Panel]:
    """Return a class of panels that differs from ``base`` in ``attributes``."""
    return type("Made", (base,), attributes)


def desk(tmp_path: Path, *panels: type[Panel], feed: HandFeed | None = None, **options: Any) -> DashboardApp:
    """Return a dashboard of ``panels``."""
    entries = [entry(panel.panel_id, panel) for panel in panels]
    return DashboardApp(tmp_path, panels=options.pop("panels", entries), feed=feed or HandFeed(), **options)


def requests(run: FakeRun) -> list[dict[str, Any]]:
    """Return what ``run`` has been asked for."""
    path = run.run.control_path
    return [line for _end, line in read_lines(path, 0)] if path.exists() else []


def screen_text(app: DashboardApp) -> str:
    """Return what is on the screen, line by line."""
    strips = app.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips)


async def until(pilot: Pilot[Any], holds: Callable[[], Any]) -> None:
    """Wait until ``holds`` returns something true, and until what was about to happen then has happened."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > end:
            assert isinstance(pilot.app, DashboardApp)
            pytest.fail(f"it never came to hold; the screen is\n{screen_text(pilot.app)}")
        await asyncio.sleep(0.02)
    ready = cast(Any, asyncio.get_running_loop())._ready
    for _ in range(100):
        await asyncio.sleep(0)
        if not ready:
            break


def type_ahead(app: DashboardApp, *keys: str) -> None:
    """Type ``keys`` at once, as a terminal hands over what has come meanwhile."""
    for key in keys:
        name = _character_to_key(key) if len(key) == 1 else key
        app.post_message(events.Key(name, key if len(key) == 1 else None))


async def keys_taken(app: DashboardApp) -> None:
    """Wait until all that was typed has been handled."""
    while app._turns._busy or not app._message_queue.empty():
        await asyncio.sleep(0)


def play(
    app: DashboardApp, scene: Callable[[Pilot[None]], Awaitable[None]], size: tuple[int, int] = (80, 24)
) -> None:
    """Let ``scene`` play in ``app``."""

    async def run() -> None:
        async with app.run_test(size=size, notifications=True) as pilot:
            await until(pilot, lambda: app.screen.is_current and app.query("KeyFooter"))
            await scene(pilot)

    asyncio.run(run())
