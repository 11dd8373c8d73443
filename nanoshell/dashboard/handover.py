"""The dashboard has the terminal for a while, and gives it back as it was, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

from nanoshell.dashboard.inside import is_capture
from nanoshell.errors import NanoshellError, UsageError

if TYPE_CHECKING:
    from typing import TextIO

RESET = (
    "\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?1016l"  # the mouse
    "\x1b[?2004l\x1b[?1004l\x1b[?2048l\x1b[?2026l"  # pastes, focus, sizes, held frames
    "\x1b[<u\x1b[?1049l\x1b[?7h\x1b[?25h\x1b[0m"  # keys, the other screen, wrapping, the cursor, styles
)
"""Takes back all that Textual asks of a terminal, where Textual did not come to do it."""

FORCE_SECONDS = 3.0
"""A program that was told to end, and does not in so many seconds, ends without its own farewell."""

LOG_NAME = "dashboard.log"
"""Beside the user's data: what would have been printed over the screen, and how panels have failed."""

RING_LINES = 1000

MOST_LOG_BYTES = 1_000_000
"""A log that is longer makes room when the dashboard is opened; the one before is kept beside it."""

_ENDING = ("SIGTERM", "SIGHUP", "SIGINT")
_OTHERS = ("SIGTSTP", "SIGCONT", "SIGWINCH", "SIGTTIN", "SIGTTOU", "SIGQUIT")


class LogFile(io.TextIOBase):
    """Where log records and stray prints go meanwhile: a file, and the last lines of it in memory."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.lines: deque[str] = deque(maxlen=RING_LINES)
        self._open = ""
        self._lock = threading.Lock()
        self._file: TextIO | None = None
        if path is not None:
            with contextlib.suppress(OSError):
                if path.is_file() and path.stat().st_size > MOST_LOG_BYTES:
                    path.replace(path.with_suffix(".old.log"))  # another dashboard goes on writing there
            with contextlib.suppress(OSError):
                self._file = path.open("a", encoding="utf-8", errors="backslashreplace")

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._lock:
            *whole, self._open = (self._open + text).split("\n")
            self.lines.extend(whole)
            if self._file is not None:
                with contextlib.suppress(OSError, ValueError):
                    self._file.write(text)
                    self._file.flush()
        return len(text)

    def close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None
        super().close()


class TerminalHandover:
    """Saves the terminal and the process around a program that takes both over; see `run`.

    ``log_path`` is the file to which logging goes meanwhile; ``log`` has its last lines.
    """

    def __init__(self, log_path: Path | None = None) -> None:
        self.log = LogFile(log_path)
        self.signal: int | None = None

    def run(self, program: Callable[[], Coroutine[Any, Any, None]], leave: Callable[[], None]) -> None:
        """Run ``program`` in an event loop of its own; ``leave`` asks it to end, in that loop.

        SIGTERM, SIGHUP and SIGINT ask it to end, and are delivered once more when the terminal is as it was.
        Raises `UsageError` outside the main thread or in a running loop, and what ``program`` raises.
        """
        check_place()
        with self._terminal(), self._signals(), self._streams(), self._logging():
            loop = asyncio.new_event_loop()
            with self._ending(loop, leave), _closing(loop):
                loop.run_until_complete(program())
        self.log.close()
        if self.signal is not None:
            os.kill(os.getpid(), self.signal)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Put back the handlers of signals, and what wakes an event loop beside them."""
        numbers = [getattr(signal, name) for name in (*_ENDING, *_OTHERS) if hasattr(signal, name)]
        before = {number: signal.getsignal(number) for number in numbers}
        woken = signal.set_wakeup_fd(-1)
        try:
            yield
        finally:
            signal.set_wakeup_fd(woken)
            for number, handler in before.items():
                if handler is not None:  # one that C has set cannot be put back
                    signal.signal(number, handler)

    @contextlib.contextmanager
    def _ending(self, loop: asyncio.AbstractEventLoop, leave: Callable[[], None]) -> Iterator[None]:
        """Let signals that end a program end this one in good order, and soon."""
        saved = _attributes()

        def force() -> None:
            _reset_terminal(saved)
            os._exit(128 + (self.signal or 0))

        def end(number: int, _frame: FrameType | None) -> None:
            if self.signal is None:
                self.signal = number
                timer.start()
                with contextlib.suppress(RuntimeError):  # the loop has just closed
                    loop.call_soon_threadsafe(leave)

        timer = threading.Timer(FORCE_SECONDS, force)
        timer.daemon = True
        for name in _ENDING:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, end)
        try:
            yield
        finally:
            timer.cancel()

    @contextlib.contextmanager
    def _terminal(self) -> Iterator[None]:
        """Put back the modes of the terminal; after an exception also what Textual may have asked of it."""
        saved = _attributes()
        try:
            yield
        except BaseException:
            _reset_terminal(saved)
            raise
        _put_attributes(saved)

    @contextlib.contextmanager
    def _streams(self) -> Iterator[None]:
        streams = sys.stdin, sys.stdout, sys.stderr
        try:
            yield
        finally:
            sys.stdin, sys.stdout, sys.stderr = streams
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()

    @contextlib.contextmanager
    def _logging(self) -> Iterator[None]:
        """Let what is logged to the terminal go to the file: it would be drawn over the dashboard."""
        ours = {id(stream) for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)}
        moved = [(handler, handler.stream) for handler in _handlers() if id(handler.stream) in ours]
        log = cast("TextIO", self.log)
        last_resort = logging.lastResort
        try:
            for handler, _stream in moved:
                handler.setStream(log)
            logging.lastResort = logging.StreamHandler(log)
            logging.lastResort.setLevel(logging.WARNING)
            yield
        finally:
            logging.lastResort = last_resort
            for handler, stream in moved:
                handler.setStream(stream)
            for handler in _handlers():
                if handler.stream is log or is_capture(handler.stream):  # made meanwhile
                    handler.setStream(sys.stderr)


