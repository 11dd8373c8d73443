"""The pace of updates: at once while somebody is there, and else as seldom as a run that trains is worth."""

from __future__ import annotations

import time

REFRESH_SECONDS = 0.25
"""Panels are updated at most so often."""

QUIET_SECONDS = 1.0
"""At most so often while nobody is there."""

LONGEST_SECONDS = 10.0
"""However long drawing takes, panels are updated so often."""

ATTENTION_SECONDS = 20.0
"""Whoever has pressed a key or moved the mouse is there for so long."""

ATTENDED_SHARE, QUIET_SHARE = 0.1, 0.007
"""Of one core, for updates: where drawing takes more they come less often. A run that trains on all cores
loses as much of its speed as one of them is held up."""


class Pace:
    """How long to rest between updates."""

    def __init__(self) -> None:
        self._noticed = time.monotonic()  # who has just opened the dashboard looks at it
        self._taken = 0.0

    @property
    def attended(self) -> bool:
        """Whether somebody is there."""
        return time.monotonic() - self._noticed < ATTENTION_SECONDS

    def notice(self) -> None:
        """Know that somebody is there."""
        self._noticed = time.monotonic()

    def judge(self, taken: float) -> None:
        """Know that the last update took so many seconds of a processor."""
        self._taken = taken

    @property
    def rest_seconds(self) -> float:
        """How long after the last update the next one may come."""
        least, share = (REFRESH_SECONDS, ATTENDED_SHARE) if self.attended else (QUIET_SECONDS, QUIET_SHARE)
        return min(max(least, self._taken / share), LONGEST_SECONDS)
