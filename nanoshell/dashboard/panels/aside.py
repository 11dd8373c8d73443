"""Reading aside: what panels read of files is read in a thread, so that a slow disk never holds the keys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from textual.widget import Widget
from textual.worker import Worker

T = TypeVar("T")


class Aside(Generic[T]):
    """Runs ``read`` in a thread and hands what it returns to ``deliver``, one at a time.

    What is asked for while a reading goes on is read once, after it, by the newest ``read``. An exception
    goes to ``fail``, where that is given, and is raised in the app otherwise.
    """

    def __init__(
        self, owner: Widget, deliver: Callable[[T], None], fail: Callable[[Exception], None] | None = None
    ) -> None:
        self._owner = owner
        self._deliver = deliver
        self._fail = fail
        self._next: Callable[[], T] | None = None
        self._busy = False

    @property
    def busy(self) -> bool:
        """Whether something is being read."""
        return self._busy

    def ask(self, read: Callable[[], T]) -> None:
        """Read, now or as soon as the reading that goes on has ended."""
        self._next = read
        if not self._busy:
            self._busy = True
            # The function and not its coroutine, which nobody would await where the dashboard ends just now.
            self._worker: Worker[None] = self._owner.run_worker(
                self._work, group=f"aside-{id(self)}", exit_on_error=True
            )

    async def _work(self) -> None:
        try:
            while (read := self._next) is not None:
                self._next = None
                try:
                    found = await asyncio.to_thread(read)
                except Exception as error:
                    if self._fail is None:
                        raise
                    self._owner.call_later(self._fail, error)
                else:
                    # In the panel's own turn: what goes wrong there is the panel's.
                    self._owner.call_later(self._deliver, found)
        finally:
            self._busy = False