@contextlib.contextmanager
def _closing(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Close ``loop`` at the end. Threads that it has started are not waited for: a disk may be asleep."""
    try:
        yield
    finally:
        rest = asyncio.all_tasks(loop)
        for task in rest:
            task.cancel()
        if rest:
            loop.run_until_complete(asyncio.wait(rest))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def check_place() -> None:
    """Raise `UsageError` where no program can take the terminal over: in a thread, or in an event loop."""
    if threading.current_thread() is not threading.main_thread():
        raise UsageError("the dashboard can be opened in the main thread alone")
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise UsageError("the dashboard cannot be opened while an event loop runs")


def check_terminal() -> None:
    """Raise `NanoshellError` where there is no terminal on which something could be drawn."""
    streams = {"standard input": sys.__stdin__, "standard output": sys.__stdout__, "stderr": sys.__stderr__}
    other = [name for name, stream in streams.items() if stream is None or not stream.isatty()]
    hint = "nanoshell runs show tells how a run stands, nanoshell runs list tells of all of them"
    if other:
        raise NanoshellError(f"the dashboard needs a terminal, and {other[0]} is not one", hint=hint)
    if os.environ.get("TERM", "").lower() in ("", "dumb", "unknown"):
        raise NanoshellError(
            "the dashboard needs a terminal that can draw, and TERM says it cannot", hint=hint
        )


def _handlers() -> list[logging.StreamHandler[TextIO]]:
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    return [
        handler
        for logger in loggers
        if isinstance(logger, logging.Logger)
        for handler in logger.handlers
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler)
    ]


def _attributes() -> list[Any] | None:
    """Return the modes of the terminal at standard input, None where there is none."""
    try:
        import termios

        return termios.tcgetattr(sys.__stdin__.fileno()) if sys.__stdin__ is not None else None
    except (ImportError, OSError, ValueError, termios.error):
        return None


def _put_attributes(saved: list[Any] | None) -> None:
    import termios

    if saved is not None and sys.__stdin__ is not None:
        with contextlib.suppress(OSError, ValueError, termios.error):
            termios.tcsetattr(sys.__stdin__.fileno(), termios.TCSADRAIN, saved)


def _reset_terminal(saved: list[Any] | None) -> None:
    """Leave the terminal as a shell wants it, whatever Textual did. Callable in any thread."""
    if sys.__stderr__ is not None:
        with contextlib.suppress(OSError, ValueError):
            os.write(sys.__stderr__.fileno(), RESET.encode())
    _put_attributes(saved)
