"""What a plugin may have changed in the process while it was loaded, and how it was before."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

_NAMES = "SIGINT SIGTERM SIGHUP SIGQUIT SIGTSTP SIGPIPE SIGCHLD SIGWINCH SIGALRM"
_SIGNALS = tuple(getattr(signal, name) for name in _NAMES.split() if hasattr(signal, name))
_ATTRIBUTES = ("stdin", "stdout", "stderr", "excepthook", "displayhook", "argv")


class Surroundings:
    """The signal handlers, streams, hooks and folder of the process as they are when this is built."""

    def __init__(self) -> None:
        self._handlers = {number: signal.getsignal(number) for number in _SIGNALS}
        self._attributes: dict[str, Any] = {name: getattr(sys, name) for name in _ATTRIBUTES}
        self._folder = _folder()

    def restore(self) -> list[str]:
        """Put back what has changed since, and return what that was, in words.

        Only the main thread may set signal handlers; in another no plugin could have changed them.
        """
        changed = []
        if threading.current_thread() is threading.main_thread():
            for number, before in self._handlers.items():
                if before is not None and signal.getsignal(number) is not before:
                    signal.signal(number, before)
                    changed.append(f"the handler of {number.name}")
        for name, value in self._attributes.items():
            if getattr(sys, name, None) is not value:
                setattr(sys, name, value)
                changed.append(f"sys.{name}")
        if self._folder is not None and _folder() != self._folder:
            os.chdir(self._folder)
            changed.append("the current folder")
        return changed


def _folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - a text is all that is needed, at every start
    except OSError:  # it was removed meanwhile
        return None
