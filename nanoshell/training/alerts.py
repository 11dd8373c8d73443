"""What watches a run: whether it still learns, whether it learns by heart, whether it goes on at all.

Each condition is told once, when it begins, and its end is told, too; ``told`` says that it stands. No torch
here.
"""

from __future__ import annotations

import math
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from nanoshell.runs.events import HEARTBEAT_SECONDS

Kind = Literal["divergence", "dead", "storage", "plateau", "overfitting", "stalled"]


@dataclass(frozen=True)
class Alert:
    """What a person should know of a run: ``message`` says what, ``hint`` what to do about it.

    ``cleared`` says that it is over. ``fields`` are further ones of the event.
    """

    kind: Kind
    message: str
    hint: str = ""
    cleared: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)


PLATEAU_SHARES = (0.1, 0.25)
"""Two neighbouring stretches of this share of the schedule's horizon each are compared."""

PLATEAU_GAIN = 0.003
"""Less gain than this share of the loss in a tenth of the horizon is a plateau. A long run that goes well and
follows a power law of the steps with exponent 0.05, as language models do, gains 0.005 in its last tenth.
"""

PLATEAU_STEPS = 150
"""Stretches of fewer steps tell nothing: the shortest run that can be found on a plateau has 640 steps."""

PLATEAU_SURE = 4.0
"""By so many standard errors the gain must be too small. A run is looked at about a hundred times, and noise
alone shall not once make an alert: it does so with a chance of 1 in 30,000 a look.
"""

LEARNT = 0.05
"""Nats below which a training loss has nowhere to go."""

_BLOCKS = 80


@dataclass
class _Block:
    """Losses of steps that follow each other: how many, their sum, the sum of their squares."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0


class Plateau:
    """Notices that the training loss has not improved for long, over a schedule of ``horizon`` steps.

    The mean loss of the newest stretch is compared with that of the stretch before it. It is a plateau where
    the gain, with the noise of the steps taken into account, is surely less than `PLATEAU_GAIN`.
    """

    def __init__(self, horizon: int) -> None:
        self._size = max(1, horizon // _BLOCKS)
        self._horizon = horizon
        self._blocks: deque[_Block] = deque(maxlen=round(2 * max(PLATEAU_SHARES) * _BLOCKS))
        self._open = _Block()
        self.told = False

    def took(self, step: int, loss: float) -> Alert | None:
        """Take the loss of ``step``, and return an alert where a plateau begins to show, or is over."""
        block = self._open
        block.count += 1
        block.total += loss
        block.squares += loss * loss
        if block.count < self._size:
            return None
        self._blocks.append(block)
        self._open = _Block()
        if self._horizon - step < self._horizon * PLATEAU_SHARES[0]:
            return None  # there is no time left to do anything about it
        found = [gain for share in PLATEAU_SHARES if (gain := self._gain(share)) is not None]
        if found and found[0].surely_large:  # what is newest counts, whatever was before
            if not self.told:
                return None
            self.told = False
            return Alert("plateau", "the loss improves again", cleared=True)
        flat = next((gain for gain in found if gain.surely_small), None)
        if flat is None or self.told:
            return None
        self.told = True
        return Alert(
            "plateau",
            f"the loss has not improved for {flat.steps:,} steps: {flat.new:.4g} on average, "
            f"{flat.old:.4g} in the {flat.steps:,} before",
            "try another learning rate (run set learning_rate=…), or stop here",
            fields={"loss": flat.new, "loss_before": flat.old},
        )

    def _gain(self, share: float) -> _Gain | None:
        """Return how the two newest stretches of ``share`` compare; None where they tell nothing yet."""
        width = round(share * _BLOCKS)
        if len(self._blocks) < 2 * width or width * self._size < PLATEAU_STEPS:
            return None
        blocks = list(self._blocks)
        (new, new_error), (old, old_error) = (
            _mean(blocks[-width:]),
            _mean(blocks[-2 * width : -width]),
        )
        if new < LEARNT:
            return None
        least = PLATEAU_GAIN * share / PLATEAU_SHARES[0] * old
        return _Gain(old, new, width * self._size, least, PLATEAU_SURE * math.sqrt(new_error + old_error))


@dataclass(frozen=True)
class _Gain:
    """Mean losses of two neighbouring stretches of ``steps``; the gain that counts, and the doubt."""

    old: float
    new: float
    steps: int
    least: float
    doubt: float

    @property
    def surely_small(self) -> bool:
        return self.old - self.new + self.doubt < self.least

    @property
    def surely_large(self) -> bool:
        return self.old - self.new - self.doubt > self.least


def _mean(blocks: list[_Block]) -> tuple[float, float]:
    """Return the mean of the losses in ``blocks``, and the variance of that mean."""
    count = sum(block.count for block in blocks)
    mean = sum(block.total for block in blocks) / count
    variance = max(0.0, sum(block.squares for block in blocks) / count - mean * mean)
    return mean, variance / max(1, count - 1)


DEAD_STEPS = 5
"""So many steps in a row without a gradient: one may have drawn nothing but masked targets."""

DEAD_NORM = 1e-12
"""A norm of the gradient that moves no weight."""


class Dead:
    """Notices that nothing is learnt any more, although the loss is a number and not low.

    A rate far too high drives the weights to where every output is saturated: no gradient leads back.
    """

    def __init__(self) -> None:
        self._steps = 0
        self.told = False

    def took(self, step: int, loss: float, grad_norm: float, rate: float) -> Alert | None:
        """Take what ``step`` tells, and return an alert where the model is found dead, or lives again."""
        self._steps = self._steps + 1 if grad_norm < DEAD_NORM and loss > LEARNT else 0
        if self.told and not self._steps:
            self.told = False
            return Alert("dead", "the model learns again", cleared=True)
        if self.told or self._steps < DEAD_STEPS:
            return None
        self.told = True
        since = step - self._steps + 1
        return Alert(
            "dead",
            f"the gradient has been 0 since step {since:,}: the model no longer learns",
            f"lower the learning rate (it is {rate:.3g}), and begin anew or go back to a checkpoint of "
            "before: train --resume RUN@STEP --set learning_rate=… --force",
            fields={"since": since},
        )


OVERFITTING_RISES = 3
"""So many evaluations in a row, each worse than the one before."""

OVERFITTING_SHARE = 0.02
"""By this share of the lowest validation loss the last one must be worse: evaluations read the same tokens
every time, so that they differ by less where nothing is learnt or lost.
"""


class Overfitting:
    """Notices that validation becomes worse while training goes on to become better."""

    def __init__(self) -> None:
        self._total, self._count = 0.0, 0
        self._best: tuple[float, int, float] | None = None
        self._last = math.inf
        self._rises = 0
        self.told = False

    def took(self, loss: float) -> None:
        """Take the training loss of a step."""
        self._total += loss
        self._count += 1

    def evaluated(self, step: int, val_loss: float) -> Alert | None:
        """Take the validation loss after ``step``, and return an alert where overfitting begins or is over.

        It is compared with the mean training loss of the steps since the evaluation before.
        """
        if not self._count:
            return None
        training = self._total / self._count
        self._total, self._count = 0.0, 0
        self._rises = self._rises + 1 if val_loss > self._last else 0
        self._last = val_loss
        if self._best is None or val_loss < self._best[0]:
            over, self._best, self.told = self.told, (val_loss, step, training), False
            words = f"the validation loss is lower than ever: {val_loss:.4g}"
            return Alert("overfitting", words, cleared=True) if over else None
        lowest, where, training_then = self._best
        grew = val_loss > lowest * (1 + OVERFITTING_SHARE)
        if self.told or self._rises < OVERFITTING_RISES or not grew or training >= training_then:
            return None
        self.told = True
        return Alert(
            "overfitting",
            f"the validation loss rises while the training loss falls: {val_loss:.4g}, and it was "
            f"{lowest:.4g} at step {where:,}",
            f"the model learns its data by heart: stop, and use the checkpoint of step {where:,}; or train "
            "on more text, or with dropout or a higher weight_decay",
            fields={"val_loss": val_loss, "best_val_loss": lowest, "best_step": where},
        )


STALL_SECONDS = 60.0
"""Below this a hitch of the machine is nobody's business."""

