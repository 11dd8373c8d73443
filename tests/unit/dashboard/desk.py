"""The dashboard in tests of panels: fake runs, a feed that reads when it is told to, and what is drawn."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from nanoshell.dashboard.app import DashboardApp
from nanoshell.dashboard.course import Course, Snapshot
from nanoshell.dashboard.feed import RunFeed
from nanoshell.dashboard.panel import Panel
from nanoshell.plugin.registry import Entry
from nanoshell.runs.directory import RunDirectory
from nanoshell.testing import FakeRun

SECONDS = 20.0


class HandFeed:
    """A feed that reads the runs when a test says so, and notes what was asked of it."""

    def __init__(self, runs: Iterable[RunDirectory]) -> None:
        self.feeds = {run.name: RunFeed(run) for run in runs}
        self.asked: list[tuple[Any, ...]] = []
        self.focused = 0
        self.deliver: Callable[[Snapshot], None] = lambda snapshot: None

    def start(self, deliver: Callable[[Snapshot], None]) -> None:
        self.deliver = deliver

    def stop(self) -> None:
        pass

    def focus(self, name: str) -> None:
        self.asked.append(("focus", name))

    def show(self, name: str, shown: bool) -> None:
        self.asked.append(("show", name, shown))

    def read(self, **changes: Any) -> None:
        """Hand over the runs as they stand now, each with ``changes`` to its course."""
        courses = []
        for feed in self.feeds.values():
            while feed.poll() or feed.read_older(0.0):
                pass
            courses.append(replace(feed.course(feed.run.status()), **changes))
        self.hand(*courses)

    def hand(self, *courses: Course) -> None:
        colours = {course.run.name: number for number, course in enumerate(courses)}
        self.deliver(Snapshot(courses, self.focused, colours, time.time()))


class Shown:
    """A dashboard on a screen of its own."""

    def __init__(self, app: DashboardApp, pilot: Pilot[None], feed: HandFeed) -> None:
        self.app, self.pilot, self.feed = app, pilot, feed

    @property
    def lines(self) -> list[str]:
        """What is on the screen, line by line."""
        strips = self.app.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip) for strip in strips]

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.lines)

    def line(self, words: str) -> str:
        """Return the line on the screen that has ``words``."""
        return next(line for line in self.lines if words in line)

    @property
    def notices(self) -> list[str]:
        return [notice.message for notice in self.app._notifications]

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def type(self, text: str) -> None:
        await self.pilot.press(*(_KEYS.get(letter, letter) for letter in text))
        await self.pilot.pause()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` holds; fail with the screen where it does not in time."""
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"not in time:\n{self.text}"
            await self.pilot.pause(0.02)

    async def sees(self, *words: str) -> None:
        """Wait until all of ``words`` are on the screen."""
        await self.until(lambda: all(word in self.text for word in words))


_KEYS = {
    " ": "space",
    "<": "less_than_sign",
    ">": "greater_than_sign",
    "=": "equals_sign",
    "~": "tilde",
    "!": "exclamation_mark",
    ".": "full_stop",
    "_": "underscore",
    "-": "minus",
    "/": "slash",
    '"': "quotation_mark",
}


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
