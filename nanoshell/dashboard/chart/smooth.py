"""Smoothing: the exponential moving average that TensorBoard draws, carried on as points arrive."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nanoshell.dashboard.course import Column

_CHUNK = 8192
"""Points that are smoothed at once: they stay in the processor's nearest cache."""


class Growing:
    """A column that grows at its end without being copied each time."""

    def __init__(self) -> None:
        self._room: Column = np.empty(0)
        self._length = 0

    def extend(self, values: Column) -> None:
        """Append ``values`` (m,)."""
        needed = self._length + len(values)
        if needed > len(self._room):
            room = np.empty(max(needed, 2 * len(self._room)))
            room[: self._length] = self._room[: self._length]
            self._room = room
        self._room[self._length : needed] = values
        self._length = needed

    @property
    def values(self) -> Column:
        """What has been appended so far (n,), a view."""
        return self._room[: self._length]

    def __len__(self) -> int:
        return self._length


class Smoothing:
    """The moving average of values that arrive in parts, each point weighing ``1 - weight``.

    With ``past`` the average before, ``past * weight + value * (1 - weight)``, divided by
    ``1 - weight ** count``, what the average begins with weighing nothing (as in Adam, Kingma and Ba 2015).
    """

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self._past = 0.0
        self._result = Growing()

    def upto(self, values: Column) -> Column:
        """Return the averages (n,) of the finite ``values`` (n,), which begin with those given before."""
        done = len(self._result)
        for start in range(done, len(values), _CHUNK):
            self._result.extend(self._part(values[start : start + _CHUNK], start))
        return self._result.values

    def _part(self, values: Column, count: int) -> Column:
        part = values * (1 - self.weight)
        part[0] += self.weight * self._past
        # After each turn an average reaches twice as far back, so a chunk takes a dozen vector additions.
        shift, factor = 1, self.weight
        while shift < len(part) and factor > 1e-60:
            part[shift:] += factor * part[:-shift]
            shift, factor = 2 * shift, factor * factor
        self._past = float(part[-1])
        if 0 < self.weight < 1 and count * math.log(self.weight) > -40:
            counts = np.arange(count + 1, count + 1 + len(part))
            part /= -np.expm1(counts * math.log(self.weight))
        return part
