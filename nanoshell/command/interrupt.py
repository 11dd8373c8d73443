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
def typed_unseen() -> Iterator[None]:
    """Keep what is typed in the block out of what is written; it waits for the next line that is read."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        yield
        return
    import termios

    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)
    changed = list(before)
    changed[3] &= ~termios.ECHO
    termios.tcsetattr(handle, termios.TCSANOW, changed)
    try:
        yield
    finally:
        termios.tcsetattr(handle, termios.TCSANOW, before)


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
