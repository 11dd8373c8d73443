"""Ctrl-C while a command runs: it never breaks a module that is being imported, nor a line half written."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

HEAVY = ("torch", "numpy")
"""Modules with compiled parts: once their import is cut short, the process cannot import them again."""

_RETRY_SECONDS = 0.1


def importing_heavy() -> bool:
    """Return whether a module of `HEAVY` is being imported at this moment."""
    specs = (getattr(sys.modules.get(name), "__spec__", None) for name in HEAVY)
    return any(getattr(spec, "_initializing", False) for spec in specs)


def catches_interrupts() -> bool:
    """Return whether Ctrl-C is ours to answer: in the main thread, and where it is not ignored.

    A shell starts the jobs behind ``&`` with SIGINT ignored, and so it stays.
    """
    ours = threading.current_thread() is threading.main_thread()
    return ours and signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, None)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C raise `KeyboardInterrupt` in the block, a moment late where a heavy import is under way."""

    def act(number: int, frame: FrameType | None) -> None:
        if importing_heavy():
            timer = threading.Timer(_RETRY_SECONDS, os.kill, (os.getpid(), signal.SIGINT))
            timer.daemon = True
            timer.start()
        else:
            signal.default_int_handler(number, frame)

    with _handling(act):
        yield


@contextlib.contextmanager
def on_interrupt(action: Callable[[], None]) -> Iterator[None]:
    """Call ``action`` for each Ctrl-C in the block, instead of raising wherever the program happens to be."""
    with _handling(lambda _number, _frame: action()):
        yield


@contextlib.contextmanager
def left_to_program() -> Iterator[None]:
    """Leave Ctrl-C in the block to another program that has the terminal, such as an editor.

    A terminal sends it to all of the group. Neither Python hears of it here nor an event loop, which is woken
    beside the handler. It is not ignored: the other program would inherit that.
    """
    with on_interrupt(lambda: None):
        ours = catches_interrupts()
        woken = signal.set_wakeup_fd(-1) if ours else -1
        try:
            yield
        finally:
            if ours:
                signal.set_wakeup_fd(woken)


@contextlib.contextmanager
def typed_unseen() -> Iterator[None]:
    """Keep what is typed in the block out of what is written; it waits for the next line that is read."""
    if not _has_keyboard():
        yield
        return
    import termios

    handle = sys.stdin.fileno()
    try:
        before = termios.tcgetattr(handle)
        changed = list(before)
        changed[3] &= ~termios.ECHO
        termios.tcsetattr(handle, termios.TCSANOW, changed)
    except (OSError, termios.error):
        yield
        return
    try:
        yield
    finally:
        if _has_keyboard():
            with contextlib.suppress(OSError, termios.error):
                termios.tcsetattr(handle, termios.TCSANOW, before)


def _has_keyboard() -> bool:
    """Return whether what is typed at the terminal comes here.

    Not to a job behind ``&``: to change the terminal from there would stop it.
    """
    try:
        ours = sys.stdin.isatty() and sys.stdout.isatty()
        return ours and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError, AttributeError):  # closed, or none at all
        return False


@contextlib.contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Make ``handler`` answer SIGINT in the block, where `catches_interrupts` allows that."""
    if not catches_interrupts():
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
