"""Keys one after the other: each is handled to its end before the next one goes its way.

Textual hands a key to the widget that has the focus, and looks for its binding once it has bubbled up to the
app. By then keys that were typed after it may be with a widget that it takes the focus from, or in a field
before it: the first letters after the key that opens a question were lost, or steered something else, and a
Ctrl-U deleted what was typed behind it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from textual.app import ScreenStackError
from textual.dom import DOMNode

if TYPE_CHECKING:
    from textual.app import App
    from textual.events import Event
    from textual.message_pump import MessagePump
    from textual.timer import Timer

PATIENCE_SECONDS = 5.0
"""A key of whose end nothing is heard for so long, since a widget hangs, holds back the next no more."""


class KeyTurns:
    """Holds keys and pastes back while the one before them is on its way; ``handle`` is what an app does.

    A message goes after each key from widget to widget, behind it in every queue. It arrives at the app when
    the key has been handled, and goes once more after what that has posted, and again while who has the keys
    changes. In the queue of a screen that has just been opened it waits until the field there has the focus.
    ``apart`` makes of an event whose turn has come those that it stands for.
    """

    def __init__(
        self,
        app: App[None],
        handle: Callable[[Event], Awaitable[None]],
        apart: Callable[[Event], Sequence[Event]],
    ) -> None:
        self._app = app
        self._handle = handle
        self._apart = apart
        self._held: deque[Event] = deque()
        self._turn = 0
        self._busy = False
        self._timer: Timer | None = None

    async def take(self, event: Event) -> None:
        """Handle ``event`` when its turn has come: now, where none is on its way."""
        self._held.append(event)
        if not self._busy:
            await self._next()
        elif self._timer is None:
            self._timer = self._app.set_timer(PATIENCE_SECONDS, self.release)

    def release(self) -> None:
        """Wait no longer for the key that is on its way, such as one whose widget has failed."""
        self._app.call_later(self._end, self._turn)

    async def _next(self) -> None:
        self._busy = True
        self._turn += 1
        try:
            first, *rest = self._apart(self._held.popleft())
            self._held.extendleft(reversed(rest))
            await self._handle(first)
        finally:
            self._follow(self._turn, None)

    def _follow(self, turn: int, before: MessagePump | None) -> None:
        """Go the way of a key of ``turn``, and again unless it begins where it began ``before``."""
        taker = self._taker()

        async def arrived() -> None:
            if turn != self._turn:
                return
            if taker is before and taker is self._taker():
                await self._end(turn)
            else:
                self._follow(turn, taker)

        self._go_up(taker, arrived)

    def _go_up(self, pump: MessagePump, arrived: Callable[[], Awaitable[None]]) -> None:
        """Call ``arrived`` in the app, behind what is in the queues of ``pump`` and of all above it."""
        above = pump.parent if isinstance(pump, DOMNode) else None
        if above is None:
            pump.call_later(arrived)
        elif not pump.call_later(self._go_up, above, arrived):  # it is being closed
            self._go_up(above, arrived)

    def _taker(self) -> MessagePump:
        """Return who is handed the next key."""
        try:
            return self._app.focused or self._app.screen
        except ScreenStackError:
            return self._app

    async def _end(self, turn: int) -> None:
        """Let the next key go, unless it has gone already."""
        if turn != self._turn or not self._busy:
            return
        self._busy = False
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        if self._held:
            await self._next()
            if self._held:
                self._timer = self._app.set_timer(PATIENCE_SECONDS, self.release)
