"""Axes: the frame of a chart, its ticks and labels, and the marks that stand on it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nanoshell.dashboard.chart import words
from nanoshell.dashboard.chart.palette import HEADING, QUIET, TEXT, WARNING
from nanoshell.dashboard.chart.picture import height_row
from nanoshell.dashboard.chart.scale import Scale, tick_step, ticks

if TYPE_CHECKING:
    from nanoshell.dashboard.chart.picture import Cells, Picture
    from nanoshell.dashboard.course import Axis, Mark

_NARROW_GUTTER = 7
"""Cells of the labels of the y axis and its line, as a rule."""

MARK_RANK = {"checkpoint": 0, "resume": 1, "control": 2, "alert": 3}
"""Which mark is shown where several share a cell: the highest."""

_CROWDED = ("═", "=")
"""What the axis is drawn as where checkpoints stand in one column after another; its ticks stay."""

MARK_GLYPHS = {"checkpoint": ("▪", "#"), "resume": ("↻", ">"), "control": ("◆", "o"), "alert": ("!", "!")}
"""What marks are drawn as, and in ASCII."""


_MARK_STYLES = {"checkpoint": QUIET, "alert": WARNING}
"""Checkpoints are many and as they should be: they keep back."""


_ROUNDNESS = {digit: 0 if digit == "1" else 1 if digit in "25" else 2 for digit in "123456789"}
"""Which ticks of a logarithmic axis keep their labels where there is not room for all: by first digits."""


@dataclass(frozen=True)
class Layout:
    """Where things stand in a chart of ``width`` x ``height`` cells; the plot is ``columns`` x ``rows``."""

    width: int
    height: int
    gutter: int

    @property
    def columns(self) -> int:
        """How many cells the plot is wide."""
        return max(1, self.width - self.gutter)

    @property
    def top(self) -> int:
        """The first row of the plot; the title is above it."""
        return 1 if self.height >= 2 else 0

    @property
    def rows(self) -> int:
        """How many cells the plot is high."""
        return max(
            1, self.height - self.top - (1 if self.height >= 4 else 0) - (1 if self.height >= 5 else 0)
        )

    @property
    def axis_row(self) -> int:
        """The row of the x axis (beyond the last where there is no room)."""
        return self.top + self.rows

    @property
    def label_row(self) -> int:
        """The row of the x axis's labels (beyond the last where there is no room)."""
        return self.axis_row + 1


