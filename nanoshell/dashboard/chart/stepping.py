"""Stepping: which point the crosshair goes to from where it stands, along all the runs of a chart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nanoshell.dashboard.chart.reduce import visible

if TYPE_CHECKING:
    from nanoshell.dashboard.chart.curve import Curve
    from nanoshell.dashboard.chart.scale import Scale

_NEAR = 0.5
"""So much of the width of what is seen a point may be away from it, to be stepped to before others."""


def next_point(curves: Sequence[Curve], x: Scale, cursor: float, towards: int, least: float) -> float | None:
    """Return where the next point of ``curves`` stands from ``cursor`` on ``towards`` (-1, 1); None without.

    It is one of the first of them, the leading one, as long as the crosshair stands where that has points,
    and they are near what ``x`` shows; else the nearest of any. Where there is one it stands at ``least``
    or beyond, which is no nearer than ``cursor``.
    """
    found = [_next(curve, cursor, towards, least) for curve in curves]
    if found and found[0] is not None and -_NEAR <= x.place_of(found[0]) <= 1 + _NEAR:
        column = curves[0].all_x
        if column[0] <= cursor <= column[-1]:
            return found[0]
    known = [place for place in found if place is not None]
    return min(known, key=lambda place: abs(place - cursor), default=None)


def _next(curve: Curve, cursor: float, towards: int, least: float) -> float | None:
    """Return where the first point behind ``cursor`` stands that is at ``least`` or beyond, else the last."""
    column = curve.all_x
    if towards > 0:
        first = int(np.searchsorted(column, cursor, "right"))
        at = min(max(first, int(np.searchsorted(column, least, "left"))), len(column) - 1)
        return float(column[at]) if at >= first else None
    first = int(np.searchsorted(column, cursor, "left")) - 1
    at = max(min(first, int(np.searchsorted(column, least, "right")) - 1), 0)
    return float(column[at]) if at <= first else None


def newest_point(curves: Sequence[Curve], x: Scale) -> float | None:
    """Return where the newest point stands that ``x`` shows: the first curve's, else the latest of any.

    Where it shows none, it is the first curve's before it, or its first; None where there are no curves.
    """
    found = []
    for curve in curves:
        begin, end = visible(curve.all_x, x)
        if end > begin:
            found.append(float(curve.all_x[end - 1]))
            if curve is curves[0]:
                return found[0]
    if found or not curves:
        return max(found, default=None)
    at = int(np.searchsorted(curves[0].all_x, x.high, "right")) - 1
    return float(curves[0].all_x[max(0, at)])


def extreme_point(curves: Sequence[Curve], x: Scale, *, highest: bool) -> float | None:
    """Return where the highest, or lowest, point stands that ``x`` shows; None where none has a height."""
    best: tuple[float, float] | None = None
    for curve in curves:
        begin, end = visible(curve.x, x)
        if begin < end:
            heights = curve.y[begin:end] if highest else -curve.y[begin:end]
            at = int(np.argmax(heights))
            if best is None or heights[at] > best[0]:
                best = (float(heights[at]), float(curve.x[begin + at]))
    return None if best is None else best[1]


def whole_step(place: float, x: Scale) -> float:
    """Return the whole step next to ``place`` that ``x`` shows; ``place`` where it shows none."""
    low, high = math.ceil(x.low - 1e-9), math.floor(x.high + 1e-9)
    return float(min(max(round(place), low), high)) if low <= high else place
