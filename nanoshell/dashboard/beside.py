"""What goes on in a folder of runs beside those that are shown: which train, and how such a run ends."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path

from nanoshell.dashboard.course import Course
from nanoshell.runs.directory import RunDirectory
from nanoshell.runs.live import live_runs_here
from nanoshell.runs.status import RunStatus

_SHARE = 0.002
"""Of one core, for asking of every run whether its worker lives: a folder may hold thousands."""


class Beside:
    """The runs of ``runs_dir`` that trained while it looked, each as a course of which little is known.

    To be used by one thread; ``courses`` is another tuple where something has changed.
    """

    def __init__(self, runs_dir: Path) -> None:
        self.courses: tuple[Course, ...] = ()
        self._runs_dir = runs_dir
        self._rests_until = 0.0

    def look(self, shown: Collection[str]) -> None:
        """See which runs train that are not ``shown``, and which of those that did have ended."""
        found = {course.run.name: course for course in self.courses if course.run.name not in shown}
        going = [course.run for course in found.values() if not course.status.ended]
        for run in [*going, *(run for run in self._training() if run not in going)]:
            status = run.status() if run.name not in shown else None
            if status is None:
                continue
            if status.ended and not run.path.is_dir():
                found.pop(run.name, None)
            elif status.ended and run in going:
                found[run.name] = Course(run, status)
            elif not status.ended:
                found[run.name] = Course(run, RunStatus("running"))
        if tuple(found.values()) != self.courses:
            self.courses = tuple(found.values())

    def _training(self) -> list[RunDirectory]:
        """Return the runs whose workers live here, from time to time: where there are many, more seldom."""
        now = time.monotonic()
        if now < self._rests_until:
            return []
        begun = time.thread_time()
        found = live_runs_here(self._runs_dir)
        self._rests_until = now + (time.thread_time() - begun) / _SHARE
        return found
