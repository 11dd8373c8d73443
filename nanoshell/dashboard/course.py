"""What the dashboard knows of a run: its figures, marks and texts, as values that panels read.

Nothing here reads a file or draws: the feed makes these values, and panels show them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nanoshell.runs.directory import RunDirectory
    from nanoshell.runs.status import RunStatus

    Column = NDArray[np.float64]

Axis = Literal["step", "tokens", "time"]
"""What stands along a chart: optimizer steps, tokens trained on, or seconds since the run began."""

AXES: tuple[Axis, ...] = ("step", "tokens", "time")

Fit = Literal["all", "most", "lines", "focus"]
"""What the y axis has room for: all that is seen, the middle 98% of it, lines without points, or the run in
focus.
"""

FITS: tuple[Fit, ...] = ("all", "most", "lines", "focus")


@dataclass(frozen=True)
class Series:
    """One figure over the course of a run, in columns of one length, by rising step.

    ``value`` holds NaN and infinities where the log does. ``time`` is in seconds since the run began.
    """

    step: Column
    tokens: Column
    time: Column
    value: Column

    def along(self, axis: Axis) -> Column:
        """Return the column of ``axis`` (n,)."""
        found: Column = getattr(self, axis)
        return found


@dataclass(frozen=True)
class Mark:
    """A moment that charts mark: what was asked of the run, a checkpoint, an alert, a resume."""

    kind: Literal["control", "checkpoint", "alert", "resume"]
    step: float
    tokens: float
    time: float
    text: str

    def along(self, axis: Axis) -> float:
        """Return where it stands on ``axis``."""
        found: float = getattr(self, axis)
        return found


@dataclass(frozen=True)
class SampleText:
    """A text that the run wrote at a step; ``index`` is the number of its prompt, ``stop`` why it ended."""

    step: int
    index: int
    prompt: str
    text: str
    tokens: int
    stop: str
    time: float


@dataclass(frozen=True)
class Course:
    """One run as far as it has been read; ``revision`` grows with every change of anything here.

    ``series`` are by name: loss, val_loss, bits_per_byte (of held-out text; train_bits_per_byte of the text
    that is trained on, where none is held out), learning_rate, grad_norm, tokens/s, it/s, balance_loss,
    memory (bytes), cpu (cores), gpu (share), gpu_memory (bytes), ``expert_load.LAYER.EXPERT``; those that
    the log has.
    ``complete`` is False while older parts of a long log are still being read. ``problem`` says why
    less is shown than there should be, '' as a rule. ``alerts`` are events as they stand in the log.
    """

    run: RunDirectory
    status: RunStatus
    series: Mapping[str, Series] = field(default_factory=dict)
    marks: tuple[Mark, ...] = ()
    samples: tuple[SampleText, ...] = ()
    alerts: tuple[Mapping[str, Any], ...] = ()
    complete: bool = True
    revision: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Snapshot:
    """What panels are handed: the ``courses`` that are shown, and which of them has the ``focus``.

    ``colours`` gives each of them a number, as long as may be the one it had before, and is about other runs,
    too. ``now`` is in seconds since the epoch, 0 before the runs have been looked at. ``problem`` says why no
    run can be watched any more, '' as a rule. ``beside`` are runs that are not shown and were seen to train:
    of them it is only known that they do, and how those stand that have ended.
    """

    courses: tuple[Course, ...] = ()
    focus: int = 0
    colours: Mapping[str, int] = field(default_factory=dict)
    now: float = 0.0
    problem: str = ""
    beside: tuple[Course, ...] = ()

    @property
    def focused(self) -> Course | None:
        """The run that steering, samples and overview are about; None where no run is shown."""
        return self.courses[self.focus] if self.courses else None


@dataclass(frozen=True)
class Sight:
    """How the charts look at their runs; all of them share it, the crosshair too.

    ``left`` and ``right`` bound what is seen of ``axis``; None is the end of the data. With ``follow`` the
    right edge stays at the newest point, and the width of what is seen stays as it is. ``cursor`` is where
    the crosshair stands on ``axis``. ``smoothing`` is the weight of the past, from 0 (none) to below 1.
    What has no room on a y axis that does not ``fit`` all is marked at its edges.
    """

    axis: Axis = "step"
    left: float | None = None
    right: float | None = None
    follow: bool = True
    cursor: float | None = None
    smoothing: float = 0.6
    log_x: bool = False
    log_y: bool = False
    fit: Fit = "all"
