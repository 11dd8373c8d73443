"""The line at the top: how the run in focus stands, and below it the alert that concerns it, if any."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.text import Text
from textual.widgets import Static

from nanoshell.dashboard.panels.plain import plain
from nanoshell.dashboard.panels.words import figure
from nanoshell.wording import human_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanoshell.dashboard.course import Course, Snapshot

STATE_STYLES = {
    "running": "green",
    "starting": "green",
    "paused": "yellow",
    "stopping": "yellow",
    "finished": "cyan",
    "stopped": "cyan",
    "failed": "bold red",
    "crashed": "bold red",
    "silent": "bold red",
    "gone": "bold red",
}


class Headline(Static):
    """Name, state, step, loss, validation loss, speed and the time that is left, of the run in focus."""

    def tell(self, snapshot: Snapshot, empty: str, asked: Sequence[str] = ()) -> None:
        """Show the run in focus of ``snapshot``; ``empty`` where there is none.

        ``asked`` is what it was asked for and has not answered yet.
        """
        course = snapshot.focused
        place, shown = snapshot.focus + 1, len(snapshot.courses)
        line = (
            Text(empty, "dim", no_wrap=True, overflow="ellipsis")
            if course is None
            else headline(course, place, shown, asked)
        )
        self.update(line, layout=False)  # its place stays: else every update would lay out the whole screen


class AlertLine(Static):
    """The newest alert of the run in focus that is not over; without one the line is not there.

    ``hint`` is what stands there while there is no run.
    """

    hint = ""

    def tell(self, snapshot: Snapshot) -> None:
        """Show the alert of ``snapshot``, or the hint."""
        alert = standing_alert(snapshot.focused) if snapshot.focused else ""
        text, style = (f"! {alert}", "bold red") if alert else (self.hint, "")
        self.display = bool(text)
        if text:
            self.update(Text(text, style=style, no_wrap=True, overflow="ellipsis"), layout=False)


def headline(course: Course, place: int = 1, shown: int = 1, asked: Sequence[str] = ()) -> Text:
    """Return the line about ``course``, the most important first.

    It has the ``place`` among the ``shown`` runs; ``asked`` is what it has not answered yet.
    """
    status = course.status
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(course.run.name, "bold")
    if shown > 1:
        line.append(f" ({place} of {shown})", "dim")
    line.append("  ")
    line.append(status.state, STATE_STYLES.get(status.state, ""))
    if asked:
        line.append(f"  asked: {', '.join(asked)}", "yellow")
    if status.step is not None:
        total = f"/{status.total_steps:,}" if status.total_steps else ""
        line.append(f"  {status.step:,}{total}")
    for name, value in (("loss", status.loss), ("val", status.val_loss)):
        if value is not None:
            line.append(f"  {name} ", "dim")
            line.append(f"{value:.4f}" if math.isfinite(value) else str(value))
    if status.tokens_per_second:
        line.append(f"  {figure(status.tokens_per_second, 3)} tok/s")
    if status.eta_seconds is not None:
        line.append("  left ", "dim")
        line.append(human_seconds(status.eta_seconds))
    if reason := course.problem or (status.reason if status.state not in ("running", "finished") else ""):
        line.append(f"  {plain(' '.join(reason.split()))}", "yellow")
    elif not course.complete:
        line.append("  reading the log …", "dim")
    return line


def standing_alert(course: Course) -> str:
    """Return the words of the newest alert of ``course`` that is not over; '' where there is none."""
    over: set[str] = set()
    for alert in reversed(course.alerts):
        kind = str(alert.get("kind") or "alert")
        if alert.get("cleared"):
            over.add(kind)
        elif kind not in over:
            words = " ".join(str(alert.get("message") or "").split())
            return plain(f"{kind}: {words}" if words else kind)
    return ""
