"""The stage in tests of panels: runs that are read when a test says so, keys, and what is drawn."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from nanoshell.dashboard.app import DashboardApp
from nanoshell.dashboard.panel import Panel
from nanoshell.plugin.registry import Entry
from nanoshell.runs.directory import RunDirectory
from nanoshell.testing import FakeRun

from .stage import HandFeed, keys_taken, screen_text, type_ahead, until


class Shown:
    """A dashboard on a screen of its own."""

    def __init__(self, app: DashboardApp, pilot: Pilot[None], feed: HandFeed) -> None:
        self.app, self.pilot, self.feed = app, pilot, feed

    @property
    def lines(self) -> list[str]:
        """What is on the screen, line by line."""
        strips = self.app.screen._compositor.render_strips()
        return [strip.text for strip in strips]

    @property
    def text(self) -> str:
        return screen_text(self.app)

    def line(self, words: str) -> str:
        """Return the line on the screen that has ``words``."""
        return next(line for line in self.lines if words in line)

    @property
    def notices(self) -> list[str]:
        return [notice.message for notice in self.app._notifications]

    async def press(self, *keys: str) -> None:
        """Press ``keys`` faster than they are taken, and wait until they are."""
        type_ahead(self.app, *keys)
        await keys_taken(self.app)
        await self.pilot.pause()

    async def type(self, text: str) -> None:
        await self.press(*text)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` holds; fail with the screen where it does not in time."""
        await until(self.pilot, condition)

    async def sees(self, *words: str) -> None:
        """Wait until all of ``words`` are on the screen."""
        await self.until(lambda: all(word in self.text for word in words))


@contextlib.asynccontextmanager
async def shown(
    folder: Path,
    panels: Iterable[type[Panel]],
    runs: Iterable[FakeRun | RunDirectory],
    *,
    size: tuple[int, int] = (80, 24),
    sections: Iterable[Entry[Callable[[RunDirectory], Any]]] = (),
    **options: Any,
) -> AsyncIterator[Shown]:
    """Open the dashboard on ``runs`` of ``folder`` with ``panels``, of which the first is on the screen."""
    entries = [Entry(panel.panel_id, panel, "test") for panel in panels]
    feed = HandFeed(run.run if isinstance(run, FakeRun) else run for run in runs)
    app = DashboardApp(folder, panels=entries, feed=feed, sections=sections, **options)
    async with app.run_test(size=size) as pilot:
        feed.read()
        app.action_view(1)  # the first is that of the charts
        await pilot.pause()
        yield Shown(app, pilot, feed)
        assert app.failure is None
        assert not [slot for view in app.views for slot in view.slots if slot.error is not None]


def run(scene: Callable[[], Any]) -> None:
    """Play ``scene``, a coroutine function."""
    asyncio.run(scene())
