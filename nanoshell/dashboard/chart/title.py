"""Titles: the line above a chart with the newest values of its series, or those under the crosshair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size

from nanoshell.dashboard.chart import words
from nanoshell.dashboard.chart.axes import MARK_GLYPHS, MARK_RANK, column_of
from nanoshell.dashboard.chart.legend import Words as Words, legend_words
from nanoshell.dashboard.chart.palette import HEADING, QUIET, TEXT, WARNING
from nanoshell.dashboard.panels.plain import plain

if TYPE_CHECKING:
    from nanoshell.dashboard.chart.drawing import Frame
    from nanoshell.dashboard.chart.layers import Drawn
    from nanoshell.dashboard.chart.palette import Look
    from nanoshell.dashboard.course import Axis, Mark, Sight


_LEAST_LEGEND, _MANY = 24, 1e6
"""Where a legend would have fewer cells, a step of so many is written short."""


def place_words(x: float, axis: Axis, *, short: bool = False) -> str:
    """Return how a place on ``axis`` is called: ``step 43,170``, ``1.2M tokens``, ``1h05m``.

    A step may be ``short``: ``step 1.235M``.
    """
    if axis == "time":
        return words.duration(x)
    if axis == "tokens":
        return f"{words.short(x)} tokens"
    return f"step {words.short(x)}" if short else f"step {x:,.0f}" if x == round(x) else f"step {x:,.6g}"


def title_words(
    title: str, unit: str, drawn: Sequence[Drawn], frame: Frame, sight: Sight, look: Look, width: int
) -> Words:
    """Return what stands above a chart ``width`` cells wide: as many series as there is room for."""
    head = plain(f"{title} ({unit})" if unit else title, ascii=look.ascii)
    found: Words = [(head if cell_len(head) <= width else set_cell_size(head, max(1, width)), HEADING)]
    if sight.cursor is not None:
        said = place_words(sight.cursor, sight.axis)
        if width - cell_len(f"{head} at {said}") < _LEAST_LEGEND and abs(sight.cursor) >= _MANY:
            said = place_words(sight.cursor, sight.axis, short=True)
        found.append((f" at {said}", QUIET))
    if frame.misplaced:
        found.append((f" ({frame.misplaced} at {sight.axis} <= 0)", WARNING))
    room = width - sum(cell_len(text) for text, _ in found)
    return found + legend_words(title, drawn, frame, sight, look, room)


def mark_words(marks: Sequence[Mark], frame: Frame, sight: Sight, look: Look) -> Words:
    """Return what the marks under the crosshair say, alerts first; nothing where there are none."""
    if sight.cursor is None:
        return []
    columns = frame.layout.columns
    here = column_of(frame.x, columns, sight.cursor)
    if not 0 <= here < columns:
        return []
    near = [mark for mark in marks if column_of(frame.x, columns, mark.along(sight.axis)) == here]
    saved = [mark for mark in near if mark.kind == "checkpoint"]
    found: Words = []
    for mark in sorted(near, key=lambda mark: -MARK_RANK[mark.kind]):
        text = mark.text if mark.kind in ("checkpoint", "resume") else f"{_placed(mark, sight)}: {mark.text}"
        if mark.kind == "checkpoint" and len(saved) > 1:
            if mark is not saved[0]:
                continue
            text = f"{len(saved)} checkpoints, steps {saved[0].step:,.0f} to {saved[-1].step:,.0f}"
        style = WARNING if mark.kind == "alert" else TEXT
        found.append((f"{MARK_GLYPHS[mark.kind][look.ascii]} {plain(text, ascii=look.ascii)}  ", style))
    return found


def _placed(mark: Mark, sight: Sight) -> str:
    return place_words(mark.along(sight.axis), sight.axis)
