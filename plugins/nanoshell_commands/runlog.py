"""What `runs log` shows: the end of a run's log, and its events as lines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nanoshell_commands.layout import figure

if TYPE_CHECKING:
    from nanoshell import RunDirectory, Screen

_TELLING = ("state", "resume", "eval", "checkpoint", "alert", "control", "sample")


class LogView:
    """The end of a run's log (where that is empty, of its events), and with ``follow`` what comes then."""

    def __init__(self, run: RunDirectory, lines: int, follow: bool) -> None:
        self._run = run
        self._lines = lines
        self._follow = follow

    def show(self, screen: Screen) -> None:
        tail = self._run.log_tail(self._lines)
        if tail:
            screen.write(tail + "\n")
        elif not self._follow:
            screen.note(f"the worker of {self._run.name} has written no log; the last of its events:")
            for event in self._last_events():
                screen.write(event_text(event) + "\n")
        if self._follow:
            for event in self._events():
                screen.write(event_text(event) + "\n")

    def lines(self) -> Iterator[Any]:
        if self._follow:
            yield from self._events()
            return
        tail = self._run.log_tail(self._lines)
        if not tail:
            yield from self._last_events()
        for line in tail.splitlines():
            yield {"text": line}

    def document(self) -> Any:
        return None

    def _last_events(self) -> list[dict[str, Any]]:
        """Return the last events that tell how the run went: of its steps, only the newest."""
        from nanoshell import effective_events, read_events

        events = effective_events(read_events(self._run.events_path)[0])
        steps = [event for event in events if event.get("type") == "step"]
        told = [event for event in events if event.get("type") in _TELLING or event in steps[-1:]]
        return told[-self._lines :] if self._lines else []

    def _events(self) -> Iterator[dict[str, Any]]:
        from nanoshell import follow

        for event in follow(self._run, from_start=False):
            if event.get("type") != "heartbeat":
                yield event


def event_text(event: dict[str, Any]) -> str:
    """Return an event as one line: its time, its type, and its figures by name."""
    hidden = ("t", "type", "format", "id")
    values = " ".join(
        f"{name}={_short(value)}"
        for name, value in event.items()
        if name not in hidden and value is not None and value != ""
    )
    clock = time.strftime("%H:%M:%S", time.localtime(event.get("t", time.time())))
    return f"{clock} {event.get('type', '?')} {values}".rstrip()


def _short(value: Any) -> str:
    """Return a value of an event in few letters: ``3:[0.25,0.75]`` for the load of a layer's experts."""
    if isinstance(value, dict):
        return ",".join(f"{key}:{_short(member)}" for key, member in value.items())
    if isinstance(value, list):
        return f"[{','.join(f'{each:.2f}' if isinstance(each, float) else str(each) for each in value)}]"
    return figure(value) if isinstance(value, float) else str(value)
