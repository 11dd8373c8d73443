"""The events of a run as the lines of a log: of two that tell the same the first stands there."""

from __future__ import annotations

from nanoshell.dashboard.panels.tail import Told, event_line
from nanoshell.runs.events import Event, parse_line
from nanoshell.runs.telling import repeats


class EventLines:
    """Makes of the lines of an event log what is shown of them, one after the other in their order.

    None leaves a line out: a sign of life, without ``steps`` a step, and what the event before has told.
    """

    def __init__(self, *, steps: bool) -> None:
        self._steps = steps
        self._line = ""
        self._told: Told | None = None
        self._before: Event = {}

    def __call__(self, line: str) -> Told | None:
        """Return what is shown of ``line``: a text and its role."""
        if line != self._line:  # the last one is read again once its end is there
            self._line, self._told = line, event_line(line, steps=self._steps)
            event = parse_line(line.encode("utf-8", "replace")) if self._told is not None else None
            if event is not None:
                if repeats(event, self._before):
                    self._told = None
                self._before = event
        return self._told
