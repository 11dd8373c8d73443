"""Pictures: cells of characters and styles, into which dots and glyphs are drawn, as strips of a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.segment import Segment
from textual.strip import Strip

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.style import Style

    from nanoshell.dashboard.course import Column

    Cells = NDArray[np.int64]

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""The bits of a braille cell, from the top: of its left column of dots, and of its right one."""

_REACH = np.array(
    [[[sum(side[a:b]) for b in range(5)] for a in range(5)] for side in _DOTS], dtype=np.int64
)  # [side, first dot, dot after the last]


def braille(top: Column, bottom: Column, rows: int) -> Cells:
    """Return the bits (rows, columns / 2) of braille cells in which columns of dots are lit.

    ``top`` and ``bottom`` (columns,) are heights, 1 at the top of ``rows`` cells and 0 at their bottom;
    columns of NaN stay dark, and so does what is beyond.
    """
    first, after = _lit(top, bottom, 4 * rows)
    cell = 4 * np.arange(rows)[:, None]
    begin = np.clip(first[None, :] - cell, 0, 4)
    end = np.clip(after[None, :] - cell, 0, 4)
    left: Cells = _REACH[0][begin[:, 0::2], end[:, 0::2]]
    right: Cells = _REACH[1][begin[:, 1::2], end[:, 1::2]]
    return left | right


def blocks(top: Column, bottom: Column, rows: int) -> Cells:
    """Return which cells (rows, columns) are lit, as 1 and 0. The arguments are those of `braille`."""
    first, after = _lit(top, bottom, rows)
    cell = np.arange(rows)[:, None]
    return ((first[None, :] <= cell) & (cell < after[None, :])).astype(np.int64)


def height_row(height: Column, rows: int) -> Cells:
    """Return in which of ``rows`` rows, the first at the top, each of the heights (n,) stands (clipped)."""
    return np.clip(np.rint((1 - height) * (rows - 1)), -1, rows).astype(np.int64)


def _lit(top: Column, bottom: Column, rows: int) -> tuple[Cells, Cells]:
    """Return the first lit row of each column and the one after its last, equal where none is."""
    dark = ~((top >= bottom) & (bottom <= 1 + 1e-9) & (top >= -1e-9))
    first = height_row(np.where(dark, 0, np.minimum(top, 1)), rows)
    after = height_row(np.where(dark, 0, np.maximum(bottom, 0)), rows) + 1
    after[dark] = first[dark]
    return first, after


def crosses(codes: Cells, columns: Cells, rows: Cells, *, hollow: bool = False) -> NDArray[np.bool_]:
    """Light a plus of five dots around each of the dots (n,) in the braille cells ``codes`` (rows, columns).

    Where they are ``hollow`` that dot itself is put out. Returns which cells have dots of them. What else is
    lit in a cell stays lit; beyond the edges is nothing.
    """
    height, width = 4 * codes.shape[0], 2 * codes.shape[1]
    column = (columns[:, None] + np.array([0, -1, 1, 0, 0])[hollow:]).ravel()
    row = (rows[:, None] + np.array([0, 0, 0, -1, 1])[hollow:]).ravel()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    column, row = column[inside], row[inside]
    bits = np.zeros(codes.shape, dtype=np.int64)
    np.bitwise_or.at(bits, (row // 4, column // 2), np.array(_DOTS)[column % 2, row % 4])
    here: NDArray[np.bool_] = bits > 0
    codes[here] = np.where(codes[here] > 0x2800, codes[here], 0x2800) | bits[here]
    if hollow:
        middle = ~np.array(_DOTS)[columns % 2, rows % 4]
        lit = codes[rows // 4, columns // 2] > 0x2800
        np.bitwise_and.at(codes, (rows[lit] // 4, columns[lit] // 2), middle[lit])
    return here


class Picture:
    """Rows of cells, blank at first, into which characters are put with the number of a style."""

    def __init__(self, width: int, height: int) -> None:
        self.codes: Cells = np.full((height, width), 32, dtype=np.int64)
        self.styles: Cells = np.zeros((height, width), dtype=np.int64)

    def put(self, column: int, row: int, text: str, style: int) -> None:
        """Write ``text`` (characters one cell wide) from ``column`` on, but for what is beyond the edges."""
        height, width = self.codes.shape
        if not 0 <= row < height:
            return
        text, column = text[max(0, -column) :], max(0, column)
        end = min(width, column + len(text))
        if end > column:
            self.codes[row, column:end] = [ord(character) for character in text[: end - column]]
            self.styles[row, column:end] = style

    def paste(self, other: Picture, column: int, row: int) -> None:
        """Put all cells of ``other`` where there is room for them whole."""
        height, width = other.codes.shape
        self.codes[row : row + height, column : column + width] = other.codes
        self.styles[row : row + height, column : column + width] = other.styles

    def changes(self, before: Picture) -> dict[int, tuple[int, int]]:
        """Return the rows in which this looks other than ``before``, of one size, with the columns."""
        other = (self.codes != before.codes) | (self.styles != before.styles)
        rows = np.flatnonzero(other.any(axis=1))
        begins, ends = other[rows].argmax(axis=1), other.shape[1] - other[rows, ::-1].argmax(axis=1)
        return {row: (a, b) for row, a, b in zip(rows.tolist(), begins.tolist(), ends.tolist(), strict=True)}

    def strips(self, styles: Sequence[Style]) -> list[Strip]:
        """Return the rows as strips, ``styles`` being looked up by number."""
        return [strip for _, strip in self.some_strips(range(self.codes.shape[0]), styles)]

    def some_strips(self, rows: Sequence[int], styles: Sequence[Style]) -> list[tuple[int, Strip]]:
        """Return those of the strips that are in ``rows``, each with its row."""
        chosen = list(rows)
        codes, width = self.codes[chosen], self.codes.shape[1]
        text = codes.astype("<u4").tobytes().decode("utf-32-le")
        # A blank shows no colour: it goes with the cell before it, so that there are fewer segments.
        at = np.where(codes != 32, np.arange(width)[None, :], 0)
        shown = np.take_along_axis(self.styles[chosen], np.maximum.accumulate(at, axis=1), axis=1)
        changes = shown[:, 1:] != shown[:, :-1]
        found = []
        for index, row in enumerate(chosen):
            begin = index * width
            cuts = [0, *(np.flatnonzero(changes[index]) + 1).tolist(), width]
            numbers = shown[index, cuts[:-1]].tolist()
            segments = [
                Segment(text[begin + a : begin + b], styles[number])
                for a, b, number in zip(cuts, cuts[1:], numbers, strict=False)
            ]
            found.append((row, Strip(segments, width)))
        return found
