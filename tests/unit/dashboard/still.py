"""The stage with runs that stand still until a test goes on: no thread, no clock, nothing to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from textual.pilot import Pilot
from textual.widgets import Input

from nanoshell.dashboard.app import DashboardApp
from nanoshell.dashboard.course import Snapshot
from nanoshell.dashboard.panel import Panel
from nanoshell.dashboard.panels.samples import SamplesPanel
from nanoshell.plugin.registry import Entry
from nanoshell.testing import FakeRun

from .stage import HandFeed, screen_text, until

text = screen_text
Scene = Callable[[DashboardApp, "Pilot[Any]"], Awaitable[None]]


async def say(app: DashboardApp, pilot: Pilot[Any], words: str) -> None:
    """Send ``words`` from the only field there is."""
    app.query_one(Input).value = words
    await pilot.press("enter")


def samples_of(app: DashboardApp) -> SamplesPanel:
    return app.query_one(SamplesPanel)


def with_samples(make: Callable[..., FakeRun]) -> FakeRun:
    """Return a run with two prompts and three texts of each."""
    fake = make(total_steps=100)
    for number, animal in enumerate(("cat", "dog", "fox"), start=1):
        fake.step(10)
        fake.sample(f" the {animal} sat", "Once upon", index=0)
        fake.sample(f" number {number}", "Count", index=1)
    return fake


class StillFeed(HandFeed):
    """Hands over at once what its runs have written, and lets the one in focus be another."""

    def start(self, deliver: Callable[[Snapshot], None]) -> None:
        super().start(deliver)
        self.read()

    def focus(self, name: str) -> None:
        self.focused = list(self.feeds).index(name)
        self.read()


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
        feed = StillFeed(fake.run for fake in runs)
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
    await until(pilot, condition)


async def more(app: DashboardApp, pilot: Pilot[Any]) -> None:
    """Hand over what the runs have written meanwhile."""
    before = app.snapshot
    feed_of(app).read()
    await shows(app, pilot, lambda: app.snapshot is not before)
    await settled(app, pilot)
