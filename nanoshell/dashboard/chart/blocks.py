"""Blocks: what reducing a long column asks for again and again, kept for each 64 values and extended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nanoshell.dashboard.chart.smooth import Growing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nanoshell.dashboard.course import Column

    Places = NDArray[np.intp]

SIZE = 64
"""Values in a block: a million of them are 16 thousand blocks."""


class Blocks:
    """The extremes and sums of the full blocks of a column that grows at its end."""

    def __init__(self) -> None:
        self._low, self._high, self._sum = Growing(), Growing(), Growing()

    def extend(self, values: Column) -> None:
        """Take in ``values`` (n,), which begin with those given before."""
        done, full = len(self._low), len(values) // SIZE
        if full > done:
            fresh = values[done * SIZE : full * SIZE].reshape(-1, SIZE)
            self._low.extend(fresh.min(axis=1))
            self._high.extend(fresh.max(axis=1))
            self._sum.extend(fresh.sum(axis=1))

    def _useful(self, begins: Places, ends: Places) -> bool:
        """Return whether each part holds a whole block that is known."""
        return int(np.min(ends - begins)) >= 2 * SIZE and len(self._low) >= ends[-1] // SIZE

    def extremes(self, values: Column, begins: Places, ends: Places) -> tuple[Column, Column]:
        """Return the least and the largest of ``values`` (k,), from each ``begins`` to each ``ends`` (k,).

        Each part begins where the one before ends, and none is empty.
        """
        if not self._useful(begins, ends):
            part = values[: ends[-1]]
            return np.minimum.reduceat(part, begins), np.maximum.reduceat(part, begins)
        first, after, cuts = _inner(begins, ends)
        head, tail = _rims(values, begins, ends, first, after)
        low = np.minimum.reduceat(self._low.values[: after[-1]], cuts)[::2]
        high = np.maximum.reduceat(self._high.values[: after[-1]], cuts)[::2]
        return (
            np.minimum(low, np.minimum(head.min(axis=1), tail.min(axis=1))),
            np.maximum(high, np.maximum(head.max(axis=1), tail.max(axis=1))),
        )

    def means(self, values: Column, begins: Places, ends: Places) -> Column:
        """Return the means (k,) of ``values`` in the same parts."""
        counts = ends - begins
        means: Column
        if not self._useful(begins, ends):
            means = np.add.reduceat(values[: ends[-1]], begins) / counts
            return means
        first, after, cuts = _inner(begins, ends)
        head, tail = _rims(values, begins, ends, first, after)
        place = np.arange(SIZE)
        head = np.where(place < (first * SIZE - begins)[:, None], head, 0.0)
        tail = np.where(place < (ends - after * SIZE)[:, None], tail, 0.0)
        inner = np.add.reduceat(self._sum.values[: after[-1]], cuts)[::2]
        means = (inner + head.sum(axis=1) + tail.sum(axis=1)) / counts
        return means


def _inner(begins: Places, ends: Places) -> tuple[Places, Places, Places]:
    """Return the first whole block in each part (k,), the one after the last (k,), and both in turn."""
    first, after = -(-begins // SIZE), ends // SIZE
    return first, after, np.stack((first, after), axis=1).ravel()[:-1]


def _rims(
    values: Column, begins: Places, ends: Places, first: Places, after: Places
) -> tuple[Column, Column]:
    """Return the values before the whole blocks and after them (k, SIZE), filled up from the same part."""
    place = np.arange(SIZE)
    head = np.minimum(begins[:, None] + place, np.maximum(first * SIZE - 1, begins)[:, None])
    tail = np.maximum(ends[:, None] - 1 - place, np.minimum(after * SIZE, ends - 1)[:, None])
    return values[head], values[tail]
