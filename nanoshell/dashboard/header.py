"""The line at the top: how the run in focus stands, and below it the alert that concerns it, if any."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text
from textual.widgets import Static

from nanoshell.dashboard.panels.plain import plain
from nanoshell.dashboard.panels.words import figure
from nanoshell.runs.events import number
from nanoshell.wording import about_seconds, human_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from nanoshell.dashboard.course import Course, Snapshot

STATE_STYLES = {
    "running": "green",
    "starting": "green",
    "paused": "yellow",
    "stopping": "yellow",
    "failed": "bold red",
    "crashed": "bold red",
    "silent": "bold red",
    "gone": "bold red",
}


_BETWEEN = "  "
_NONE: dict[str, float] = {}

_REASON_ROWS = 3
_REASON_CELLS = 40
"""A reason of so many cells stands in the line, whole, before what matters less; a longer one below it."""


@dataclass(frozen=True)
class _Part:
    """A part of the line, shown whole or not at all: of those that have no room the highest ``rank`` goes."""

    text: Text
    rank: int


class Headline(Static):
    """Name, state, step, loss, validation loss, speed and the time that is left, of the run in focus."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - the name of Textual
        super().__init__(id=id)
        self._line: Callable[[int], Text] = lambda width: Text()

    def tell(self, snapshot: Snapshot, empty: str, asked: Sequence[str] = ()) -> None:
        """Show the run in focus of ``snapshot``; ``empty`` where there is none.

        ``asked`` is what it was asked for and has not answered yet.
        """
        course = snapshot.focused
        if course is None:
            nothing = Text(empty, "dim", no_wrap=True, overflow="ellipsis")
            self._line = lambda width: nothing
        else:
            place, shown = snapshot.focus + 1, len(snapshot.courses)
            self._line = lambda width: headline(course, place, shown, asked, width)
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        line = self._line(self.size.width)
        if self.app.theme == "ansi-light":  # green of 16 colours is weak on white
            line.spans = [
                span._replace(style="blue") if span.style == "green" else span for span in line.spans
            ]
        self.update(line, layout=False)  # its place stays: else every update would lay out the whole screen


class AlertLine(Static):
    """What is wrong with the run in focus, or its newest alert that is not over; without one it is not there.

    ``hint`` is what stands there while there is no run; of the runs that ``read`` has, each by its
    `place_of_run`, alerts up to that time were read, and stand in the view of alerts alone.
    """

    hint = ""
    read: Mapping[str, float] = _NONE
    _rows = 1

    def tell(self, snapshot: Snapshot) -> None:
        """Show the alert of ``snapshot``, or the hint."""
        reason, alert = alert_words(snapshot.focused, self.read) if snapshot.focused else ("", "")
        text = f"! {reason or alert}" if reason or alert else self.hint
        self.display = bool(text)
        if text:
            line = Text(text)
            self.set_class(text != self.hint, "-wrong")
            lone = bool(alert and not reason)  # charts need the rows, and the view of alerts has it whole
            self.set_class(lone, "-lone")
            rows = 1 if lone else len(line.wrap(self.app.console, max(1, self.app.size.width)))
            rows = min(_REASON_ROWS, rows)
            if rows != self._rows:
                self._rows = rows
                self.styles.height = rows
            self.update(line, layout=False)


def headline(
    course: Course, place: int = 1, shown: int = 1, asked: Sequence[str] = (), width: int = 0
) -> Text:
    """Return the line about ``course``, with as many of its parts as fit in ``width`` (0: all of them).

    It has the ``place`` among the ``shown`` runs; ``asked`` is what it has not answered yet.
    """
    parts = _parts(course, place, shown, asked)
    why = trouble(course)
    if cell_len(why) > _REASON_CELLS:
        why = ""
    least = cell_len(why) + len(_BETWEEN) if why else 0
    while width and len(parts) > 1 and _cells(parts) + least > width:
        parts.remove(max(parts, key=lambda part: part.rank))
    line = Text(_BETWEEN, no_wrap=True, overflow="ellipsis").join(part.text for part in parts)
    if why:
        line.append(_BETWEEN + why, "yellow")
    return line


