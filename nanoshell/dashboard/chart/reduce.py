"""Reduction: what of a series stands in each column of dots, with its extremes, so that no spike is lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nanoshell.dashboard.chart.blocks import Blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nanoshell.dashboard.chart.scale import Scale
    from nanoshell.dashboard.course import Column

    Places = NDArray[np.intp]


@dataclass(frozen=True)
class Buckets:
    """The visible points of a series by column of dots; only columns in which there are points.

    ``place`` (k,) is where a bucket stands, in columns: a whole number, or beyond the edges for the
    neighbours outside, which lines lead to. ``first``, ``last``, ``low``, ``high`` (k,) are values in it;
    ``joined`` (k - 1,) whether a line leads to the next bucket. ``inside`` is the slice of the
    visible ones.
    """

    place: Column
    first: Column
    last: Column
    low: Column
    high: Column
    joined: NDArray[np.bool_]
    inside: slice


def visible(x: Column, scale: Scale) -> tuple[int, int]:
    """Return the bounds of the rising ``x`` that ``scale`` shows, both edges included."""
    return int(np.searchsorted(x, scale.low, "left")), int(np.searchsorted(x, scale.high, "right"))


def starts(x: Column, scale: Scale, columns: int) -> tuple[Places, Places, int]:
    """Return the columns (k,) in which points stand, where in ``x`` each begins (k,), where the last ends."""
    begin, end = visible(x, scale)
    cuts = np.searchsorted(x[begin:end], scale.edges(columns)[1:-1], "left") + begin
    bounds = np.concatenate(([begin], cuts, [end]))
    filled = np.flatnonzero(bounds[1:] > bounds[:-1])
    return filled, bounds[filled], end


def reduce(
    x: Column,
    y: Column,
    scale: Scale,
    columns: int,
    breaks: Column | None = None,
    *,
    mean: bool = False,
    blocks: Blocks | None = None,
) -> Buckets:
    """Return the points (``x``, ``y``) (n,) that ``scale`` shows, by column.

    ``x`` rises and ``y`` is finite. Between two points of different ``breaks`` (n,) no line is drawn.
    With ``mean`` a bucket holds the mean of its points instead of their extremes. ``blocks`` are those of
    ``y``, all of it, and make it faster where it is long.
    """
    blocks = blocks or Blocks()
    filled, begins, end = starts(x, scale, columns)
    ends = np.append(begins[1:], end) if len(begins) else begins
    if not len(begins):
        first = last = low = high = np.empty(0)
    elif mean:
        first = last = low = high = blocks.means(y, begins, ends)
    else:
        low, high = blocks.extremes(y, begins, ends)
        first, last = y[begins], y[ends - 1]
    return _with_neighbours(x, y, scale, columns, breaks, (filled, begins, ends), (first, last, low, high))


def _with_neighbours(
    x: Column,
    y: Column,
    scale: Scale,
    columns: int,
    breaks: Column | None,
    where: tuple[Places, Places, Places],
    values: tuple[Column, Column, Column, Column],
) -> Buckets:
    filled, begins, ends = where
    here = int(begins[0]) if len(begins) else int(np.searchsorted(x, scale.low, "left"))
    beyond = int(ends[-1]) if len(ends) else here
    before = [here - 1] if here > 0 and _placeable(x[here - 1], scale) else []
    after = [beyond] if beyond < len(x) else []
    outside = scale.place(x[np.array(before + after, dtype=np.intp)]) * columns - 0.5
    n = len(before)

    def framed(inner: Column) -> Column:
        return np.concatenate((y[before], inner, y[after]))

    begin = np.concatenate((before, begins, after)).astype(np.intp)
    stop = np.concatenate((before, ends - 1, after)).astype(np.intp)
    joined = np.ones(max(0, len(begin) - 1), dtype=bool)
    if breaks is not None:
        joined = breaks[begin[1:]] == breaks[stop[:-1]]
    first, last, low, high = (framed(value) for value in values)
    place = np.concatenate((outside[:n], filled.astype(np.float64), outside[n:]))
    return Buckets(place, first, last, low, high, joined, slice(n, n + len(filled)))


def _placeable(x: float, scale: Scale) -> bool:
    return bool(x > 0) or not scale.log


def spans(
    place: Column,
    first: Column,
    last: Column,
    low: Column,
    high: Column,
    joined: NDArray[np.bool_],
    columns: int,
) -> tuple[Column, Column]:
    """Return what the line through buckets covers in each column: from and to (columns,), NaN where nothing.

    The arguments are those of `Buckets`, of values of any kind (heights, as a rule).
    """
    least, most = np.full(columns, np.inf), np.full(columns, -np.inf)
    inner = (place >= 0) & (place <= columns - 1)
    own = place[inner].astype(np.intp)
    least[own], most[own] = low[inner], high[inner]
    if len(joined):
        column = np.arange(columns, dtype=np.float64)
        part = np.searchsorted(place, column, "right") - 1
        _cover(least, most, column, part, place, first, last, joined)
        before = np.full(columns, -1)
        before[own] = part[own] - 1
        _cover(least, most, column, before, place, first, last, joined)
    nothing = least > most
    least[nothing] = most[nothing] = np.nan
    return least, most


def _cover(
    least: Column,
    most: Column,
    column: Column,
    part: Places,
    place: Column,
    first: Column,
    last: Column,
    joined: NDArray[np.bool_],
) -> None:
    """Let ``least`` and ``most`` reach over what the straight ``part`` of the line crosses in each column."""
    at = np.flatnonzero((part >= 0) & (part < len(joined)))
    at = at[joined[part[at]]]
    k = part[at]
    begin, width, rise = place[k], place[k + 1] - place[k], first[k + 1] - last[k]
    for edge in (np.maximum(column[at] - 0.5, begin), np.minimum(column[at] + 0.5, place[k + 1])):
        value = last[k] + rise * ((edge - begin) / width)
        least[at], most[at] = np.minimum(least[at], value), np.maximum(most[at], value)
