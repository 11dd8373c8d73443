"""What `runs log` shows: a run's events in a line each, and what its worker has printed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypedDict

from nanoshell_commands.progress import Event

if TYPE_CHECKING:
    from nanoshell import RunDirectory, Screen

_TELLING = ("state", "resume", "eval", "checkpoint", "alert", "control", "sample", "compile")


class PrintedLine(TypedDict):
    """A line that the worker of a run has printed."""

    text: str


class LogView:
    """The last events of a run, the last lines of its worker's own, and with ``follow`` what comes then.

    ``lines`` bounds both. In JSON events are as they were written, and a line of the worker is ``text``.
    """

    def __init__(self, run: RunDirectory, lines: int, follow: bool) -> None:
        self._run = run
        self._lines = lines
        self._follow = follow

    def show(self, screen: Screen) -> None:
        for event in self._last_events():
            screen.write(event_line(event) + "\n")
        if printed := self._printed():
            screen.note(f"what its worker has printed ({self._run.log_path}):")
            screen.write(printed + "\n")
        if self._follow:
            for event in self._events():
                screen.write(event_line(event) + "\n")

    def lines(self) -> Iterator[Event | PrintedLine]:
        if self._follow:
            yield from self._events()
            return
        yield from self._last_events()
        for line in self._printed().splitlines():
            yield {"text": line}

    def document(self) -> None:
        return None

    def _printed(self) -> str:
        return self._run.log_tail(self._lines) if self._lines else ""

    def _last_events(self) -> list[Event]:
        """Return the last events that tell how the run went: of its steps, only the newest."""
        from nanoshell import effective_events, read_events

        events = effective_events(read_events(self._run.events_path)[0])
        steps = [event for event in events if event.get("type") == "step"]
        told = [event for event in events if event.get("type") in _TELLING or event in steps[-1:]]
        return told[-self._lines :] if self._lines else []

    def _events(self) -> Iterator[Event]:
        from nanoshell import follow

        for event in follow(self._run, from_start=False):
            if event.get("type") != "heartbeat":
                yield event


def event_line(event: Event) -> str:
    """Return an event as one line: its time, and what it tells."""
    from nanoshell import tell_logged

    clock = time.strftime("%H:%M:%S", time.localtime(event.get("t", time.time())))
    return f"{clock}  {tell_logged(event)}".rstrip()