@functools.lru_cache(maxsize=128)
def y_labels(scale: Scale, rows: int, dots: int = 1) -> Sequence[tuple[int, str]]:
    """Return the labels of the y axis with their rows, from the top, none in the same row or the next.

    A tick stands in the row in which a line at its value is drawn, a row having ``dots`` of them. The ends of
    the axis have a label, too, where no tick is near.
    """
    values = ticks(scale, max(2, min((rows + 1) // 2, 11))) if rows > 3 else []
    while not scale.log and len(values) > 2 and 1 in np.diff(_rows_of(values, scale, rows, dots)[::-1]):
        fewer = ticks(scale, len(values) - 1)  # all of them, rather than some at uneven distances
        if len(fewer) < 2:
            break
        values = fewer
    if len(values) < 2:
        ends = [(0, words.short(scale.high, 3)), (rows - 1, words.short(scale.low, 3))]
        return ends if rows > 1 else ends[:1]
    # A logarithmic axis that shows less than a decade or so has ticks of equal distance.
    even = not scale.log or tick_step(values) * 1.5 > values[-1] - values[-2]
    texts = words.labels(values, tick_step(values)) if even else words.log_labels(values)
    places = _rows_of(values, scale, rows, dots).tolist()
    found: list[tuple[int, str]] = []
    by_roundness = [_ROUNDNESS[f"{value:e}"[0]] if scale.log else 0 for value in values]
    for _, row, text in sorted(zip(by_roundness, places, texts, strict=True)):
        if all(abs(row - other) >= 2 for other, _ in found):
            found.append((row, text))
    for row, value in ((0, scale.high), (rows - 1, scale.low)):
        if all(abs(row - other) >= 2 for other, _ in found):
            found.append((row, _end_label(value, values) if even else words.short(value, 3)))
    return sorted(found)


def _rows_of(values: list[float], scale: Scale, rows: int, dots: int) -> Cells:
    """Return the rows (n,) in which lines at ``values`` are drawn."""
    found: Cells = height_row(scale.place(np.array(values)), dots * rows) // dots
    return found


def _end_label(value: float, values: list[float]) -> str:
    """Return the label of an end of the axis with the ticks ``values``: finer than theirs if need be."""
    coarse, fine = (words.labels([value, *values], tick_step(values) / part)[0] for part in (1, 10))
    return coarse if fine == f"{coarse}0" else fine


def gutter_for(labels: Sequence[tuple[int, str]], width: int, before: int = 0) -> int:
    """Return how many cells labels and line of the y axis take, never fewer than ``before``: it is stable."""
    if width < 16:
        return 0
    needed = max((len(text) for _, text in labels), default=0) + 1
    return min(max(before, needed, _NARROW_GUTTER), max(_NARROW_GUTTER, width // 3))


@functools.lru_cache(maxsize=32)
def x_labels(scale: Scale, columns: int, axis: Axis) -> Sequence[tuple[int, int, str]]:
    """Return the labels of the x axis: the column of the tick, where the text begins, and the text."""
    for most in range(min(20, columns // 5 + 1), 0, -1):
        values = ticks(scale, most, whole=axis != "time", time=axis == "time" and not scale.log)
        step = tick_step(values)
        even = not scale.log or len(values) < 3 or step * 1.5 > values[-1] - values[-2]
        if axis == "time":
            texts = [words.duration(value, step if even and step else 1e-3) for value in values]
            if not even:
                texts = [words.duration(value, 1 if value >= 1 else value) for value in values]
        else:
            texts = words.labels(values, step) if even else words.log_labels(values)
        found = _fitting(scale, columns, values, texts)
        if found is not None:
            return found
    return []


def _fitting(
    scale: Scale, columns: int, values: list[float], texts: list[str]
) -> list[tuple[int, int, str]] | None:
    """Return the labels where they stand, None where two would touch or one does not fit."""
    found: list[tuple[int, int, str]] = []
    free = 0
    for value, text in zip(values, texts, strict=True):
        column = max(0, min(columns - 1, column_of(scale, columns, value)))
        begin = max(0, min(columns - len(text), column - len(text) // 2))
        if len(text) > columns or begin < free:
            return None
        found.append((column, begin, text))
        free = begin + len(text) + 2
    return found


def column_of(scale: Scale, columns: int, value: float) -> int:
    """Return the column of ``columns`` in which ``value`` stands; beyond them where it is outside."""
    place = scale.place_of(value)
    if not 0 <= place <= 1:
        return -1 if not place > 1 else columns
    return min(columns - 1, int(place * columns))


def draw_axes(
    picture: Picture, layout: Layout, x: Scale, labels: Sequence[tuple[int, str]], axis: Axis, plain: bool
) -> None:
    """Draw the lines of both axes, their ticks and ``labels`` (of the y axis); ``plain`` in ASCII.

    What stands along the x axis is said beside its labels.
    """
    side, tick, corner, floor, below = "|++-+" if plain else "│┤└─┬"
    if layout.gutter:
        for row in range(layout.rows):
            picture.put(layout.gutter - 1, layout.top + row, side, QUIET)
        room = layout.gutter - 1
        for row, text in labels:
            picture.put(room - len(text[:room]), layout.top + row, text[:room], TEXT)
            picture.put(room, layout.top + row, tick, QUIET)
        picture.put(layout.gutter - 1, layout.axis_row, corner, QUIET)
        picture.put(layout.gutter - 1 - len(axis), layout.label_row, axis, QUIET)
    picture.put(layout.gutter, layout.axis_row, floor * layout.columns, QUIET)
    for column, begin, text in x_labels(x, layout.columns, axis):
        picture.put(layout.gutter + column, layout.axis_row, below, QUIET)
        picture.put(layout.gutter + begin, layout.label_row, text, TEXT)


def draw_marks(
    picture: Picture, layout: Layout, x: Scale, marks: Sequence[Mark], axis: Axis, plain: bool
) -> None:
    """Draw ``marks`` on the line of the x axis, and a faint line where there is an alert.

    Checkpoints that stand close together thicken the axis, and of alerts only the first has a line.
    """
    places = {(column_of(x, layout.columns, mark.along(axis)), mark.kind) for mark in marks}
    for column, kind in sorted(places, key=lambda pair: (MARK_RANK[pair[1]], pair[0])):
        if not 0 <= column < layout.columns:
            continue
        at, glyph = layout.gutter + column, MARK_GLYPHS[kind][plain]
        if kind == "checkpoint" and {(column - 1, kind), (column + 1, kind)} & places:
            below = picture.codes[layout.axis_row : layout.axis_row + 1, at]
            below[below == ord("-" if plain else "─")] = ord(_CROWDED[plain])
            continue
        picture.put(at, layout.axis_row, glyph, _MARK_STYLES.get(kind, HEADING))
        if kind == "alert" and (column - 1, kind) not in places:
            plot = slice(layout.top, layout.top + layout.rows)
            blank = np.flatnonzero(picture.codes[plot, at] == 32) + layout.top
            picture.codes[blank, at] = ord(":" if plain else "┊")
            picture.styles[blank, at] = QUIET
