"""The end of a file that is being written, as lines: bounded in memory and in what is read at a time."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from nanoshell.dashboard.panels.plain import without_escapes
from nanoshell.runs.events import parse_line
from nanoshell.runs.telling import tell_logged

MOST_LINES = 5000
"""Lines that are kept; older ones are in the file."""

FIRST_BYTES = 1 << 19
"""So much of the end of a file is read at first."""

MOST_BYTES = 1 << 22
"""So much is read at a time, of what was appended; where more was, its older part is left out."""

_LONGEST = 1 << 14
"""Letters of a line that are kept."""

Told = tuple[str, str]
"""A line, and its role."""


class Tail:
    """The last lines of ``path``, which may grow, be replaced or vanish between two calls of `poll`.

    ``tell`` makes of a line in the file what is shown of it, None to leave it out. To be used by one thread
    at a time; ``revision`` grows with every change.
    """

    def __init__(self, path: Path, tell: Callable[[str], Told | None]) -> None:
        self.path = path
        self.lines: deque[Told] = deque(maxlen=MOST_LINES)
        self.revision = 0
        self.cut = False
        self.there = False
        self._tell = tell
        self._offset = 0
        self._file: tuple[int, int] | None = None
        self._rest = b""
        self._open_line = False

    def poll(self) -> bool:
        """Read what was appended, and return whether there is anything new."""
        try:
            with self.path.open("rb") as file:
                stat = os.fstat(file.fileno())
                changed = self._begin((stat.st_dev, stat.st_ino), stat.st_size)
                most = MOST_BYTES if self._offset else FIRST_BYTES
                skipped = stat.st_size - self._offset > most
                if skipped:
                    self._offset, self._rest, self.cut = stat.st_size - most, b"", True
                file.seek(self._offset)
                block = file.read(most)
        except OSError:
            changed, self.there = self.there, False
            self.revision += changed
            return changed
        if block:
            self._offset += len(block)
            self._take(block.partition(b"\n")[2] if skipped else block)
        self.revision += changed or bool(block)
        return changed or bool(block)

    def _begin(self, file: tuple[int, int], size: int) -> bool:
        """Begin anew where the file is another one, or shorter; return whether it is new here."""
        if file == self._file and size >= self._offset:
            changed, self.there = not self.there, True
            return changed
        self._file, self._offset, self._rest, self.there = file, 0, b"", True
        self.cut = self._open_line = False
        self.lines.clear()
        return True

    def _take(self, block: bytes) -> None:
        if self._open_line:
            self.lines.pop()
            self._open_line = False
        *whole, self._rest = (self._rest + block).split(b"\n")
        if len(whole) == MOST_LINES or len(self.lines) + len(whole) > MOST_LINES:
            self.cut = True
        for line in whole[-MOST_LINES:]:
            if (told := self._tell(_text(line))) is not None:
                self.lines.append(told)
        self._rest = self._rest[-4 * _LONGEST :]
        if self._rest and (told := self._tell(_text(self._rest))) is not None:
            self.lines.append(told)
            self._open_line = True


def _text(line: bytes) -> str:
    """Return ``line`` as it would stand in a terminal: what a progress bar has overwritten is gone."""
    return line.rstrip(b"\r").rpartition(b"\r")[2][:_LONGEST].decode("utf-8", "replace")


def log_line(text: str) -> Told | None:
    """Return a line of the worker's log without its colours; what looks like trouble has a role."""
    shown = without_escapes(text).rstrip()
    lowered = shown.lower()
    if "error" in lowered or "traceback" in lowered:
        return shown, "error"
    return shown, "warning" if "warning" in lowered else ""


def event_line(text: str, *, steps: bool) -> Told | None:
    """Return what an event tells, after its time; None for signs of life, and without ``steps`` for steps.

    The time has its day where that is not today.
    """
    event = parse_line(text.encode("utf-8", "replace"))
    if event is None or event.get("type") == "heartbeat" or (event.get("type") == "step" and not steps):
        return None
    try:
        told = tell_logged(event)
        moment = _moment(float(event["t"]))
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        return None
    return f"{moment}  {without_escapes(told)}", _event_role(event)


def _moment(seconds: float) -> str:
    """Return a time since the epoch as a time of this day, or with its day."""
    then = time.localtime(seconds)
    return time.strftime("%H:%M:%S" if then[:3] == time.localtime()[:3] else "%b %d %H:%M:%S", then)


def _event_role(event: dict[str, object]) -> str:
    match event.get("type"):
        case "alert":
            return "good" if event.get("cleared") else "warning"
        case "state":
            return "error" if event.get("state") in ("failed", "crashed") else "accent"
        case "control":
            return "accent" if event.get("ok") else "error"
        case "eval" | "checkpoint" | "resume":
            return "accent"
    return ""