STALL_STEPS = 10
"""So many times as long as the median of its kind something must take to be called stalled."""

STALL_FIRST_SECONDS = 600.0
"""Until one of a kind is done nobody knows how long it takes; a first step may compile."""

_ASLEEP_SECONDS = 10 * HEARTBEAT_SECONDS


class StallWatch:
    """Notices that the main thread has hung in what it does. Another thread asks `look`.

    ``clock`` gives seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._what = ""
        self._apart = 0.0
        self._since = self._looked = clock()
        self._took: dict[str, deque[float]] = {}
        self.told = False

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Expect an end of ``what`` (a step, a checkpoint) while the block runs.

        Within another block, that one waits meanwhile: how long it takes is counted without this one.
        """
        began = self._clock()
        with self._lock:
            outer, outer_apart = self._what, self._apart
            self._what, self._since, self._apart = what, began, 0.0
        try:
            yield
        finally:
            with self._lock:
                now = self._clock()
                if what:
                    self._took.setdefault(what, deque(maxlen=20)).append(now - began - self._apart)
                self._what, self._since, self._apart = outer, now, outer_apart + now - began

    def waiting(self) -> AbstractContextManager[None]:
        """Expect nothing while the block runs."""
        return self.doing("")

    def sign(self) -> None:
        """Note that what is being done goes on."""
        with self._lock:
            self._since = self._clock()

    def look(self) -> Alert | None:
        """Return an alert where what is being done has begun to hang."""
        with self._lock:
            now = self._clock()
            if now - self._looked > _ASLEEP_SECONDS:
                self._since += now - self._looked  # the whole process slept, this thread with it
            self._looked = now
            quiet = now - self._since
            if not self._what or self.told or quiet < self._limit():
                return None
            self.told = True
            usual = self._took.get(self._what)
            often = f", which takes {statistics.median(usual):.2g} s as a rule" if usual else ""
            return Alert(
                "stalled",
                f"nothing has happened for {quiet:.0f} s in {self._what}{often}",
                "where it hangs is in worker.log; memory that is swapped, a disk that does not answer and a "
                "process that is gone are the usual reasons",
                fields={"seconds": round(quiet, 1)},
            )

    def went_on(self) -> Alert | None:
        """Return the end of an alert where one was told and things go on. To be asked by the main thread."""
        with self._lock:
            if not self.told:
                return None
            self.told = False
        return Alert("stalled", "it goes on", cleared=True)

    def _limit(self) -> float:
        took = self._took.get(self._what)
        return max(STALL_SECONDS, STALL_STEPS * statistics.median(took)) if took else STALL_FIRST_SECONDS
