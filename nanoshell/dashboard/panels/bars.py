"""Figures over time in a few letters: the highest of each span of time, so that no spike is lost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nanoshell.dashboard.course import Series

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII = "_.,-=+*#"

MOST_POINTS = 20_000
"""Values that are looked at, the newest: a row of letters shows no more of a long run."""


def bars(series: Series, width: int, top: float | None = None, *, ascii: bool = False) -> str:  # noqa: A002
    """Return ``width`` letters, each as high as the highest value of its span of time, from 0 to ``top``.

    A span without a value has that of the one before. ``top`` is the highest of them where it is not given.
    """
    values, times = series.value[-MOST_POINTS:], series.time[-MOST_POINTS:]
    finite = np.isfinite(values) & np.isfinite(times)
    values, times = values[finite], times[finite]
    if not len(values) or width < 1:
        return ""
    length = float(times[-1] - times[0])
    places = np.zeros(len(times), dtype=int)
    if length > 0:
        places = np.clip(((times - times[0]) / length * width).astype(int), 0, width - 1)
    highest = np.full(width if length > 0 else 1, -math.inf)
    np.maximum.at(highest, places, values)
    letters = ASCII if ascii else BLOCKS
    most = max(float(values.max()), 0.0) if top is None else top
    known = np.maximum.accumulate(np.where(np.isfinite(highest), np.arange(len(highest)), 0))
    return "".join(_letter(value, most, letters) for value in highest[known])


def _letter(value: float, top: float, letters: str) -> str:
    if not math.isfinite(value):
        return " "
    share = max(0.0, min(1.0, value / top)) if top > 0 else 0.0
    return letters[max(0, min(len(letters) - 1, math.ceil(share * len(letters)) - 1))]


def newest(series: Series | None) -> float | None:
    """Return the newest value that is a number; None where there is none."""
    if series is None:
        return None
    tail = series.value[-MOST_POINTS:]
    finite = tail[np.isfinite(tail)]
    return float(finite[-1]) if len(finite) else None


def highest(series: Series | None) -> float | None:
    """Return the highest value that is a number; None where there is none."""
    if series is None:
        return None
    finite = series.value[np.isfinite(series.value)]
    return float(finite.max()) if len(finite) else None
