"""The line at the bottom: the keys that matter here, and what the dashboard itself costs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.text import Text
from textual.widget import Widget

from nanoshell.dashboard.keys import written
from nanoshell.dashboard.table import ACTIONS, RUN

if TYPE_CHECKING:
    from textual.events import Click

    from nanoshell.dashboard.actions import Action

_BEST = 3
"""So many of a panel's own keys come before what can be done everywhere: 80 cells have room for them."""

_NOTE, _GAP = len("own cpu 10%"), 1
"""The share has so much room even while it needs less, so that no key comes and goes; and before it."""

_FIRST = ("help", "step_out", "explain")
_LAST = ("leave", "palette", "next_run")
"""What can be done everywhere: help, which tells all else, comes before everything, what is rare behind."""


def in_order(offered: Iterable[tuple[Action, str]]) -> list[tuple[Action, str]]:
    """Return what is ``offered``, actions with their keys, as the last line has it: what matters most first.

    After help that is the best of the panel, what is asked of the run, all the room for a panel, the panel's
    rest, and what is rare.
    """
    offered = list(offered)
    own = [action for action, _key in offered if action not in ACTIONS]

    def weight(pair: tuple[Action, str]) -> tuple[int, int]:
        action = pair[0]
        if action in own:
            place = own.index(action)
            return (1 if place < _BEST else 4), place
        for at, names in ((0, _FIRST), (5, _LAST)):
            if action.id in names:
                return at, names.index(action.id)
        return (2 if action.group == RUN else 3), 0

    return sorted(offered, key=weight)


class CpuMeter:
    """What share of one core this process has taken since it was last asked."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), _cpu_seconds()

    def share(self) -> float:
        """Return the share of one core since the last call, 1.0 for a whole one."""
        wall, cpu = time.monotonic(), _cpu_seconds()
        passed, used = wall - self._wall, cpu - self._cpu
        self._wall, self._cpu = wall, cpu
        return used / passed if passed > 0 else 0.0


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system


class KeyFooter(Widget):
    """Keys with what they do, as many as fit, and the dashboard's own share of a core.

    A click on one is that key. ``mode`` is what stands before the share at all times.
    """

    def __init__(self, mode: str = "") -> None:
        super().__init__()
        self._keys: tuple[tuple[str, str], ...] = ()
        self._mode = self._note = mode
        self._places: list[tuple[range, str]] = []

    def show(self, keys: Sequence[tuple[str, str]]) -> None:
        """Show ``keys``: pairs of a key, as Textual names it, and what it does."""
        if tuple(keys) != self._keys:
            self._keys = tuple(keys)
            self.refresh()

    def tell_share(self, share: float) -> None:
        """Show that the dashboard takes ``share`` of one core."""
        note = f"{self._mode}{', ' if self._mode else ''}own cpu {share:.0%}"
        if note != self._note:
            self._note = note
            self.refresh()

    def render(self) -> Text:
        least = _NOTE + (len(self._mode) + len(", ") if self._mode else 0)
        room = self.size.width - max(least, len(self._note)) - _GAP
        line = Text(no_wrap=True)
        self._places = []
        for name, what in self._keys:
            key = written(name)
            if (end := len(line) + len(key) + len(what) + 3) > room:
                continue
            self._places.append((range(len(line), end), name))
            line.append(f" {key} ", "bold")
            line.append(what + " ", "dim")
        line.append(" " * max(0, self.size.width - len(line) - len(self._note)))
        return line.append(self._note, "dim")

    def on_click(self, event: Click) -> None:
        """Do what the key under the mouse does."""
        event.stop()
        self.press(event.x)

    def press(self, x: int) -> None:
        """Do what the key does that stands at the column ``x``, where one does."""
        for place, key in self._places:
            if x in place:
                self.app.simulate_key(key)
