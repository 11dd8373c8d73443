"""Scales: where a value stands along an axis, linear or logarithmic, and which ticks it gets."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nanoshell.dashboard.course import Column

_TIME_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


_FAR = 1e9
"""Places further out are not told apart: lines that lead there are upright or flat."""


_ROOM = 1 / 16
"""So much is kept free beyond what has grown out of a scale: it will grow on."""

_FULL = 0.75
"""A scale of which less is filled is made narrower."""


@dataclass(frozen=True)
class Scale:
    """An axis from ``low`` to ``high`` (``low < high``; both above 0 where it is logarithmic)."""

    low: float
    high: float
    log: bool = False

    def place(self, values: Column) -> Column:
        """Return where ``values`` stand: 0 at ``low``, 1 at ``high``; beyond where they are outside."""
        if self.log:
            with np.errstate(divide="ignore", invalid="ignore"):
                return self.place_logs(np.log10(values))
        # Halves, because the difference of two large numbers may be infinite.
        with np.errstate(over="ignore"):
            found = (values * 0.5 - self.low * 0.5) / (self.high * 0.5 - self.low * 0.5)
        return np.clip(found, -_FAR, _FAR)

    def place_logs(self, logs: Column) -> Column:
        """Return where values stand of which the logarithms to base 10 are given."""
        low, high = math.log10(self.low), math.log10(self.high)
        return (logs - low) / (high - low)

    def place_of(self, value: float) -> float:
        """Return where ``value`` stands; -inf for what is not above 0 on a logarithmic axis."""
        if self.log and value <= 0:
            return -math.inf
        return float(self.place(np.array([value]))[0])

    def at(self, place: float) -> float:
        """Return the value that stands at ``place`` (0 to 1, or beyond)."""
        if self.log:
            low, high = math.log10(self.low), math.log10(self.high)
            return float(10 ** min(308.0, low + place * (high - low)))
        return self.low + place * (self.high - self.low)

    def edges(self, parts: int) -> Column:
        """Return the bounds (parts + 1,) of ``parts`` equal parts, rising."""
        if self.log:
            found: Column = np.logspace(math.log10(self.low), math.log10(self.high), parts + 1)
        else:
            found = np.linspace(self.low, self.high, parts + 1)
        found[0], found[-1] = self.low, self.high
        return np.maximum.accumulate(found)


def spread(low: float, high: float, log: bool = False) -> Scale:
    """Return a scale from ``low`` to ``high``, wide enough to be drawn where both are (nearly) one value."""
    if log:
        if math.log10(high) - math.log10(low) < 1e-9:
            low, high = max(low * 0.9, 5e-324), min(high * 1.1, 1.7e308)
        return Scale(low, high, log=True) if low < high else Scale(1e-320, 1.0, log=True)
    largest = max(abs(low), abs(high))
    if high * 0.5 - low * 0.5 <= max(1e-12 * largest, 1e-290):
        room = 0.05 * largest if largest > 1e-280 else 0.5
        low, high = max(low - room, -1.7e308), min(high + room, 1.7e308)
    return Scale(low, high) if low < high else Scale(-0.5, 0.5)


def settled(scale: Scale, before: Scale) -> Scale:
    """Return a scale on which all of ``scale`` can be seen, as long as may be ``before``, which was drawn.

    It is another one where something is outside, with some room on that side; and where much is empty.
    """
    if scale.log != before.log:
        return scale
    low, high = (_height(value, scale.log) for value in (scale.low, scale.high))
    bottom, top = (_height(value, scale.log) for value in (before.low, before.high))
    if bottom <= low and high <= top and high - low >= _FULL * (top - bottom):
        return before
    room = _ROOM * (high - low)
    low, high = low - room * (low < bottom), high + room * (high > top)
    if not scale.log:
        return spread(low, high)
    return spread(10.0**low, 10.0**high, log=True) if low > -307 and high < 307 else scale


def _height(value: float, log: bool) -> float:
    return math.log10(value) if log else value


def ticks(scale: Scale, most: int, *, whole: bool = False, time: bool = False) -> list[float]:
    """Return at most ``most`` round values on ``scale``, rising, with as many as there can be.

    Ticks are 1, 2 or 5 times a power of ten, or round numbers of seconds, minutes and hours (``time``);
    ``whole`` asks for integers.
    """
    most = max(1, most)
    if scale.log:
        found = _log_ticks(scale, most)
        if len(found) >= min(2, most):
            return found
    step = _step((scale.high * 0.5 - scale.low * 0.5) * 2 / most, whole=whole, time=time)
    while True:
        found = _multiples(scale, step)
        if len(found) <= most:
            return found
        step = _step(step * 1.01, whole=whole, time=time)


def tick_step(values: list[float]) -> float:
    """Return the distance of neighbouring ticks, the smallest; 0 where there are not two."""
    return min((b - a for a, b in itertools.pairwise(values)), default=0.0)


def _multiples(scale: Scale, step: float) -> list[float]:
    if not 0 < step < math.inf:
        return []
    near = 1e-9 * min(1.0, (scale.high * 0.5 - scale.low * 0.5) * 2 / step)
    first, last = math.ceil(scale.low / step - near), math.floor(scale.high / step + near)
    return [k * step for k in range(first, min(last, first + 1000) + 1)]


def _step(least: float, *, whole: bool, time: bool) -> float:
    """Return the smallest round distance that is at least ``least``."""
    if time and least * 1.000001 >= 1 and least <= _TIME_STEPS[-1]:
        return float(next(step for step in _TIME_STEPS if step >= least * 0.999999))
    unit = 86400.0 if time and least > 86400 else 1.0
    least = max(least / unit, 5e-324)
    power = 10.0 ** math.floor(math.log10(least)) if least < 1e308 else 1e308
    found = next((k * power for k in (1, 2, 5) if k * power >= least * 0.999999), 10 * power)
    return max(found, 1.0 if whole else 0.0) * unit


def _log_ticks(scale: Scale, most: int) -> list[float]:
    low, high = math.log10(scale.low), math.log10(scale.high)
    first, last = math.ceil(low - 1e-9), math.floor(high + 1e-9)
    for factors in (range(1, 10), (1, 2, 5), (1, 3), (1,)):
        found = [
            k * 10.0**power
            for power in range(first - 1, min(last, 307) + 1)
            for k in factors
            if low - 1e-9 <= power + math.log10(k) <= high + 1e-9
        ]
        if len(found) <= most:
            return found
    every = math.ceil((last - first + 1) / most)
    return [10.0**power for power in range(first, last + 1) if power % every == 0][:most]
