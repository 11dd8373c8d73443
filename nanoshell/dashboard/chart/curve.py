"""Curves: series as charts hold them, made ready to be drawn once and extended as their runs go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nanoshell.dashboard.chart.blocks import Blocks
from nanoshell.dashboard.chart.smooth import Growing, Smoothing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nanoshell.dashboard.course import Column, Series


@dataclass(frozen=True, eq=False)
class ChartSeries:
    """One line of a chart: its values ``y`` (n,) over ``x`` (n,), as a rule rising.

    ``colour`` is the number of its run's colour. ``points`` draws markers rather than a line, for figures
    that are sparse, such as validation. ``focused`` is drawn over the others and stepped along by the
    crosshair. ``called`` is the run whose figure it is, where there are several: its series stand together in
    the legend. ``rows`` tells of each point its step, tokens and time. ``run`` and ``figure`` are what tables
    call it, where that is not ``called`` and ``name``. ``ended`` says that no point will follow. The arrays
    are never changed after they have been handed over; longer ones that begin alike cost only what is new.
    """

    name: str
    x: Column
    y: Column
    colour: int = 0
    points: bool = False
    focused: bool = False
    called: str = ""
    rows: Series | None = None
    run: str = ""
    figure: str = ""
    ended: bool = False


class Curve:
    """The points of one series: those that can be drawn, those that can only be marked, and the average.

    ``all_x`` and ``all_y`` (n,) are all by rising x; ``x``, ``y`` and ``breaks`` (m,) are about those that
    have a height, ``bad_x`` and ``bad_kind`` (n - m,) about the others. ``log`` is of the y axis. ``order``
    (n,) tells which of the points that were given each of all is; None where they came by rising x.
    ``blocks`` are those of ``y``, ``smoothed_blocks`` those of what `smoothed` returned last.
    """

    def __init__(self, log: bool = False) -> None:
        self.log = log
        self._given: tuple[Column, Column] = (np.empty(0), np.empty(0))
        self._clear()

    def _clear(self) -> None:
        self.all_x: Column = np.empty(0)
        self.all_y: Column = np.empty(0)
        self.order: NDArray[np.intp] | None = None
        self._sifted: tuple[Growing, Growing, Growing] | None = None
        self._bad = (Growing(), Growing())
        self._smoothing: Smoothing | None = None
        self.blocks = Blocks()
        self.smoothed_blocks = Blocks()
        self._logs = Growing()

    def feed(self, x: Column, y: Column) -> bool:
        """Take ``x`` and ``y`` (n,) as the points. Returns whether they differ from those before.

        Raises `ValueError` where they differ in length.
        """
        if len(x) != len(y):
            raise ValueError(f"a series has {len(x)} places and {len(y)} values")
        known = len(self._given[0])
        if begins_with(x, self._given[0]) and begins_with(y, self._given[1]):
            self._given = (x, y)
            if len(x) == known:
                return False
        else:
            self._given, known = (x, y), 0
            self._clear()
        fresh = x[known:]
        rising = bool(np.all(fresh[1:] >= fresh[:-1])) and not (len(fresh) and np.isnan(fresh[0]))
        if not rising or (known and not fresh[0] >= self.all_x[-1]) or len(self.all_x) != known:
            # Clocks jump: the points are then drawn in the order of their x, not of their coming.
            self._clear()
            placed = np.flatnonzero(np.isfinite(x))
            order = placed[np.argsort(x[placed], kind="stable")]
            x, y, known, self.order = x[order], y[order], 0, order
        self.all_x, self.all_y = x, y
        self._sift(known)
        self.blocks.extend(self.y)
        return True

    def _sift(self, known: int) -> None:
        """Put aside what has no height among the points from ``known`` on."""
        x, y = self.all_x[known:], self.all_y[known:]
        good = np.isfinite(y)
        if self.log:
            good &= y > 0
        if self._sifted is None:
            if good.all():
                return
            self._sifted = (Growing(), Growing(), Growing())
            for column, before in zip(
                self._sifted, (self.all_x[:known], self.all_y[:known], np.zeros(known)), strict=True
            ):
                column.extend(before)
        before_it = len(self._bad[0])
        bad = y[~good]
        self._bad[0].extend(x[~good])
        self._bad[1].extend(np.where(np.isnan(bad), 0.0, np.where(bad > 0, 1.0, -1.0)))
        self._sifted[0].extend(x[good])
        self._sifted[1].extend(y[good])
        self._sifted[2].extend(before_it + np.cumsum(~good)[good])

    @property
    def x(self) -> Column:
        """Where the points stand that have a height (m,)."""
        return self.all_x if self._sifted is None else self._sifted[0].values

    @property
    def y(self) -> Column:
        """The heights (m,)."""
        return self.all_y if self._sifted is None else self._sifted[1].values

    @property
    def breaks(self) -> Column | None:
        """How many points without a height come before each point (m,)."""
        return None if self._sifted is None else self._sifted[2].values

    @property
    def bad_x(self) -> Column:
        """Where points stand that have no height (n - m,)."""
        return self._bad[0].values

    @property
    def bad_kind(self) -> Column:
        """0 for NaN, 1 for what is above, -1 for what is below any height (n - m,)."""
        return self._bad[1].values

    def smoothed(self, weight: float) -> Column:
        """Return the average (m,) at each point that has a height; on a log axis of logarithms to base 10."""
        if self._smoothing is None or self._smoothing.weight != weight:
            self._smoothing = Smoothing(weight)
            self.smoothed_blocks = Blocks()
        values = self.y
        if self.log:
            self._logs.extend(np.log10(values[len(self._logs) :]))
            values = self._logs.values
        found = self._smoothing.upto(values)
        self.smoothed_blocks.extend(found)
        return found

    def nearest(self, x: float) -> int | None:
        """Return which of all points stands nearest to ``x``, the latest of equals; None without points."""
        if not len(self.all_x):
            return None
        after = int(np.searchsorted(self.all_x, x, "right"))
        near = [at for at in (after - 1, after) if 0 <= at < len(self.all_x)]
        best = min(near, key=lambda at: (abs(self.all_x[at] - x), at))
        return int(np.searchsorted(self.all_x, self.all_x[best], "right")) - 1

    def smoothed_at(self, index: int, weight: float) -> float:
        """Return the average at the point ``index`` of all, as a value; NaN where it has no height."""
        if self._sifted is None:
            at = index
        else:
            at = int(np.searchsorted(self.x, self.all_x[index], "right")) - 1
            if at < 0 or self.x[at] != self.all_x[index]:
                return float("nan")
        value = float(self.smoothed(weight)[at])
        return float(10**value) if self.log else value


def begins_with(longer: Column, shorter: Column) -> bool:
    """Return whether ``longer`` begins with ``shorter``, NaN being like NaN."""
    if longer is shorter or not len(shorter):
        return True
    if len(longer) < len(shorter):
        return False
    if longer.__array_interface__["data"] == shorter.__array_interface__["data"] and (
        longer.strides == shorter.strides
    ):
        return True
    head = longer[: len(shorter)]
    return bool(np.array_equal(head, shorter) or np.array_equal(head, shorter, equal_nan=True))
