"""Ctrl-C while a command runs, except where it would break a module that is being imported."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

HEAVY = ("torch", "numpy")
"""Modules with compiled parts: once their import is cut short, the process cannot import them again."""

_RETRY_SECONDS = 0.1


def importing_heavy() -> bool:
    """Return whether a module of `HEAVY` is being imported at this moment."""
    specs = (getattr(sys.modules.get(name), "__spec__", None) for name in HEAVY)
    return any(getattr(spec, "_initializing", False) for spec in specs)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C raise `KeyboardInterrupt` in the block, a moment late where a heavy import is under way."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        if importing_heavy():
            timer = threading.Timer(_RETRY_SECONDS, os.kill, (os.getpid(), signal.SIGINT))
            timer.daemon = True
            timer.start()
        else:
            signal.default_int_handler(number, frame)

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
