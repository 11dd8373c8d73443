"""The learning rate as a function of the step. No torch here: a face can draw what a run will follow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanoshell.training.config import ScheduleName, TrainerConfig

AUTO = "auto"
MOST_DEFAULT_WARMUP = 200


@dataclass(frozen=True)
class Schedule:
    """Warm-up, then a shape, over ``horizon`` optimizer steps.

    ``constant`` stays at ``peak``; ``linear`` and ``cosine`` fall to ``peak * min_ratio`` from the end of the
    warm-up on (SGDR, Loshchilov & Hutter 2017, without restarts); ``trapezoid`` stays at ``peak`` and falls
    linearly over the last ``decay_ratio`` of the horizon (Hägele et al. 2024). Beyond the horizon the rate
    stays where it ended.
    """

    kind: ScheduleName
    peak: float
    horizon: int
    warmup: int = 0
    min_ratio: float = 0.1
    decay_ratio: float = 0.5

    def at(self, step: int) -> float:
        """Return the learning rate of update ``step``, counted from 1."""
        if step < self.warmup:
            return self.peak * step / self.warmup
        if self.kind == "constant":
            return self.peak
        start = self.warmup
        if self.kind == "trapezoid":
            start = max(start, self.horizon - round(self.horizon * self.decay_ratio))
        length = max(1, self.horizon - start)
        progress = min(1.0, max(0.0, (step - start) / length))
        fall = (1 - math.cos(math.pi * progress)) / 2 if self.kind == "cosine" else progress
        return self.peak * (1 - (1 - self.min_ratio) * fall)


def build_schedule(trainer: TrainerConfig, horizon: int) -> Schedule:
    """Return the schedule of ``trainer`` over ``horizon`` steps."""
    warmup = trainer.warmup_steps
    if warmup is None:
        warmup = min(MOST_DEFAULT_WARMUP, horizon // 50)
    return Schedule(
        kind=choose_schedule(trainer),
        peak=trainer.learning_rate,
        horizon=horizon,
        warmup=min(warmup, horizon),
        min_ratio=trainer.min_lr_ratio,
        decay_ratio=trainer.decay_ratio,
    )


def choose_schedule(trainer: TrainerConfig) -> ScheduleName:
    """Return ``trainer.schedule``, or for ``auto`` ``trapezoid``.

    Where it was measured it lost nothing to the others, and it bears a change of plan best: a run that is
    extended or stopped while the rate is still at its peak has spent none of the fall.
    """
    return "trapezoid" if trainer.schedule == AUTO else trainer.schedule
