"""The panel of alerts: what was found to be wrong with the runs, told once and kept in a list."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult

from nanoshell.dashboard.actions import Action
from nanoshell.dashboard.header import AlertLine, alert_words, place_of_run
from nanoshell.dashboard.panel import Panel
from nanoshell.dashboard.panels.exporting import copy_from
from nanoshell.dashboard.panels.lines import Line, TextLines, span, wrapped
from nanoshell.runs.events import number
from nanoshell.spelling import typed

if TYPE_CHECKING:
    from nanoshell.dashboard.course import Course, Snapshot

Event = Mapping[str, Any]

_KEY = "alerts.silent"
_READ, _MOST_READ = "alerts.read", 200
"""As what is remembered up to when alerts were read, by the places of their runs, of so many runs."""
_LOST = frozenset({"silent", "gone"})
_BROKEN = frozenset({"failed", "crashed", *_LOST})
_SEVERE = frozenset({"divergence", "storage", "stalled", "dead", *_BROKEN})
"""Alerts on which a run fails, waits or learns nothing more; the others are advice."""


@dataclass(frozen=True)
class _Seen:
    """What was known of a run when it was last looked at.

    ``last`` is its newest alert, ``until`` the time up to which what has happened is old, by the clock of the
    run; ``complete`` says that no older part of its log was still to be read.
    """

    last: Event | None
    until: float
    complete: bool

    def after(self, alerts: Sequence[Event]) -> Sequence[Event]:
        """Return those of ``alerts`` that came later; older ones may have come before the last."""
        if self.last is None and self.complete:
            return alerts
        if self.last is not None and self.last in alerts:
            return alerts[len(alerts) - list(reversed(alerts)).index(self.last) :]
        return [alert for alert in alerts if _moment(alert) > self.until]


class AlertWatch:
    """Says which alerts are new: those that came while it looked, each once."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def new(self, courses: Iterable[Course]) -> list[tuple[str, Event]]:
        """Return the alerts since the last call, with the name of their run; none of a run seen first now."""
        found: list[tuple[str, Event]] = []
        for course in courses:
            name, alerts = course.run.name, course.alerts
            seen = self._seen.get(name)
            if seen is None:
                seen = _Seen(None, course.status.updated or 0.0, complete=False)
            else:
                found += [(name, alert) for alert in seen.after(alerts)]
            last = alerts[-1] if alerts else seen.last
            self._seen[name] = _Seen(last, max([seen.until, *map(_moment, alerts)]), course.complete)
        return found


def _moment(event: Event) -> float:
    return number(dict(event), "t") or 0.0


class BeginWatch:
    """Says which runs have begun that nobody shows: those that did while it looked, each once."""

    def __init__(self) -> None:
        self._known: set[str] | None = None

    def new(self, snapshot: Snapshot) -> list[str]:
        """Return the names of the runs beside those of ``snapshot`` that were not there at the last call."""
        if not snapshot.now:  # the runs have not been looked at
            return []
        beside = [course.run.name for course in snapshot.beside]
        known = self._known if self._known is not None else set(beside)
        self._known = known.union(beside, (course.run.name for course in snapshot.courses))
        return [name for name in beside if name not in known]


