"""A dashboard of runs that stand still until a test goes on: no thread, no clock, nothing to wait for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from textual.pilot import Pilot

from nanoshell.dashboard.app import DashboardApp
from nanoshell.dashboard.course import Course, Snapshot
from nanoshell.dashboard.feed import RunFeed
from nanoshell.dashboard.panel import Panel
from nanoshell.plugin.registry import Entry
from nanoshell.testing import FakeRun

Scene = Callable[[DashboardApp, "Pilot[Any]"], Awaitable[None]]


class StillFeed:
    """Hands over the courses of ``runs`` when it is asked to."""

    def __init__(self, runs: Sequence[FakeRun]) -> None:
        self.runs = list(runs)
        self.focused = 0
        self.feeds = {fake.run.name: RunFeed(fake.run) for fake in runs}
        self.deliver: Callable[[Snapshot], None] = lambda snapshot: None

    def start(self, deliver: Callable[[Snapshot], None]) -> None:
        self.deliver = deliver
        self.give()

    def stop(self) -> None:
        self.deliver = lambda snapshot: None

    def courses(self) -> list[Course]:
        found = []
        for feed in self.feeds.values():
            while feed.poll() or feed.read_older(1.0):
                pass
            found.append(feed.course())
        return found

    def give(self) -> None:
        """Hand over what the runs have written."""
        colours = {name: number for number, name in enumerate(self.feeds)}
        self.deliver(Snapshot(tuple(self.courses()), self.focused, colours, time.time()))

    def focus(self, name: str) -> None:
        self.focused = list(self.feeds).index(name)
        self.give()

    def show(self, name: str, shown: bool) -> None:
        pass


def play(
    runs: Sequence[FakeRun],
    panels: Sequence[Callable[[], Panel]],
    scene: Scene,
    *,
    size: tuple[int, int] = (80, 24),
    first: bool = True,
    **options: Any,
) -> None:
    """Open a dashboard of ``runs`` and ``panels``, let ``scene`` happen in it, and close it.

    The ``first`` view that has a panel is open then.
    """

    async def act() -> None:
        feed = StillFeed(runs)
        entries = [Entry(f"panel-{at}", made, "the-test") for at, made in enumerate(panels)]
        folder = runs[0].run.path.parent
        app = DashboardApp(folder, feed=feed, panels=entries, **options)
        async with app.run_test(size=size) as pilot:
            await shows(app, pilot, lambda: bool(app.snapshot.courses) or not runs)
            if first:
                app.action_view(next(at for at, view in enumerate(app.views) if view.slots))
            await settled(app, pilot)
            await scene(app, pilot)
        if app.failure is not None:
            raise app.failure

    asyncio.run(act())


def feed_of(app: DashboardApp) -> StillFeed:
    feed = app._feed
    assert isinstance(feed, StillFeed)
    return feed


async def settled(app: DashboardApp, pilot: Pilot[Any]) -> None:
    """Wait until the visible panels have what there is."""

    def all_seen() -> bool:
        slots = [slot for slot in app.view.visible_slots() if slot.panel]
        return all(slot._seen is app.snapshot and slot._looked is app.sight for slot in slots)

    await shows(app, pilot, all_seen)
    await pilot.pause()


async def shows(app: DashboardApp, pilot: Pilot[Any], condition: Callable[[], bool]) -> None:
    """Wait for ``condition``."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, text(app)
        await pilot.pause(0.02)


async def more(app: DashboardApp, pilot: Pilot[Any]) -> None:
    """Hand over what the runs have written meanwhile."""
    before = app.snapshot
    feed_of(app).give()
    await shows(app, pilot, lambda: app.snapshot is not before)
    await settled(app, pilot)


def text(app: DashboardApp) -> str:
    """Return what is on the screen."""
    return "\n".join(strip.text.rstrip() for strip in app.screen._compositor.render_strips())
