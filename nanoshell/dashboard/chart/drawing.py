"""Drawing: a whole chart but for its title and crosshair, as a picture, from series and a view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nanoshell.dashboard.chart import words
from nanoshell.dashboard.chart.axes import Layout, draw_axes, draw_marks, gutter_for, y_labels
from nanoshell.dashboard.chart.layers import EDGE, Layer, fitted, layers
from nanoshell.dashboard.chart.navigate import Span, seen
from nanoshell.dashboard.chart.palette import (
    LINE_GLYPHS,
    POINT_GLYPHS,
    QUIET,
    WARNING,
    Look,
    bright,
    broken,
    faint,
)
from nanoshell.dashboard.chart.picture import Picture, blocks, braille, crosses, height_row
from nanoshell.dashboard.chart.reduce import starts, visible
from nanoshell.dashboard.chart.scale import Scale, settled

if TYPE_CHECKING:
    from nanoshell.dashboard.chart.layers import Drawn
    from nanoshell.dashboard.course import Mark, Sight

BAD_GLYPHS = {0.0: ("×", "x"), 1.0: ("▲", "^"), -1.0: ("▼", "v")}
"""What marks a NaN, a value above and one below any height, and in ASCII."""

POINT, HOLLOW_POINT = "●", "○"

WHOLE_LINE, BROKEN_LINE = "━", "╍"
"""What lines of dots are in legends."""

_DASH, _GAP = 4, 2
"""Dots of a broken line in turn, lit and dark: whole cells, of two dots each."""

_CLOSE = 4
"""Where points stand in more than one of so many columns they would hide lines: then so many share two."""


@dataclass(frozen=True)
class Frame:
    """A chart that has been drawn: its cells, where they stand, and the scales of what is shown.

    ``misplaced`` counts the points that have no place on a logarithmic x axis.
    """

    picture: Picture
    layout: Layout
    x: Scale
    y: Scale
    layers: tuple[Layer, ...]
    misplaced: int = 0


def glyphs_for(look: Look, drawn: Sequence[Drawn]) -> bool:
    """Return whether lines are drawn as a glyph for each colour: in ASCII, and where there are no colours."""
    return look.ascii or (look.depth == "mono" and len({series.colour for series, _ in drawn}) > 1)


def line_glyph(colour: int) -> str:
    """Return what the line of ``colour`` is drawn with where there is no colour."""
    return LINE_GLYPHS[colour % len(LINE_GLYPHS)]


def point_glyph(colour: int) -> str:
    """Return what the points of ``colour`` are marked with where there is no colour."""
    return POINT_GLYPHS[colour % len(POINT_GLYPHS)]


def sign(colour: int, look: Look, *, points: bool, glyphs: bool) -> str:
    """Return what stands for a line, or for ``points``, of ``colour`` in words about them."""
    if glyphs:
        return point_glyph(colour) if points else line_glyph(colour)
    if points:
        return HOLLOW_POINT if broken(colour, look) else POINT
    return BROKEN_LINE if broken(colour, look) else WHOLE_LINE


def draw(
    drawn: Sequence[Drawn],
    marks: Sequence[Mark],
    sight: Sight,
    span: Span,
    look: Look,
    size: tuple[int, int],
    *,
    log_y: bool = False,
    gutter: int = 0,
    before: Scale | None = None,
    empty: str = "no data yet",
) -> Frame:
    """Return the chart of ``drawn`` in a ``size`` (width, height), as ``sight`` shows data of ``span``.

    ``gutter`` is the least that the labels of the y axis take, ``before`` the y axis to stay with if it fits.
    ``empty`` is said where there is nothing to draw.
    """
    width, height = size
    x = seen(sight, span)
    glyphs = glyphs_for(look, drawn)
    across, down = (1, 1) if glyphs else (2, 4)
    # The width of the labels depends on what is seen, and that on the width only through the columns: the
    # extremes are those of the same points, so one turn settles it.
    found: list[Layer] = []
    while True:
        layout = Layout(width, height, gutter)
        found = layers(drawn, x, across * layout.columns, sight.smoothing)
        y = fitted(found, x, log_y, sight.fit)
        y = y if before is None else settled(y, before)
        labels = y_labels(y, layout.rows, down)
        needed = gutter_for(labels, width, gutter)
        if needed <= gutter or width < 16:
            break
        gutter = needed
    picture = Picture(width, height)
    plot = Picture(layout.columns, layout.rows)
    _draw_lines(plot, found, y, look, glyphs)
    for layer in found:
        if layer.series.points:
            _draw_points(plot, layer, y, look, glyphs)
    if sight.fit != "all":
        for above in (True, False):
            _draw_outside(plot, found, y, across, above=above, plain=look.ascii)
    for layer in found:
        _draw_bad(plot, layer, x, look.ascii)
    if not any(len(curve.all_x) for _, curve in drawn):
        text = empty[: layout.columns]
        plot.put((layout.columns - len(text)) // 2, layout.rows // 2, text, QUIET)
    picture.paste(plot, layout.gutter, layout.top)
    draw_axes(picture, layout, x, labels, sight.axis, look.ascii)
    draw_marks(picture, layout, x, marks, sight.axis, look.ascii)
    misplaced = 0
    if sight.log_x:
        misplaced = sum(int(np.searchsorted(curve.all_x, 0, "right")) for _, curve in drawn)
        if misplaced:
            picture.put(layout.gutter, layout.axis_row, "<" if look.ascii else "◂", WARNING)
    return Frame(picture, layout, x, y, tuple(found), misplaced)


def _draw_lines(plot: Picture, found: Sequence[Layer], y: Scale, look: Look, glyphs: bool) -> None:
    """Draw raw lines, then the averages over them: a cell has one colour, the last one's.

    Points are joined by a dotted line, beneath all others, where there are dots to draw it with. A line that
    `broken` has broken keeps what is steep, so that no spike is lost.
    """
    rows, columns = plot.codes.shape
    dots = columns if glyphs else 2 * columns
    for smooth in (False, True):
        lit = np.zeros((rows, columns), dtype=np.int64)
        styles = np.zeros((rows, columns), dtype=np.int64)
        for layer in sorted(found, key=lambda layer: not layer.series.points):
            points = layer.series.points
            if (points and (glyphs or smooth)) or (smooth and layer.average is None):
                continue
            low, high = layer.average_heights(y, dots) if smooth else layer.raw_heights(y, dots)
            if points:
                low[1::2] = np.nan
            elif not glyphs and broken(layer.series.colour, look) and (smooth or layer.average is None):
                gaps = np.arange(dots) % (_DASH + _GAP) >= _DASH
                low[gaps & (high - low < 1 / rows)] = np.nan
            bits = (blocks if glyphs else braille)(high, low, rows)
            style = faint if points or (not smooth and layer.average is not None) else bright
            here = bits > 0
            styles[here] = style(layer.series.colour)
            if not glyphs:
                lit |= bits
            elif smooth or layer.average is None:
                lit[here] = ord(line_glyph(layer.series.colour))
            else:
                lit[here] = ord(".")
        here = lit > 0
        plot.codes[here] = lit[here] if glyphs else lit[here] | 0x2800
        plot.styles[here] = styles[here]


def _draw_points(plot: Picture, layer: Layer, y: Scale, look: Look, glyphs: bool) -> None:
    """Mark the extremes of each column's points; where these are close, those of a few columns together."""
    rows, width = plot.codes.shape
    across, down = (1, 1) if glyphs else (2, 4)
    inside = layer.raw.inside
    columns = layer.raw.place[inside].astype(np.intp)
    together = _CLOSE * across if _CLOSE * len(columns) > width else 1
    parts = np.split(np.arange(len(columns)), np.flatnonzero(np.diff(columns // together)) + 1)
    for values, extreme in ((layer.raw.low[inside], np.argmin), (layer.raw.high[inside], np.argmax)):
        kept = np.array([part[extreme(values[part])] for part in parts if len(part)], dtype=np.intp)
        places = y.place(values[kept])
        kept = kept[(places >= -EDGE) & (places <= 1 + EDGE)]
        where = np.clip(height_row(y.place(values[kept]), down * rows), 0, down * rows - 1)
        if glyphs:
            plot.codes[where, columns[kept]] = ord(point_glyph(layer.series.colour))
            plot.styles[where, columns[kept]] = bright(layer.series.colour)
        else:
            hollow = broken(layer.series.colour, look)
            plot.styles[crosses(plot.codes, columns[kept], where, hollow=hollow)] = bright(
                layer.series.colour
            )


def _draw_outside(
    plot: Picture, found: Sequence[Layer], y: Scale, across: int, *, above: bool, plain: bool
) -> None:
    """Mark at an edge what is beyond it, in the colours of the series, and write the furthest value there."""
    rows, width = plot.codes.shape
    row, glyph = (0 if above else rows - 1), BAD_GLYPHS[1.0 if above else -1.0][plain]
    furthest: tuple[float, int, int] | None = None
    for layer in found:
        beyond = layer.outside(y, above=above)
        if beyond is None:
            continue
        columns, colour = beyond.columns.astype(np.intp) // across, bright(layer.series.colour)
        plot.codes[row, columns] = ord(glyph)
        plot.styles[row, columns] = colour
        value, column = float(beyond.values[beyond.furthest]), int(columns[beyond.furthest])
        if furthest is None or (value > furthest[0] if above else value < furthest[0]):
            furthest = (value, column, colour)
    if furthest is not None:
        value, column, colour = furthest
        text = words.short(value, 3)
        fits = column + 1 + len(text) <= width
        plot.put(column + 1 if fits else column - len(text), row, text, colour)


def _draw_bad(plot: Picture, layer: Layer, x: Scale, plain: bool) -> None:
    """Mark what has no height: NaN and Inf at the top edge, the others at the bottom edge."""
    rows, columns = plot.codes.shape
    places, kinds = layer.curve.bad_x, layer.curve.bad_kind
    begin, end = visible(places, x)
    if begin == end:
        return
    for kind in (1.0, -1.0, 0.0):
        of_kind = places[begin:end][kinds[begin:end] == kind]
        filled, _, _ = starts(of_kind, x, columns)
        row = rows - 1 if kind < 0 else 0
        plot.codes[row, filled] = ord(BAD_GLYPHS[kind][plain])
        plot.styles[row, filled] = WARNING
