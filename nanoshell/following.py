"""The runs that a session follows: those that it has started, and those that it was attached to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanoshell.errors import MissingRunError, UsageError
from nanoshell.runs.control import request
from nanoshell.runs.directory import RunDirectory, RunStatus
from nanoshell.runs.events import Event, parse_line
from nanoshell.runs.live import live_runs
from nanoshell.runs.telling import tell, without_echo
from nanoshell.spelling import typed

_NO_NEWS = (b'"type": "step"', b'"type": "heartbeat"')
"""Marks of lines that are passed over unread: a small model makes hundreds of steps a second."""

ECHO_SECONDS = 1.0
"""How long an alert waits for the end that repeats its words."""


@dataclass(frozen=True)
class News:
    """One line of what a run tells; an ``alert`` calls for somebody."""

    run: RunDirectory
    text: str
    alert: bool = False


@dataclass
class Followed:
    """A run, how far its log has been told, and whether to tell all of it or only what calls for somebody.

    ``before`` is the model that was chosen before the run was.
    """

    run: RunDirectory
    offset: int
    everything: bool = False
    before: str | None = None


class Following:
    """The runs that a session follows, by folder, the one that was added first in front."""

    def __init__(self) -> None:
        self._followed: dict[Path, Followed] = {}
        self._asked: set[str] = set()

    def add(self, run: RunDirectory, *, everything: bool = False, before: str | None = None) -> None:
        """Follow ``run`` from now on: its news are what happens next.

        ``everything`` tells evaluations and samples too, not only what calls for somebody. ``before`` is the
        model that was chosen before the run took its place.
        """
        known = self._followed.get(run.path.resolve())
        offset = known.offset if known else _size(run)
        self._followed[run.path.resolve()] = Followed(
            run, offset, everything, before or (known.before if known else None)
        )

    def model_before(self, run: RunDirectory) -> str | None:
        """Return the model that was chosen before ``run`` took its place, None where none is known."""
        followed = self._followed.get(run.path.resolve())
        return followed.before if followed else None

    def drop(self, run: RunDirectory) -> bool:
        """Follow ``run`` no more. Returns whether it was followed."""
        return self._followed.pop(run.path.resolve(), None) is not None

    def runs(self) -> list[RunDirectory]:
        """Return the runs. Nothing is read."""
        return [followed.run for followed in self._followed.values()]

    def with_status(self) -> list[tuple[RunDirectory, RunStatus]]:
        """Return the runs and how they stand."""
        return [(followed.run, followed.run.status()) for followed in self._followed.values()]

    def in_progress(self) -> list[tuple[RunDirectory, RunStatus]]:
        """Return the runs that have not ended, and how they stand."""
        return [(run, status) for run, status in self.with_status() if not status.ended]

    def ask(self, run: RunDirectory, action: str, **arguments: Any) -> str:
        """Send a request to the worker of ``run`` and return its id; its answer will be no news to us."""
        request_id = request(run, action, **arguments)
        self.expect(request_id)
        return request_id

    def expect(self, request_id: str) -> None:
        """Note that the request of this id is ours: its answer will be no news."""
        self._asked.add(request_id)

    def meant(self, runs_dir: Path, model: str | None) -> RunDirectory:
        """Return the run that is meant where none is named.

        That is the `current` one, else the only one in progress in ``runs_dir``. Raises `MissingRunError`
        where there is none, `UsageError` naming them where there are several.
        """
        if (followed := current(self.in_progress(), model)) is not None:
            return followed[0]
        found = live_runs(runs_dir)
        if not found:
            raise MissingRunError(
                "no run is in progress",
                hint=f"start one with: {typed('train')}\nthose that have ended: {typed('runs list')}",
            )
        if len(found) > 1:
            names = ", ".join(run.name for run in found)
            raise UsageError(f"{len(found)} runs are in progress", hint=f"say which: {names}")
        return found[0]

    def news(self) -> list[News]:
        """Return what the followed runs have told since the last call, a line each."""
        return [
            News(followed.run, line, event.get("type") == "alert" and not event.get("cleared"))
            for followed in self._followed.values()
            for event in without_echo(self._unread(followed))
            if (line := tell(event)) and (followed.everything or _calls(event))
        ]

    def _unread(self, followed: Followed) -> Iterator[Event]:
        for end, line in _new_lines(followed.run.events_path, followed.offset):
            event = None if any(kind in line for kind in _NO_NEWS) else parse_line(line)
            if event is not None and _may_be_echoed(event) and not followed.run.status().ended:
                return
            followed.offset = end
            if event is not None and event.get("id") not in self._asked:
                yield event


def current(
    runs: list[tuple[RunDirectory, RunStatus]], model: str | None
) -> tuple[RunDirectory, RunStatus] | None:
    """Return the run among ``runs`` that is meant where none is named: the toolbar's.

    That is the run of the chosen ``model``, else the one that was followed last.
    """
    chosen = Path(model).name if model else ""
    of_model = [pair for pair in runs if pair[0].name == chosen]
    return next(iter([*of_model, *reversed(runs)]), None)


def _calls(event: Event) -> bool:
    """Return whether ``event`` calls for somebody: an alert, and what somebody else has asked for."""
    return event.get("type") in ("alert", "control", "state")


def _may_be_echoed(event: Event) -> bool:
    age = time.time() - float(event.get("t") or 0.0)
    return event.get("type") == "alert" and abs(age) < ECHO_SECONDS


def _new_lines(path: Path, offset: int) -> Iterator[tuple[int, bytes]]:
    """Yield the whole lines of ``path`` from byte ``offset``, each with where the next one begins."""
    try:
        if path.stat().st_size <= offset:
            return
        file = path.open("rb")
    except OSError:
        return
    with file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return  # it is still being written
            offset += len(line)
            yield offset, line


def _size(run: RunDirectory) -> int:
    try:
        return run.events_path.stat().st_size
    except OSError:
        return 0
