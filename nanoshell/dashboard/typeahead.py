"""Keys one after the other: each is handled to its end before the next one goes its way.

Textual hands a key to the widget that has the focus, and looks for its binding once it has bubbled up to the
app. By then keys that were typed after it may be with a widget that it takes the focus from, or in a field
before it: the first letters after the key that opens a question were lost, or steered something else, and a
Ctrl-U deleted what was typed behind it.

A key that is held comes faster than a busy machine draws: what the repeats of it that wait do is drawn once.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from textual.app import ScreenStackError
from textual.dom import DOMNode
from textual.events import Key

if TYPE_CHECKING:
    from textual.app import App
    from textual.events import Event
    from textual.message_pump import MessagePump
    from textual.screen import Screen
    from textual.timer import Timer

PATIENCE_SECONDS = 5.0
"""A key of whose end nothing is heard for so long, since a widget hangs, holds back the next no more."""

MOST_UNDRAWN = 20
"""After so many keys what they did is drawn, however many wait."""


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
        self._still = ExitStack()
        self._undrawn, self._holding = 0, False
        self._drawing: Screen[Any] | None = None

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
            self._hold_still(first)
            await self._handle(first)
        finally:
            self._follow(self._turn, None)

    def _hold_still(self, event: Event) -> None:
        """Draw nothing until ``event`` and the same keys right behind it, where any wait, have been handled.

        What was held back the last time is drawn before that.
        """
        stack = self._app.screen_stack
        if self._undrawn:
            self._undrawn -= 1
        elif isinstance(event, Key) and stack and self._drawing is not stack[-1]:
            waiting = itertools.islice(self._held, MOST_UNDRAWN - 1)
            alike = itertools.takewhile(lambda one: isinstance(one, Key) and one.key == event.key, waiting)
            if count := len(list(alike)):
                self._undrawn, self._holding = count, True
                self._still.enter_context(self._app.batch_update())

    def _draw(self) -> None:
        """Draw what has been held back."""
        self._holding = False
        self._still.close()
        stack = self._app.screen_stack
        self._drawing = stack[-1] if stack else None
        if self._drawing is not None:
            self._drawing.call_after_refresh(self._drawn)

    def _drawn(self) -> None:
        self._drawing = None

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
        if self._holding and not self._undrawn:
            self._draw()
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        if self._held:
            await self._next()
            if self._held:
                self._timer = self._app.set_timer(PATIENCE_SECONDS, self.release)
