"""What a model writes, computed aside: the keyboard is answered whatever the computation does.

The first Ctrl-C asks it to end after its step and keeps what has come. A second one soon after gives up
waiting for that, also where a step or a sampler hangs in code that no signal interrupts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from contextvars import copy_context
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Generic, TypeVar

from nanoshell.command.interrupt import catches_interrupts, on_interrupt, typed_unseen

T = TypeVar("T")

ABORT_SECONDS = 1.0
"""A second Ctrl-C so soon after the first gives up waiting."""

FRAME_SECONDS = 1 / 60
"""What comes faster is handed over together: a screen shows no more, and the model keeps its core."""

_LAST_WORD_SECONDS = 0.2
_GLANCE_SECONDS = 0.25


class _End:
    """No more items come; ``error`` is what ended them, where something did."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class Aside(Generic[T]):
    """The items of ``items``, made in a thread of their own while the block runs and it is iterated over.

    Ctrl-C in the block calls ``interrupt``, which is to end the items soon; another one within
    `ABORT_SECONDS`, or after ``slow`` was called because they have not ended by then, ends them at once.
    Where that leaves the thread at work, ``left_behind`` is true: what it works with must not be used again.
    What goes wrong in it is raised here.
    Where Ctrl-C is not ours to answer (outside of the main thread), there is no thread.
    """

    def __init__(
        self,
        items: Iterator[T],
        interrupt: Callable[[], None],
        *,
        slow: Callable[[], None] = lambda: None,
    ) -> None:
        self.left_behind = False
        self._slow = slow
        self._told_slow = False
        self._items = items
        self._interrupt = interrupt
        self._queue: SimpleQueue[T | _End] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._pressed_at: float | None = None
        self._aborted = False
        self._ended = False
        self._next_frame = 0.0
        self._keyboard = ExitStack()

    def __enter__(self) -> Aside[T]:
        if catches_interrupts():
            self._keyboard.enter_context(typed_unseen())
            self._keyboard.enter_context(on_interrupt(self._press))
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
            self._keyboard.close()

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
        item = self._wait()
        if waited:
            self._next_frame = time.monotonic() + FRAME_SECONDS
        if not isinstance(item, _End):
            return item
        self._ended = True
        if item.error is not None:
            raise item.error
        raise StopIteration

    def _wait(self) -> T | _End:
        """Return what comes next; say so where that takes long although Ctrl-C was pressed."""
        while True:
            try:
                return self._queue.get(timeout=_GLANCE_SECONDS)
            except Empty:
                if self._pressed_for() > ABORT_SECONDS and not self._told_slow:
                    self._told_slow = True
                    self._slow()

    def _pressed_for(self) -> float:
        """Return the seconds since the first Ctrl-C, less than none where it was not pressed."""
        return -1.0 if self._pressed_at is None else time.monotonic() - self._pressed_at

    def _press(self) -> None:
        """Answer one Ctrl-C. It is called wherever the program happens to be, and raises nothing."""
        now = time.monotonic()
        if 0 <= self._pressed_for() < ABORT_SECONDS or self._told_slow:
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
    import ctypes

    if thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
