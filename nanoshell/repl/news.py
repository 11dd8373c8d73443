"""What is said while a line is being typed: it appears above the prompt, never inside it.

There is one writer: `AbovePrompt` takes the place of stdout and stderr while the prompt is open, so that
news of runs, notes, warnings, logging, and what threads of plugins print, go the same way.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from prompt_toolkit.application import get_app_session
from prompt_toolkit.application.run_in_terminal import run_in_terminal

from nanoshell.command.render import say
from nanoshell.repl.spark import course
from nanoshell.runs.directory import RunDirectory, RunStatus
from nanoshell.wording import human_seconds

if TYPE_CHECKING:
    from typing import TextIO

    from prompt_toolkit.application import Application

    from nanoshell.session import Session

REFRESH_SECONDS = 1.0
"""How often the runs are looked at. Where their logs have not grown, nothing is read."""

LIVENESS_SECONDS = 5.0
"""How long a run whose log does not grow is taken to be as it was: a crash writes nothing."""

_BUNDLE_SECONDS = 0.05
_STYLE = re.compile(r"\x1b\[[0-9;:]*m")
_CONTROLS = re.compile(
    r"""(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]                                       # with parameters
    |(?:\x1b[]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|)  # with a text
    |\x1b[ -/]*[0-~]                                                          # of two letters or three
    |[\x00-\x08\x0b-\x1f\x7f-\x9f]                                           # one alone""",
    re.VERBOSE,
)
"""What a terminal does not show but obeys. A text that is not ended ends with the line."""


