"""A small line chart in text: braille dots where the terminal has them, plain characters elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

WIDTH = 60
"""Columns of the whole chart, labels included."""
ROWS = 7
"""Rows of the plot; the axis and its labels take two more."""

_DOTS_ACROSS, _DOTS_DOWN = 2, 4
_BRAILLE = 0x2800
_BIT = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))

Span = tuple[int, int]


def draw(
    points: Sequence[tuple[float, float]],
    *,
    x_label: str = "",
    width: int = WIDTH,
    rows: int = ROWS,
    plain: bool = False,
) -> list[str]:
    """Return the lines of a chart of ``points`` (x, y) by rising x; none where fewer than two are finite.

    A column shows the whole span from the least to the largest y that falls into it: no spike is lost.
    ``plain`` draws in ASCII.
    """
    finite = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if len(finite) < 2:
        return []
    low, high = min(y for _, y in finite), max(y for _, y in finite)
    labels = [_label(high), _label((high + low) / 2), _label(low)]
    gutter = max(map(len, labels))
    columns = max(8, width - gutter - 2)
    across, down = (1, 1) if plain else (_DOTS_ACROSS, _DOTS_DOWN)
    spans = _spans(finite, columns * across, rows * down, low, high)
    cells = _plain_cells(spans, columns, rows) if plain else _braille_cells(spans, columns, rows)
    side, tick, corner, floor = ("|", "+", "+", "-") if plain else ("│", "┤", "└", "─")
    marked = {0: labels[0], rows // 2: labels[1], rows - 1: labels[2]}
    lines = [
        f"{marked.get(row, ''):>{gutter}} {tick if row in marked else side}{''.join(cells[row])}".rstrip()
        for row in range(rows)
    ]
    lines.append(f"{'':>{gutter}} {corner}{floor * columns}")
    lines.append(f"{'':>{gutter}}  {_ends(finite[0][0], finite[-1][0], x_label, columns)}".rstrip())
    return lines


def _ends(first: float, last: float, label: str, columns: int) -> str:
    """Return the two ends of the x axis and its label, as much of them as fits."""
    for left, right in ((f"{first:g}", f"{last:g} {label}".strip()), (f"{first:g}", f"{last:g}")):
        if len(left) + 1 + len(right) <= columns:
            return f"{left}{right:>{columns - len(left)}}"
    return ""


def _label(value: float) -> str:
    return f"{value:.3g}"


def _spans(
    points: Sequence[tuple[float, float]], columns: int, rows: int, low: float, high: float
) -> list[Span | None]:
    """Return for each column of dots the rows (counted from the top) from which to which it is filled.

    Neighbouring columns are joined: a span reaches to where the one before it ended, and a column without a
    point gets the line between its neighbours.
    """
    first, last = points[0][0], points[-1][0]
    found: list[Span | None] = [None] * columns
    ends: list[tuple[int, int]] = []
    for x, y in points:
        column = round((x - first) / (last - first) * (columns - 1)) if last > first else 0
        row = round((high - y) / (high - low) * (rows - 1)) if high > low else rows // 2
        span = found[column]
        found[column] = (row, row) if span is None else (min(span[0], row), max(span[1], row))
        ends.append((column, row))
    for (column, row), (next_column, next_row) in pairwise(ends):
        for step in range(1, next_column - column + 1):
            share = step / (next_column - column)
            before = row + (next_row - row) * (step - 1) / (next_column - column)
            here = row + (next_row - row) * share
            top, bottom = round(min(before, here)), round(max(before, here))
            span = found[column + step]
            if span is not None:
                top, bottom = min(top, span[0]), max(bottom, span[1])
            found[column + step] = (top, bottom)
    return found


def _braille_cells(spans: Sequence[Span | None], columns: int, rows: int) -> list[list[str]]:
    bits = [[0] * columns for _ in range(rows)]
    for x, span in enumerate(spans):
        if span is None:
            continue
        for y in range(span[0], span[1] + 1):
            bits[y // _DOTS_DOWN][x // _DOTS_ACROSS] |= _BIT[x % _DOTS_ACROSS][y % _DOTS_DOWN]
    return [[chr(_BRAILLE + cell) if cell else " " for cell in row] for row in bits]


def _plain_cells(spans: Sequence[Span | None], columns: int, rows: int) -> list[list[str]]:
    cells = [[" "] * columns for _ in range(rows)]
    for x, span in enumerate(spans):
        if span is not None:
            for y in range(span[0], span[1] + 1):
                cells[y][x] = "*"
    return cells
