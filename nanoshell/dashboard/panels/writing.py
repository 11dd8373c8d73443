"""A text that a model writes aside, while the screen goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import copy_context
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Protocol

from nanoshell.errors import NanoshellError

if TYPE_CHECKING:
    from nanoshell.generation.request import GeneratedToken

PULSE_SECONDS = 1 / 15
"""How often what has come is shown: an eye sees no more, and the model keeps its core."""


class Written(Protocol):
    """What is iterated over while it is written, and can be asked to end."""

    def __iter__(self) -> Iterator[GeneratedToken]:
        """Return the tokens."""

    def interrupt(self) -> None:
        """End soon; safe from another thread."""


class Writing:
    """What ``begin`` returns, iterated over in a thread of its own; it may take long to begin, too.

    Nothing is raised: ``error`` says what went wrong, once ``ended``.
    """

    def __init__(self, begin: Callable[[], Written]) -> None:
        self.error = ""
        self._begin = begin
        self._tokens: SimpleQueue[GeneratedToken] = SimpleQueue()
        self._written: Written | None = None
        self._lock = threading.Lock()
        self._interrupted = False
        self._begun = time.monotonic()
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._work,), name="dashboard-writes", daemon=True
        )

    def start(self) -> Writing:
        """Begin, and return this."""
        self._thread.start()
        return self

    @property
    def ended(self) -> bool:
        """Whether nothing more comes; what has come may still have to be taken."""
        return not self._thread.is_alive()

    @property
    def interrupted(self) -> bool:
        """Whether it was asked to end."""
        return self._interrupted

    @property
    def seconds(self) -> float:
        """How long ago it was begun."""
        return time.monotonic() - self._begun

    def take(self) -> Iterable[GeneratedToken]:
        """Yield the tokens that have come since the last call."""
        while True:
            try:
                yield self._tokens.get_nowait()
            except Empty:
                return

    def interrupt(self) -> None:
        """Ask it to end soon, also where it has not begun yet."""
        with self._lock:
            self._interrupted = True
            if self._written is not None:
                self._written.interrupt()

    def wait(self, seconds: float) -> bool:
        """Wait at most so long for its end, and return whether it has ended."""
        self._thread.join(seconds)
        return self.ended

    def _work(self) -> None:
        try:
            written = self._begin()
            with self._lock:
                self._written = written
                if self._interrupted:
                    written.interrupt()
            for token in written:
                self._tokens.put(token)
        except NanoshellError as error:
            self.error = error.message + (f"; {error.hint}" if error.hint else "")
        except Exception as error:  # a sampler or a template of a plugin may raise anything
            self.error = f"{type(error).__name__}: {error}"
