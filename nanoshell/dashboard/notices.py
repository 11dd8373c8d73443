"""What is said for some seconds: few at a time, each to be seen, nothing twice, never over a question."""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import time
from typing import TYPE_CHECKING

from textual.notifications import Notification, Notify

from nanoshell.dashboard.inside import InnerApp

if TYPE_CHECKING:
    from textual.timer import Timer

MOST_NOTICES = 3
"""So many stand on the screen at once."""

SEEN_SECONDS = 2.5
"""So long one stands there at least before another takes its place, which waits meanwhile."""

MOST_WAITING = 12
"""Of more the oldest are left out: a panel may have something to say at every update."""


@dataclass
class Notice(Notification):
    """What is said ``about`` something; '' where it takes the place of nothing."""

    about: str = ""


class Notices(InnerApp, inherit_bindings=False):
    """The part of the dashboard that decides which notices stand on the screen."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[Notification] = []
        self._turn_timer: Timer | None = None

    def on_mount(self) -> None:
        self.screen_change_signal.subscribe(self, lambda _screen: self._show_waiting(), immediate=True)

    def on_notify(self, event: Notify) -> None:
        """Show what is new when its turn has come; what takes the place of another has it at once."""
        event.prevent_default()
        notice, waiting = event.notification, _others(self._waiting, event.notification)
        first = len(_others(self.notices, notice)) < len(self.notices)
        self._waiting = [notice, *waiting] if first else [*waiting, notice]
        self._waiting = self._waiting[-MOST_WAITING:]
        self._show_waiting()

    def _show_waiting(self) -> None:
        """Show what waits, for as far as there is room. While a question is open all of it waits."""
        while self._waiting and len(self.screen_stack) == 1:
            notice, standing = self._waiting[0], self.notices
            staying = _others(standing, notice)
            if len(staying) >= MOST_NOTICES:
                unseen = SEEN_SECONDS - (time() - staying[0].raised_at)
                if unseen > 0:
                    self._look_again(min(unseen, SEEN_SECONDS))  # the clock may have been put back
                    return
                staying = staying[1:]
            for old in standing:
                if old not in staying:
                    self.drop_notice(old)
            self._waiting.pop(0)
            self.add_notice(replace(notice, raised_at=time()))

    def _look_again(self, seconds: float) -> None:
        if self._turn_timer is not None:
            self._turn_timer.stop()
        self._turn_timer = self.set_timer(seconds, self._show_waiting)

    def dismiss_notices(self) -> bool:
        """Take all notices off the screen, for those that wait; return whether there were any."""
        found = bool(self.notices)
        self.clear_notifications()
        self._show_waiting()
        return found


def _others(notices: list[Notification], notice: Notification) -> list[Notification]:
    """Return those of ``notices`` that say something else than ``notice``, and about something else."""
    said, about = (notice.message, notice.severity), _about(notice)
    others = [one for one in notices if (one.message, one.severity) != said]
    return [one for one in others if not about or _about(one) != about]


def _about(notice: Notification) -> str:
    return notice.about if isinstance(notice, Notice) else ""