class EndWatch:
    """Says which runs have ended, or are not heard of any more: those that did while it looked, each once."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}

    def new(self, courses: Iterable[Course]) -> list[Course]:
        """Return those of ``courses`` that stand otherwise than at the last call, and write no more."""
        found = []
        for course in courses:
            name, state = course.run.name, course.status.state
            if self._states.get(name, state) != state and (course.status.ended or state in _LOST):
                found.append(course)
            self._states[name] = state
        return found


def end_words(course: Course) -> str:
    """Return what is said where a run ends: its state, at which step, and why as far as that is known."""
    status = course.status
    if status.state in _LOST and status.reason:
        return _flat(status.reason)
    at = f" at step {status.step:,}" if status.step is not None else ""
    return f"{status.state}{at}" + (f": {_flat(status.reason)}" if status.reason else "")


def broken_end(course: Course) -> Event | None:
    """Return the alert that a run has failed, crashed or is lost; None where it has not."""
    status = course.status
    if status.state not in _BROKEN:
        return None
    hint = status.hint
    if not hint and status.state == "crashed":
        hint = f"go on with it: {typed(f'train --resume {course.run.name}')}; the view Log has its last words"
    return {
        "kind": status.state,
        "message": _flat(status.reason),
        "hint": hint,
        "step": status.step,
        "t": status.updated,
    }


def _flat(text: str) -> str:
    return " ".join(text.split())


@dataclass(frozen=True)
class Alert:
    """One alert of a run; ``over`` is the time at which it was taken back, None while it stands."""

    run: str
    event: Event
    over: float | None = None


def paired(run: str, events: Sequence[Event]) -> list[Alert]:
    """Return the alerts among ``events``, oldest first; each that is over knows when."""
    found: list[Alert] = []
    for event in events:
        if not event.get("cleared"):
            found.append(Alert(run, event))
            continue
        for index in range(len(found) - 1, -1, -1):
            if found[index].event.get("kind") == event.get("kind") and found[index].over is None:
                found[index] = Alert(run, found[index].event, _moment(event))
                break
    return found


class AlertsPanel(Panel):
    """All alerts of the runs that are shown, the newest first; a new one is told at once, with a bell."""

    panel_id = "alerts"
    title = "Alerts"
    about = (
        "What was found to be wrong with the runs that are shown: a loss that is no number, a disk that "
        "is full, a loss that stands still, overfitting. Each says what to do. A new alert appears on the "
        "screen and rings the bell once, in whichever view you are; b silences the bell. What is over "
        "stays in the list, and says so; x takes what you have read off the top of the screen. "
        "So are you told when a run ends; one that failed or crashed, or is "
        "not heard of any more, rings too, and stands in the list for as long as that is so."
    )
    actions: ClassVar[tuple[Action, ...]] = (
        Action(
            "read",
            "Take alerts off the top, they stay here",
            ("x",),
            "Alerts",
            footer=True,
            short="Read",
            words="dismiss acknowledge hide clear",
        ),
        Action("silence", "Bell on or off", ("b",), "Alerts", footer=True, short="Bell"),
        Action("copy", "Copy the newest alert", ("y",), "Alerts"),
        Action("scroll_by(-1)", "Up", ("up", "k"), "Alerts"),
        Action("scroll_by(1)", "Down", ("down", "j"), "Alerts"),
        Action("scroll_by(-10)", "Further up", ("pageup",), "Alerts"),
        Action("scroll_by(10)", "Further down", ("pagedown",), "Alerts"),
    )
    DEFAULT_CSS = """
    AlertsPanel { layout: vertical; }
    AlertsPanel > #alerts-head { height: 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.silent = False
        self._watch = AlertWatch()
        self._begins = BeginWatch()
        self._ends = EndWatch()
        self._seen: Snapshot | None = None
        self._newest: list[Line] = []

    def compose(self) -> ComposeResult:
        yield TextLines(id="alerts-head")
        yield TextLines(id="alerts-lines")

    def on_mount(self) -> None:
        self.silent = self.desk.recall(_KEY) is True
        self._take_off(_times(self.desk.recall(_READ)))
        self.desk.arrived.subscribe(self, self._look)
        self._look(self.desk.snapshot)

    def update(self, snapshot: Snapshot) -> None:
        """List the alerts of the runs that are shown."""
        self._look(snapshot)
        self._draw()

    def _look(self, snapshot: Snapshot) -> None:
        """Tell what is new, whether or not the panel is on the screen."""
        if snapshot is self._seen:
            return
        self._seen = snapshot
        new = self._watch.new(snapshot.courses)
        for run, event in new:
            self.desk.tell(f"{run}: {told(event)}", severity=severity(event))
        for name in self._begins.new(snapshot):
            self.desk.tell(f"{name} has begun{self._how_to_show()}")
        ends = self._ends.new([*snapshot.courses, *snapshot.beside])
        for course in ends:
            broken = course.status.state in _BROKEN
            self.desk.tell(
                f"{course.run.name}: {end_words(course)}", severity="error" if broken else "information"
            )
        alarming = any(not event.get("cleared") for _, event in new)
        if (alarming or any(course.status.state in _BROKEN for course in ends)) and not self.silent:
            self.app.bell()

    def _how_to_show(self) -> str:
        """Return by which keys a run gets into the charts, as they are where nobody has changed them."""
        places = [view.place for view in getattr(self.app, "views", ())]
        return f": {places.index('runs') + 1}, Space puts it in the charts" if "runs" in places else ""

    def _draw(self) -> None:
        if not self.is_mounted:
            return
        courses = self.desk.snapshot.courses
        alerts = [alert for course in courses for alert in paired(course.run.name, course.alerts)]
        ends = [(course.run.name, broken_end(course)) for course in courses]
        alerts += [Alert(name, end) for name, end in ends if end is not None]
        alerts.sort(key=lambda alert: _moment(alert.event), reverse=True)
        standing = sum(alert.over is None for alert in alerts)
        bell = "without a bell (b)" if self.silent else "with a bell (b)"
        head = f"{_counted(len(alerts), standing)}; new ones are told {bell}"
        self.query_one("#alerts-head", TextLines).show([span(head, "quiet")])
        width = max(20, self.size.width - 1)
        told_of = [alert_lines(alert, several=len(courses) > 1) for alert in alerts]
        self._newest = told_of[0] if told_of else []
        lines = [line for each in told_of for line in each]
        shown = self.query_one("#alerts-lines", TextLines)
        shown.show(wrapped(lines, width, 10) or [span("nothing was found to be wrong", "good")])

    def on_resize(self) -> None:
        self._draw()

    def action_silence(self) -> None:
        """Let new alerts ring the bell, or no longer."""
        self.silent = not self.silent
        self.desk.remember(_KEY, self.silent)
        self._draw()

    def action_copy(self) -> None:
        """Copy the newest alert, with what it says to do."""
        lines = ("".join(text for text, _role in line).strip() for line in self._newest)
        copy_from(self, "\n".join(lines), "the newest alert")

    def action_read(self) -> None:
        """Take the alerts of the runs that are shown off the top; what comes later stands there again."""
        known = _times(self.desk.recall(_READ))
        for course in self.desk.snapshot.courses:
            if course.alerts:
                known.pop(place := place_of_run(course), None)  # it is the last one now
                known[place] = max(map(_moment, course.alerts))
        self._take_off(known)
        self.desk.remember(_READ, dict(list(known.items())[-_MOST_READ:]))

    def _take_off(self, read: dict[str, float]) -> None:
        for line in self.app.query(AlertLine):
            line.read = read

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Return whether ``action`` can be done: an alert is taken off the top where one stands there."""
        known = _times(self.desk.recall(_READ)) if action == "read" else {}
        there = action != "read" or any(
            alert_words(course, known)[1] for course in self.desk.snapshot.courses
        )
        return there and super().check_action(action, parameters)

    def action_scroll_by(self, by: int) -> None:
        """Scroll by so many lines."""
        self.query_one("#alerts-lines", TextLines).move(by)


def _times(kept: object) -> dict[str, float]:
    """Return what was remembered as read, as far as it is that."""
    found = kept if isinstance(kept, dict) else {}
    return {str(place): time for place, time in found.items() if isinstance(time, int | float)}


def _counted(many: int, standing: int) -> str:
    """Return how many alerts there are, and of some that are over how many ``standing`` are not."""
    if not many:
        return "no alerts"
    all_of_them = f"{many} {'alert' if many == 1 else 'alerts'}"
    if standing == many:
        return all_of_them
    over = f"{many - standing} over" if standing else "over" if many == 1 else "all over"
    return f"{all_of_them}, {over}"


def told(event: Event) -> str:
    """Return the words of an alert: its kind and its message."""
    kind, message = (" ".join(str(event.get(name) or "").split()) for name in ("kind", "message"))
    over = " (over)" if event.get("cleared") else ""
    return (": ".join(part for part in (kind, message) if part) or "alert") + over


def severity(event: Event) -> str:
    """Return how loudly the dashboard tells an alert."""
    if event.get("cleared"):
        return "information"
    return "error" if event.get("kind") in _SEVERE else "warning"


def alert_lines(alert: Alert, *, several: bool) -> list[Line]:
    """Return the lines of an alert; its run is named where ``several`` are shown."""
    event = alert.event
    role = "quiet" if alert.over is not None else {"error": "error", "warning": "warning"}[severity(event)]
    moment = number(dict(event), "t")
    step = event.get("step")
    head = [
        ((time.strftime("%H:%M:%S", time.localtime(moment)) if moment else " " * 8) + "  ", "quiet"),
        (f"step {step:,}  " if isinstance(step, int) else "", ""),
        (f"{alert.run}  " if several else "", "heading"),
        (told(event), role),
    ]
    if alert.over is not None:
        head.append((f"  over at {time.strftime('%H:%M:%S', time.localtime(alert.over))}", "good"))
    lines: list[Line] = [tuple(part for part in head if part[0])]
    if event.get("hint"):
        lines.append(((" " * 10, ""), (" ".join(str(event["hint"]).split()), "accent")))
    return lines
