"""The feed of a run: its event log as a `Course`, the newest part first, followed while it is written."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from nanoshell.dashboard.course import Course
from nanoshell.dashboard.digest import digest, newer_format, parse_lines
from nanoshell.dashboard.history import History
from nanoshell.runs.events import FORMAT, parse_line

if TYPE_CHECKING:
    from nanoshell.runs.directory import RunDirectory
    from nanoshell.runs.status import RunStatus

NEWEST_BYTES = 2 << 20
"""So much of the end of a log is read at once: some 8,000 steps, in about 40 ms."""

BLOCK_BYTES = 1 << 18
"""So much is parsed without letting other threads have their turn: about 5 ms."""

LINE_BYTES = 1 << 26
"""A longer line is none of ours, and is passed over in pieces."""

_FIRST_BYTES = 1 << 16
_PRINT_BYTES = 64


@dataclass(frozen=True)
class _Seen:
    """What the file was when it was last read: to tell whether it grew or is another one."""

    device: int = -1
    inode: int = -1
    size: int = 0
    changed: int = 0

    def is_same_file(self, other: _Seen) -> bool:
        return (self.device, self.inode) == (other.device, other.inode)


class RunFeed:
    """Reads the log of ``run``. Nothing that the log or the disk holds makes it raise.

    For one thread. ``newest_bytes`` is what `poll` reads of a log that is there already, ``block_bytes`` what
    is parsed at a time.
    """

    def __init__(
        self, run: RunDirectory, *, newest_bytes: int | None = None, block_bytes: int | None = None
    ) -> None:
        self.run = run
        self._newest_bytes = newest_bytes or NEWEST_BYTES
        self._block_bytes = block_bytes or BLOCK_BYTES
        self._course: Course | None = None
        self._revision = 0
        self._problem = ""
        self._forget()

    def _forget(self) -> None:
        self._history = History()
        self._seen = _Seen()
        self._oldest = 0
        self._end = 0
        self._print = b""
        self._format = ""
        self._begun = False

    @property
    def complete(self) -> bool:
        """Whether all of the log has been read but for what is being written."""
        return self._oldest == 0

    # Reading

    def poll(self, seconds: float = 0.1) -> bool:
        """Read what was appended, for about ``seconds`` at most; whether there is more to read at once.

        Where the log is another one than before, everything begins anew.
        """
        try:
            with self.run.events_path.open("rb", buffering=0) as file:
                self._problem = ""
                return self._follow(file, time.monotonic() + seconds)
        except FileNotFoundError:
            self._problem = "" if not self._begun else f"{self._gone()}; what had been read is shown"
        except OSError as error:
            self._problem = f"cannot read {self.run.events_path}: {error.strerror or error}"
        return False

    def _gone(self) -> str:
        folder = self.run.path
        return f"{folder} is gone" if not folder.is_dir() else f"{self.run.events_path} is gone"

    def _follow(self, file: BinaryIO, deadline: float) -> bool:
        found = os.fstat(file.fileno())
        seen = _Seen(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        if seen == self._seen:
            return False
        if self._begun and not self._goes_on(file, seen):
            self._forget()
        if not self._begun and seen.size:
            self._begin(file, seen.size)
        more = self._read_appended(file, seen.size, deadline)
        # A file that is not read to its end must be looked at again, changed or not.
        self._seen = _Seen(seen.device, seen.inode, -1, 0) if more else seen
        return more

    def _goes_on(self, file: BinaryIO, seen: _Seen) -> bool:
        """Whether the file is the one that was read, and still holds what was read of it."""
        if not seen.is_same_file(self._seen) or seen.size < self._end:
            return False
        return _pread(file, len(self._print), self._end - len(self._print)) == self._print

    def _begin(self, file: BinaryIO, size: int) -> None:
        """Find where the newest part begins, and look at the first event."""
        self._begun = True
        first = parse_line(_pread(file, _FIRST_BYTES, 0).partition(b"\n")[0]) or {}
        newer = newer_format(first)
        if newer is not None:
            self._format = (
                f"{self.run.events_path.name} is in format {newer}, and this nanoshell reads up to {FORMAT}: "
                "something may be missing; update nanoshell"
            )
        self._history = History(digest([first]).first)
        wanted = self._newest_bytes
        while wanted < size:
            start = size - wanted
            cut = _pread(file, wanted, start).find(b"\n") + 1
            if 0 < cut < wanted or wanted > LINE_BYTES:
                self._oldest = self._end = start + cut
                return
            wanted *= 2
        self._oldest = self._end = 0

    def _read_appended(self, file: BinaryIO, size: int, deadline: float) -> bool:
        """Read whole lines up to byte ``size``, and return whether some are left for lack of time."""
        # What was there already counts as one part, however long that takes.
        newest = self._end + self._newest_bytes if self._end == self._oldest else 0
        wanted = self._block_bytes
        while self._end < size:
            block = _pread(file, min(wanted, size - self._end), self._end)
            cut = block.rfind(b"\n") + 1
            if not cut:
                if not block or self._end + len(block) >= size:
                    return False  # a line that is still being written
                if len(block) < LINE_BYTES:
                    wanted *= 2
                    continue
                cut = len(block)
            self._history.append(digest(parse_lines(block[:cut])))
            self._end += cut
            self._print = (self._print + block[:cut])[-_PRINT_BYTES:]
            wanted = self._block_bytes
            time.sleep(0)
            if self._end < size and self._end > newest and time.monotonic() >= deadline:
                return True
        return False

    def read_older(self, seconds: float) -> bool:
        """Read the log backwards for about ``seconds``, and return whether there is more of it."""
        if self.complete:
            return False
        deadline = time.monotonic() + seconds
        try:
            with self.run.events_path.open("rb", buffering=0) as file:
                found = os.fstat(file.fileno())
                if (found.st_dev, found.st_ino) != (self._seen.device, self._seen.inode):
                    return False  # another file, of which `poll` will begin anew
                while not self.complete:
                    if not self._read_block_before(file):
                        return False
                    time.sleep(0)
                    if time.monotonic() >= deadline:
                        break
        except OSError:
            return False  # `poll` tells why
        return not self.complete

    def _read_block_before(self, file: BinaryIO) -> bool:
        """Read a block of whole lines before the oldest one; False where the file lacks them."""
        wanted = self._block_bytes
        while True:
            start = max(0, self._oldest - wanted)
            block = _pread(file, self._oldest - start, start)
            if len(block) < self._oldest - start:
                return False
            cut = block.find(b"\n") + 1 if start else 0
            if start == 0 or 0 < cut < len(block) or wanted > LINE_BYTES:
                break
            wanted *= 2
        self._history.prepend(digest(parse_lines(block[cut:]), self._history.limit))
        self._oldest = start + cut if cut < len(block) else start
        if self.complete:
            self._history.complete()
        return True

    def fail(self, error: Exception) -> None:
        """Say that reading failed by a fault of the program, and go no further back."""
        self._format = f"{self.run.events_path.name} cannot be read: {type(error).__name__}: {error}"
        self._oldest = 0

    # What is known

    def course(self, status: RunStatus | None = None) -> Course:
        """Return the run as far as it has been read: the same object as before where nothing has changed.

        ``status`` is how the run stands, where that is known; else it is read.
        """
        status = status or self.run.status()
        history = self._history
        series, marks = history.series(), history.marks()
        samples, alerts = history.samples(), history.alerts()
        problem = "; ".join(filter(None, (self._problem, self._format)))
        known = self._course
        if known is not None and (
            known.series is series
            and known.marks is marks
            and known.samples is samples
            and known.alerts is alerts
            and (known.status, known.complete, known.problem) == (status, self.complete, problem)
        ):
            return known
        self._revision += 1
        self._course = Course(
            self.run, status, series, marks, samples, alerts, self.complete, self._revision, problem
        )
        return self._course


def _pread(file: BinaryIO, count: int, offset: int) -> bytes:
    """Return up to ``count`` bytes from ``offset`` on: fewer only at the end of the file."""
    data = os.pread(file.fileno(), count, offset)
    while (
        data
        and len(data) < count
        and (more := os.pread(file.fileno(), count - len(data), offset + len(data)))
    ):
        data += more
    return data