def trouble(course: Course) -> str:
    """Return why ``course`` stands as it does, or why less of it is shown; '' where nothing is wrong."""
    expected = course.status.state in ("running", "finished")
    why = course.problem or ("" if expected else course.status.reason)
    return plain(" ".join(why.split()))


def alert_words(course: Course, read: Mapping[str, float] = _NONE) -> tuple[str, str]:
    """Return what may stand below the headline: a reason too long for it, and the newest standing alert.

    An alert is left out that is no later than ``read`` has it for the run.
    """
    why = trouble(course)
    alert = standing_alert(course)
    if alert is None or alert_time(alert) <= read.get(place_of_run(course), -math.inf):
        return why if cell_len(why) > _REASON_CELLS else "", ""
    return why if cell_len(why) > _REASON_CELLS else "", _short_words(alert)


def place_of_run(course: Course) -> str:
    """Return where the run of ``course`` is: in another folder there may be one of its name."""
    return str(course.run.path.absolute())


def _parts(course: Course, place: int, shown: int, asked: Sequence[str]) -> list[_Part]:
    """Return what there is to say of ``course``, in the order of the line."""
    status = course.status
    name = Text(course.run.name, "bold")
    if shown > 1:
        name.append(f" ({place} of {shown})", "dim")
    parts = [_Part(name, 0), _Part(Text(status.state, STATE_STYLES.get(status.state, "")), 1)]
    if asked:
        parts.append(_Part(Text(f"asked: {', '.join(asked)}", "yellow"), 2))
    if status.step is not None:
        total = f"/{status.total_steps:,}" if status.total_steps else ""
        parts.append(_Part(Text(f"{status.step:,}{total}"), 3))
    for title, value, rank in (("loss", status.loss, 4), ("val", status.val_loss, 5)):
        if value is not None:
            parts.append(_named(title, f"{value:.4f}" if math.isfinite(value) else str(value), rank))
    if status.ended:
        if status.started is not None and status.updated is not None and status.state != "crashed":
            resumed = " since its resume" if any(mark.kind == "resume" for mark in course.marks) else ""
            parts.append(_named("took", human_seconds(status.updated - status.started) + resumed, 6))
            parts.append(_named("ended", _moment(status.updated), 7))
    elif status.tokens_per_second:
        parts.append(_Part(Text(f"{figure(status.tokens_per_second, 3)} tok/s"), 7))
    if status.eta_seconds is not None:
        parts.append(_named("left", about_seconds(status.eta_seconds), 6))
    if not (course.complete or course.problem):
        parts.append(_Part(Text("reading the log …", "dim"), 8))
    return parts


def _named(title: str, text: str, rank: int) -> _Part:
    return _Part(Text.assemble((f"{title} ", "dim"), text), rank)


def _cells(parts: Sequence[_Part]) -> int:
    return sum(part.text.cell_len for part in parts) + len(_BETWEEN) * (len(parts) - 1)


def _moment(moment: float) -> str:
    """Return the time of day, with the day where that is not today."""
    then, now = time.localtime(moment), time.localtime()
    return time.strftime("%H:%M" if then[:3] == now[:3] else "%Y-%m-%d %H:%M", then)


def standing_alert(course: Course) -> Mapping[str, Any] | None:
    """Return the newest alert of ``course`` that is not over; None where there is none."""
    over: set[str] = set()
    alert: Mapping[str, Any]
    for alert in reversed(course.alerts):
        kind = str(alert.get("kind") or "alert")
        if alert.get("cleared"):
            over.add(kind)
        elif kind not in over:
            return alert
    return None


def alert_time(alert: Mapping[str, Any]) -> float:
    """Return when ``alert`` was told, in seconds since the epoch; 0 where it does not say."""
    return number(dict(alert), "t") or 0.0


def _short_words(alert: Mapping[str, Any]) -> str:
    """Return ``alert`` in a line of which the beginning is enough."""
    kind = str(alert.get("kind") or "alert")
    words = " ".join(str(alert.get("message") or "").split())
    now, best, where = (number(dict(alert), key) for key in ("val_loss", "best_val_loss", "best_step"))
    if kind == "overfitting" and now is not None and best is not None and where is not None:
        words = f"val {figure(now)}, was {figure(best)} at step {where:,.0f}; training still falls"
    return plain(f"{kind}: {words}" if words else kind)