class AbovePrompt(io.TextIOBase):
    """A stream whose whole lines appear above the prompt, from any thread, in the order of their coming.

    A line shows once it is whole, in its last state where a carriage return overwrote it; what would move the
    cursor is left out. Nothing is lost when the prompt ends meanwhile: `close_prompt` writes the rest.
    """

    above_prompt = True

    def __init__(self, stream: TextIO) -> None:
        self._session = get_app_session()
        self._output = self._session.output
        self._stream = stream
        self._context = copy_context()
        self._lock = threading.RLock()
        self._lines: deque[str] = deque()
        self._line = ""
        self._scheduled = False
        self._over = False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._output.encoding()

    def fileno(self) -> int:
        return self._output.fileno()

    def isatty(self) -> bool:
        stdout = self._output.stdout
        return stdout is not None and stdout.isatty()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._lock:
            if self._over:  # somebody has kept us for longer than the prompt was open
                return self._stream.write(text)
            *lines, last = (self._line + text).split("\n")
            self._lines.extend(_last_state(line) + "\n" for line in lines)
            self._line = last[last.rfind("\r", 0, -1) + 1 :]  # the rest may still change what it does
        if lines:
            self._schedule()
        return len(text)

    def flush(self) -> None:
        """Do nothing: half a line would be drawn over by the prompt."""
        if self._over:
            self._stream.flush()

    def close_prompt(self) -> None:
        """Write what has not been written; from now on this is another name for the stream before."""
        with self._lock:
            if self._line:
                self._lines.append(_last_state(self._line) + "\n")
                self._line = ""
            self._over = True
        self._drain()

    def _schedule(self) -> None:
        """Have the lines written by the prompt, several at once; where none is open, write them now."""
        app = self._session.app
        loop = app.loop if app is not None else None
        if loop is None:
            self._drain()
            return
        with contextlib.suppress(RuntimeError):  # its loop has just closed; `close_prompt` comes next
            loop.call_soon_threadsafe(self._soon, loop, context=self._context)

    def _soon(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._scheduled:
            self._scheduled = True
            loop.call_later(_BUNDLE_SECONDS, self._step_aside)

    def _step_aside(self) -> None:
        self._scheduled = False
        run_in_terminal(self._drain)

    def _drain(self) -> None:
        with self._lock:
            text = "".join(self._lines)
            self._lines.clear()
            if text:
                self._output.enable_autowrap()
                self._output.write_raw(text)
                self._output.flush()


@contextlib.contextmanager
def written_above() -> Iterator[None]:
    """Let all that Python writes to stdout and stderr in the block appear above the prompt."""
    streams = sys.stdout, sys.stderr
    writer = cast("TextIO", above := AbovePrompt(sys.stdout))
    ours = {id(stream) for stream in (*streams, sys.__stdout__, sys.__stderr__)}
    moved = [(handler, handler.stream) for handler in _handlers() if id(handler.stream) in ours]
    try:
        sys.stdout = sys.stderr = writer
        for handler, _ in moved:
            handler.setStream(writer)
        yield
    finally:
        sys.stdout, sys.stderr = streams
        for handler, stream in moved:
            handler.setStream(stream)
        for handler in _handlers():
            if handler.stream is writer:  # made meanwhile
                handler.setStream(streams[1])
        above.close_prompt()


def _handlers() -> list[logging.StreamHandler[TextIO]]:
    """Return the handlers of logging that write to a stream: those to the terminal are among them."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    of_loggers = [logger.handlers for logger in loggers if isinstance(logger, logging.Logger)]
    return [
        handler
        for handlers in of_loggers
        for handler in handlers
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler)
    ]


def _last_state(line: str) -> str:
    """Return what a terminal would show of ``line``: with its styles, without all else that it would obey."""
    shown = line.removesuffix("\r").rpartition("\r")[2]
    return _CONTROLS.sub(lambda found: found[0] if _STYLE.fullmatch(found[0]) else "", shown)


@dataclass(frozen=True)
class Line:
    """Something to say, and the role of the theme that it has."""

    text: str
    role: str = "quiet"


@dataclass(frozen=True)
class Seen:
    """How a run stood when it was last looked at, the course of its loss, and by which signs it was so."""

    run: RunDirectory
    status: RunStatus
    losses: list[float]
    signs: tuple[int, int]
    looked_at: float


class RunWatch:
    """The runs that a session follows, looked at again at most once in `REFRESH_SECONDS`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._looked_at = -REFRESH_SECONDS
        self._seen: dict[str, Seen] = {}
        self.active: list[Seen] = []
        self.ended: Seen | None = None

    def poll(self, *, now: bool = False) -> list[Line]:
        """Look at the runs where it is time, ``now`` anew in any case; return their news."""
        moment = time.monotonic()
        if not now and moment - self._looked_at < REFRESH_SECONDS:
            return []
        self._looked_at = moment
        told = [
            Line(f"run {news.run.name}: {news.text}", "warning" if news.alert else "quiet")
            for news in self._session.following.news()
        ]
        found = [self._look(run, anew=now) for run in self._session.following.runs()]
        for seen in found:
            if seen.status.ended:
                failed = seen.status.state in ("failed", "crashed")
                self.ended = seen
                fallback = self._session.run_ended(seen.run, seen.status.state)
                text = "\n  ".join(filter(None, (ending(seen.run, seen.status), fallback)))
                told.append(Line(text, "error" if failed else "good"))
        self.active = [seen for seen in found if not seen.status.ended]
        self._seen = {str(seen.run.path): seen for seen in self.active}
        return told

    def tell(self, *, now: bool = False) -> None:
        """Say what `poll` returns."""
        for line in self.poll(now=now):
            say(line.text, line.role)

    def _look(self, run: RunDirectory, *, anew: bool) -> Seen:
        known, signs, moment = self._seen.get(str(run.path)), _signs(run), time.monotonic()
        same = known is not None and known.signs == signs
        if known and same and not anew and moment - known.looked_at < LIVENESS_SECONDS:
            return known
        losses = known.losses if known and same else course(run.events_path)
        return Seen(run, run.status(), losses, signs, moment)


async def follow(watch: RunWatch, app: Application[str]) -> None:
    """While a run goes on, say its news above the prompt of ``app``, and refresh the toolbar."""
    while watch.active:
        await asyncio.sleep(REFRESH_SECONDS)
        before = watch.active
        watch.tell()
        if watch.active != before:
            app.invalidate()


def ending(run: RunDirectory, status: RunStatus) -> str:
    """Return how ``run`` ended, and what to do next: of a failure, in further lines."""
    if status.state in ("failed", "crashed"):
        told = f"run {run.name} {status.state}: {status.reason or 'see its log'} (:runs log {run.name})"
        resume = f"go on with :train --resume {run.name}" if run.latest_checkpoint() is not None else ""
        return "\n  ".join(filter(None, (told, status.hint, resume)))
    figures = [f"step {status.step:,}"] if status.step is not None else []
    if status.loss is not None:
        figures.append(f"loss {status.loss:.3f}")
    if status.started is not None and status.updated is not None:
        figures.append(f"in {human_seconds(status.updated - status.started)}")
    return f"run {run.name} {status.state}: {', '.join(figures)}; type to chat with it, or :sample TEXT"


def _signs(run: RunDirectory) -> tuple[int, int]:
    """Return what changes whenever the log of ``run`` does: its size and its time."""
    try:
        found = run.events_path.stat()
    except OSError:
        return -1, 0
    return found.st_size, found.st_mtime_ns
