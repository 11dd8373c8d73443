"""What watches how a run learns, whichever of its workers trains: the log tells it what was before.

No torch here.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from nanoshell.runs.events import Event, is_of_a_course, number, parse_line
from nanoshell.runs.telling import rare_events
from nanoshell.training.alerts import Alert, Dead, Kind, Overfitting, Plateau
from nanoshell.training.difference import CHANGEABLE

_HEARTBEAT = b'"type": "heartbeat"'
_ANEW = "it is watched anew: {} others now"


class LearningWatch:
    """Watches the losses of a run over a schedule of ``horizon`` steps, and tells what is found once."""

    def __init__(self, horizon: int) -> None:
        self.horizon = horizon
        self._plateau = Plateau(horizon)
        self._overfitting = Overfitting()
        self._dead = Dead()

    def stepped(self, step: int, loss: float, grad_norm: float, rate: float) -> list[Alert]:
        """Take what a step tells, and return what begins or ends with it."""
        self._overfitting.took(loss)
        found = (self._plateau.took(step, loss), self._dead.took(step, loss, grad_norm, rate))
        return [alert for alert in found if alert is not None]

    def evaluated(self, step: int, val_loss: float) -> Alert | None:
        """Take the validation loss after ``step``, and return what begins or ends with it."""
        return self._overfitting.evaluated(step, val_loss)

    def look_anew(self, horizon: int) -> Alert | None:
        """Forget the training losses, which may be others now; return the end of a plateau that was told."""
        told, self.horizon = self._plateau.told, horizon
        self._plateau = Plateau(horizon)
        return Alert("plateau", _ANEW.format("the settings are"), cleared=True) if told else None

    def know(self, standing: Collection[str]) -> None:
        """Take for told the kinds of alerts that are ``standing``, and no others."""
        self._plateau.told = "plateau" in standing
        self._overfitting.told = "overfitting" in standing
        self._dead.told = "dead" in standing


@dataclass(frozen=True)
class Recalled:
    """What the log of a run tells its next worker.

    ``watch`` has seen the steps and evaluations of the course up to now. ``standing`` are the kinds of alerts
    that were told and are not over, ``over`` the end of those that are so because the run goes on.
    """

    watch: LearningWatch
    standing: frozenset[str]
    over: tuple[Alert, ...]


def recall(path: Path, horizon: int) -> Recalled:
    """Return what the event log ``path`` tells of a run that goes on, over a schedule of ``horizon`` steps.

    The newest ``resume`` event there is the present one; a log without one has nothing to recall.
    """
    resumes = [event for event in rare_events(path) if event.get("type") == "resume"]
    if not resumes:
        return Recalled(LearningWatch(horizon), frozenset(), ())
    watch = LearningWatch(horizon)
    standing: dict[str, None] = {}
    for event in _of_the_course(path, resumes):
        match event.get("type"):
            case "alert" if event.get("cleared"):
                standing.pop(str(event.get("kind")), None)
            case "alert":
                standing[str(event.get("kind"))] = None
            case "resume" if "forced" in event:
                watch = LearningWatch(watch.horizon)
            case _:
                _see(watch, event)
    over = _over(standing, resumes[-1], stretched=watch.horizon != horizon)
    if watch.horizon != horizon:
        watch.look_anew(horizon)
    left = frozenset(standing) - {alert.kind for alert in over}
    watch.know(left)
    return Recalled(watch, left, tuple(over))


def _over(standing: Collection[str], resume: Event, *, stretched: bool) -> list[Alert]:
    """Return the ends of those ``standing`` that ``resume`` ends; ``stretched``: the horizon is another."""
    words: dict[Kind, str] = {"divergence": f"it goes on from step {int(number(resume, 'from_step') or 0):,}"}
    if stretched:
        words["plateau"] = _ANEW.format("the settings are")
    if "forced" in resume:
        words |= dict.fromkeys(("plateau", "overfitting", "dead"), _ANEW.format("config or data are"))
    return [Alert(kind, words[kind], cleared=True) for kind in words if kind in standing]


def _of_the_course(path: Path, resumes: list[Event]) -> Iterator[Event]:
    """Yield the events of ``path`` but for heartbeats and for those of courses that ``resumes`` left.

    They are read one by one: a long run has more of them than memory should hold.
    """
    limits = [math.inf]
    for resume in reversed(resumes):
        limits.append(min(limits[-1], number(resume, "from_step") or 0.0))
    try:
        file = path.open("rb")
    except OSError:
        return
    with file:
        for line in file:
            if _HEARTBEAT in line or (event := parse_line(line)) is None:
                continue
            if event.get("type") == "resume":
                limits.pop()
            step = number(event, "step")
            if not (is_of_a_course(event) and step is not None and step > limits[-1]):
                yield event


def _see(watch: LearningWatch, event: Event) -> None:
    """Let ``watch`` see what ``event`` tells of the losses, or of what they are due to."""
    step, horizon = int(number(event, "step") or 0), int(number(event, "horizon") or watch.horizon)
    match event.get("type"):
        case "step":
            loss, norm = number(event, "loss"), number(event, "grad_norm")
            if loss is not None and norm is not None and math.isfinite(loss):
                watch.stepped(step, loss, norm, number(event, "learning_rate") or 0.0)
        case "eval":
            val_loss = number(event, "val_loss")
            if val_loss is not None:
                watch.evaluated(step, val_loss)
        case "state" if horizon != watch.horizon:
            watch.look_anew(horizon)
        case "control" if is_of_a_course(event):
            if not CHANGEABLE.issuperset(event.get("before") or ()) or horizon != watch.horizon:
                watch.look_anew(horizon)
