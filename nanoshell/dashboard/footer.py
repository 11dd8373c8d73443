"""The line at the bottom: the keys that matter here, and what the dashboard itself costs."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from rich.text import Text
from textual.widget import Widget


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
    """Keys with what they do, as many as fit, and the dashboard's own share of a core."""

    def __init__(self) -> None:
        super().__init__()
        self._keys: tuple[tuple[str, str], ...] = ()
        self._note = ""

    def show(self, keys: Sequence[tuple[str, str]]) -> None:
        """Show ``keys``: pairs of a key and what it does."""
        if tuple(keys) != self._keys:
            self._keys = tuple(keys)
            self.refresh()

    def tell_share(self, share: float) -> None:
        """Show that the dashboard takes ``share`` of one core."""
        note = f"cpu {share:.0%}"
        if note != self._note:
            self._note = note
            self.refresh()

    def render(self) -> Text:
        room = self.size.width - len(self._note) - 1
        line = Text(no_wrap=True)
        for key, what in self._keys:
            if len(line) + len(key) + len(what) + 3 > room:
                continue
            line.append(f" {key} ", "bold")
            line.append(what + " ", "dim")
        line.append(" " * max(0, room - len(line)))
        return line.append(self._note, "dim")
