"""What a model writes, computed aside: the keyboard is answered whatever the computation does.

The first Ctrl-C asks it to end after its step and keeps what has come. A second one soon after gives up
waiting for that, also where a step or a sampler hangs in code that no signal interrupts.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, TypeVar

from nanoshell.command.interrupt import catches_interrupts, on_interrupt

T = TypeVar("T")

ABORT_SECONDS = 1.0
"""A second Ctrl-C so soon after the first gives up waiting."""

FRAME_SECONDS = 1 / 60
"""What comes faster is handed over together: a screen shows no more, and the model keeps its core."""

_LAST_WORD_SECONDS = 0.2


class _End:
    """No more items come; ``error`` is what ended them, where something did."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class Aside(Generic[T]):
    """The items of ``items``, made in a thread of their own while the block runs and it is iterated over.

    Ctrl-C in the block calls ``interrupt``, which is to end the items soon; another one within
    `ABORT_SECONDS` ends them at once. Where that leaves the thread at work, `left_behind` is true: what
    it works with must not be used again. What goes wrong in it is raised here.
    Where Ctrl-C is not ours to answer (outside of the main thread), there is no thread.
    """

    def __init__(self, items: Iterator[T], interrupt: Callable[[], None]) -> None:
        self.left_behind = False
        self._items = items
        self._interrupt = interrupt
        self._queue: SimpleQueue[T | _End] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._pressed_at: float | None = None
        self._aborted = False
        self._ended = False
        self._next_frame = 0.0
        self._keyboard = on_interrupt(self._press)

    def __enter__(self) -> Aside[T]:
        if catches_interrupts():
            self._keyboard.__enter__()
            self._thread = threading.Thread(
                target=copy_context().run, args=(self._work,), name="reply", daemon=True
            )
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is None:
            return
        try:
            if not self._ended:
                self._interrupt()  # whoever iterated has given up
            while self._thread.is_alive() and not self._aborted:
                self._thread.join(FRAME_SECONDS)
            self._thread.join(_LAST_WORD_SECONDS)
            self.left_behind = self._thread.is_alive()
            if self.left_behind:
                _stop(self._thread)
        finally:
            self._keyboard.__exit__(kind, error, trace)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._thread is None:
            return next(self._items)
        if self._ended:
            raise StopIteration
        if self._queue.empty() and (early := self._next_frame - time.monotonic()) > 0:
            time.sleep(early)
        waited = self._queue.empty()
        item = self._queue.get()
        if waited:
            self._next_frame = time.monotonic() + FRAME_SECONDS
        if not isinstance(item, _End):
            return item
        self._ended = True
        if item.error is not None:
            raise item.error
        raise StopIteration

    def all(self) -> None:
        """Let all items be made, for those who look at what has come of them."""
        for _ in self:
            pass

    def _press(self) -> None:
        """Answer one Ctrl-C. It is called wherever the program happens to be, and raises nothing."""
        now = time.monotonic()
        if self._pressed_at is not None and now - self._pressed_at < ABORT_SECONDS:
            self._aborted = True
            self._queue.put(_End())
        else:
            self._pressed_at = now
            self._interrupt()

    def _work(self) -> None:
        try:
            for item in self._items:
                if self._aborted:
                    return
                self._queue.put(item)
        except BaseException as error:
            self._queue.put(_End(error))
        else:
            self._queue.put(_End())


def _stop(thread: threading.Thread) -> None:
    """Have ``thread`` end once it is in Python code again, lest a loop there keep a core busy for ever."""
    if thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
