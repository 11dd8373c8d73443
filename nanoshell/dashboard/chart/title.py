"""Titles: the line above a chart with the newest values of its series, or those under the crosshair."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nanoshell.dashboard.chart import words
from nanoshell.dashboard.chart.axes import MARK_GLYPHS, column_of
from nanoshell.dashboard.chart.drawing import glyphs_for, line_glyph, point_glyph
from nanoshell.dashboard.chart.palette import HEADING, QUIET, TEXT, WARNING, bright

if TYPE_CHECKING:
    from nanoshell.dashboard.chart.curve import Curve
    from nanoshell.dashboard.chart.drawing import Frame
    from nanoshell.dashboard.chart.layers import Drawn
    from nanoshell.dashboard.chart.palette import Look
    from nanoshell.dashboard.course import Axis, Mark, Sight

Words = list[tuple[str, int]]
"""Pieces of text, each with the number of its style."""


def place_words(x: float, axis: Axis) -> str:
    """Return how a place on ``axis`` is called: ``step 1250``, ``1.2M tokens``, ``1h05m``."""
    if axis == "time":
        return words.duration(x)
    text = f"{x:.0f}" if x == round(x) and abs(x) < 1e6 else words.short(x, 6)
    return f"step {text}" if axis == "step" else f"{words.short(x)} tokens"


def value_words(curve: Curve, sight: Sight, index: int, points: bool) -> Words:
    """Return the value at the point ``index`` of ``curve``, and the average in brackets."""
    value = float(curve.all_y[index])
    marked = not math.isfinite(value) or (curve.log and value <= 0)
    found = [(words.short(value), WARNING if marked else TEXT)]
    if sight.smoothing > 0 and not points and not marked:
        found.append((f" ({words.short(curve.smoothed_at(index, sight.smoothing))})", QUIET))
    return found


def _index_shown(curve: Curve, frame: Frame, sight: Sight) -> int | None:
    """Return the point that the title tells of: the nearest to the crosshair, or the newest."""
    if not len(curve.all_x):
        return None
    if sight.cursor is None:
        return len(curve.all_x) - 1
    room = frame.x.at(1 / frame.layout.columns) - frame.x.low if not frame.x.log else 0.0
    if not curve.all_x[0] - room <= sight.cursor <= curve.all_x[-1] + room:
        return None
    return curve.nearest(sight.cursor)


def title_words(
    title: str, unit: str, drawn: Sequence[Drawn], frame: Frame, sight: Sight, look: Look, width: int
) -> Words:
    """Return what stands above a chart ``width`` cells wide: as many series as there is room for."""
    head = f"{title} ({unit})" if unit else title
    found: Words = [(head[: max(1, width)], HEADING)]
    if sight.cursor is not None:
        found.append((f" at {place_words(sight.cursor, sight.axis)}", QUIET))
    if frame.misplaced:
        found.append((f" ({frame.misplaced} at {sight.axis} <= 0)", WARNING))
    room = width - sum(len(text) for text, _ in found)
    glyphs = glyphs_for(look, drawn)
    ordered = sorted(drawn, key=lambda pair: not pair[0].focused)
    for at, (series, curve) in enumerate(ordered):
        index = _index_shown(curve, frame, sight)
        sign = point_glyph(series.colour, glyphs) if series.points else line_glyph(series.colour)
        if not glyphs and not series.points:
            sign = "━"
        value: Words = [("-", QUIET)] if index is None else value_words(curve, sight, index, series.points)
        name = f"{series.name} " if series.name != title else ""
        for part in ([(name, TEXT), *value], value[:1] if at == 0 or not name else [(name, TEXT), value[0]]):
            piece = [("  ", TEXT), (sign + " ", bright(series.colour)), *part]
            if sum(len(text) for text, _ in piece) <= room - (4 if at + 1 < len(ordered) else 0):
                break
        else:
            if room >= 4 and at:
                found.append((f" +{len(ordered) - at}", QUIET))
            break
        found += piece
        room -= sum(len(text) for text, _ in piece)
    return [(_plain(text), style) for text, style in found] if look.ascii else found


def mark_words(marks: Sequence[Mark], frame: Frame, sight: Sight, look: Look) -> Words:
    """Return what the marks under the crosshair say; nothing where there are none."""
    if sight.cursor is None:
        return []
    columns = frame.layout.columns
    here = column_of(frame.x, columns, sight.cursor)
    found: Words = []
    for mark in marks:
        place = mark.along(sight.axis)
        if 0 <= here < columns and column_of(frame.x, columns, place) == here:
            style = WARNING if mark.kind == "alert" else TEXT
            glyph = MARK_GLYPHS[mark.kind][look.ascii]
            found.append((f"{glyph} {place_words(place, sight.axis)}: {mark.text}  ", style))
    return [(_plain(text), style) for text, style in found] if look.ascii else found


def _plain(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii")
