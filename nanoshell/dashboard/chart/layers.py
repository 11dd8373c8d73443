"""Layers: what of each series is drawn in a view, reduced to columns, and how high the view must be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nanoshell.dashboard.chart.reduce import Buckets, reduce, spans, visible
from nanoshell.dashboard.chart.scale import Scale, spread

if TYPE_CHECKING:
    from nanoshell.dashboard.chart.curve import ChartSeries, Curve
    from nanoshell.dashboard.course import Column, Fit

    Drawn = tuple[ChartSeries, Curve]

EDGE = 1e-9
"""What is no further beyond an edge of an axis is on it: so much is lost in computing places."""

_CUT = 0.01
"""So much of what is seen has no room above an axis that fits most of it, and as much below."""

_ENOUGH = 4096
"""Of a longer series every so many-th value tells well enough where most of them are."""


@dataclass(frozen=True)
class Outside:
    """What of a series is beyond an edge of the y axis: the columns (k,) of it, and its furthest value."""

    columns: Column
    values: Column
    furthest: int


@dataclass(frozen=True)
class Layer:
    """One series in a view: its extremes by column (``raw``) and, where it is smoothed, the average's course.

    ``logs`` says that ``average`` holds logarithms to base 10.
    """

    series: ChartSeries
    curve: Curve
    raw: Buckets
    average: Buckets | None = None
    logs: bool = False

    def raw_heights(self, scale: Scale, columns: int) -> tuple[Column, Column]:
        """Return from where to where (columns,) the raw line goes in each column; 0 is the bottom."""
        return _heights(self.raw, scale.place, columns)

    def average_heights(self, scale: Scale, columns: int) -> tuple[Column, Column]:
        """Return the same of the average; it must be there."""
        assert self.average is not None
        return _heights(self.average, scale.place_logs if self.logs else scale.place, columns)

    def outside(self, scale: Scale, *, above: bool) -> Outside | None:
        """Return what is visible and above, or below, all that ``scale`` shows; None where nothing is."""
        inside = self.raw.inside
        values = (self.raw.high if above else self.raw.low)[inside]
        beyond = scale.place(values) > 1 + EDGE if above else scale.place(values) < -EDGE
        if not beyond.any():
            return None
        values = values[beyond]
        return Outside(self.raw.place[inside][beyond], values, int(np.argmax(values if above else -values)))


def _heights(buckets: Buckets, place: Callable[[Column], Column], columns: int) -> tuple[Column, Column]:
    first, last, low, high = (
        place(values) for values in (buckets.first, buckets.last, buckets.low, buckets.high)
    )
    return spans(buckets.place, first, last, low, high, buckets.joined, columns)


def layers(drawn: Sequence[Drawn], x: Scale, dots: int, smoothing: float) -> list[Layer]:
    """Return a layer of each series over ``dots`` columns: points after lines, the focused ones last."""
    found = []
    for series, curve in sorted(drawn, key=lambda pair: (pair[0].points, pair[0].focused)):
        raw = reduce(curve.x, curve.y, x, dots, curve.breaks, blocks=curve.blocks)
        average = None
        if smoothing > 0 and not series.points:
            smooth, blocks = curve.smoothed(smoothing), curve.smoothed_blocks
            average = reduce(curve.x, smooth, x, dots, curve.breaks, mean=True, blocks=blocks)
        found.append(Layer(series, curve, raw, average, logs=curve.log))
    return found


def fitted(found: Sequence[Layer], x: Scale, log: bool, fit: Fit) -> Scale:
    """Return the scale of the y axis on which what ``fit`` says of the layers can be seen, over ``x``."""
    chosen = found
    if fit == "focus":
        chosen = [layer for layer in found if layer.series.focused and len(layer.raw.low[layer.raw.inside])]
    elif fit == "lines":
        chosen = [
            layer for layer in found if not layer.series.points and len(layer.raw.low[layer.raw.inside])
        ]
    elif fit == "most":
        pieces = []
        for layer in found:
            begin, end = visible(layer.curve.x, x)
            pieces.append(layer.curve.y[begin : end : max(1, (end - begin) // _ENOUGH)])
        values = np.sort(np.concatenate(pieces)) if pieces else np.empty(0)
        if cut := int(_CUT * len(values)):
            return spread(float(values[cut]), float(values[-1 - cut]), log)
    return y_scale(chosen or found, log)


def y_scale(found: Sequence[Layer], log: bool) -> Scale:
    """Return the scale on which all that is visible of the layers can be seen."""
    for inside in (True, False):
        lows, highs = [], []
        for layer in found:
            part = layer.raw.inside if inside else slice(None)
            lows.append(layer.raw.low[part])
            highs.append(layer.raw.high[part])
            if layer.average is not None:
                values = layer.average.low[layer.average.inside if inside else slice(None)]
                values = 10**values if layer.logs else values
                values = values[np.isfinite(values)]  # a sum of huge values may not be
                lows.append(values)
                highs.append(values)
        low = min((float(np.min(values)) for values in lows if len(values)), default=None)
        high = max((float(np.max(values)) for values in highs if len(values)), default=None)
        if low is not None and high is not None:
            return spread(low, high, log)
    return Scale(0.1, 1.0, log=True) if log else Scale(0.0, 1.0)
