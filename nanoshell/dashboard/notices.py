"""What is said for some seconds: few at a time, nothing twice, and never over a question."""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import time

from textual.notifications import Notification, Notify
from textual.screen import Screen

from nanoshell.dashboard.inside import InnerApp

MOST_NOTICES = 3
"""So many stand on the screen at once: the newest."""


@dataclass
class Notice(Notification):
    """What is said ``about`` something; '' where it takes the place of nothing."""

    about: str = ""


class Notices(InnerApp, inherit_bindings=False):
    """The part of the dashboard that decides which notices stand on the screen."""

    def __init__(self) -> None:
        super().__init__()
        self._held: list[Notification] = []

    def on_mount(self) -> None:
        self.screen_change_signal.subscribe(self, self._release, immediate=True)

    def on_notify(self, event: Notify) -> None:
        """Make room for what is new. While a question is open it waits: its time begins afterwards."""
        notice = event.notification
        if len(self.screen_stack) > 1:
            event.prevent_default()
            self._held = [*_others(self._held, notice), notice][-MOST_NOTICES:]
            return
        staying = _others(self.notices, notice)[1 - MOST_NOTICES :]
        for old in self.notices:
            if old not in staying:
                self.drop_notice(old)

    def _release(self, _screen: Screen[object]) -> None:
        if len(self.screen_stack) == 1:
            held, self._held = self._held, []
            for notice in held:
                self.post_message(Notify(replace(notice, raised_at=time())))

    def dismiss_notices(self) -> bool:
        """Take all notices off the screen; return whether there were any."""
        found = bool(self.notices)
        self.clear_notifications()
        return found


def _others(notices: list[Notification], notice: Notification) -> list[Notification]:
    """Return those of ``notices`` that say something else than ``notice``, and about something else."""
    said, about = (notice.message, notice.severity), _about(notice)
    others = [one for one in notices if (one.message, one.severity) != said]
    return [one for one in others if not about or _about(one) != about]


def _about(notice: Notification) -> str:
    return notice.about if isinstance(notice, Notice) else ""
