"""Legends: series with their newest values, or those under the crosshair, in the room that there is."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len

from nanoshell.dashboard.chart import words
from nanoshell.dashboard.chart.drawing import glyphs_for, sign
from nanoshell.dashboard.chart.palette import QUIET, TEXT, WARNING, bright, broken
from nanoshell.dashboard.panels.plain import plain
from nanoshell.dashboard.panels.words import cut_middle

if TYPE_CHECKING:
    from nanoshell.dashboard.chart.curve import ChartSeries, Curve
    from nanoshell.dashboard.chart.drawing import Frame
    from nanoshell.dashboard.chart.layers import Drawn
    from nanoshell.dashboard.chart.palette import Look
    from nanoshell.dashboard.course import Sight

Words = list[tuple[str, int]]
"""Pieces of text, each with the number of its style."""

_DIGITS = 4

_LEAST_NAME = 8
"""Where names of so many cells have no room, runs are left out instead."""

_PARTS = re.compile(r"[^-_. ]+[-_. ]*")


@dataclass(frozen=True)
class Detail:
    """How much is told: ``full`` names, ``averages``, ``points`` beside a line; ``digits`` of values.

    Without ``signs`` a name has the colour of its line instead.
    """

    full: bool = False
    averages: bool = False
    points: bool = True
    digits: int = _DIGITS
    signs: bool = True


DETAILS = (
    Detail(full=True, averages=True),
    Detail(full=True),
    Detail(averages=True),
    Detail(),
    Detail(digits=3),
    Detail(digits=3, points=False),
    Detail(digits=3, points=False, signs=False),
)
"""From the most that is told to the least."""


def short_names(names: Sequence[str]) -> list[str]:
    """Return of each of ``names`` the fewest last words that no other has: ``a`` of ``run-a-1``, ``run-b-1``.

    Words with which all end are left out, and a number alone keeps the word before it.
    """
    split = [_PARTS.findall(name) or [name] for name in names]
    spare = min(map(len, split), default=1) - 1
    tail = next((at for at in range(spare) if len({parts[-1 - at] for parts in split}) > 1), spare)
    ends = [parts[: len(parts) - tail] for parts in split]
    return [_fewest(parts, ends) for parts in ends] if len(split) > 1 else list(names)


def _fewest(parts: list[str], among: Sequence[list[str]]) -> str:
    for count in range(1, len(parts)):
        found = "".join(parts[-count:]).rstrip("-_. ")
        alike = sum(others[-count:] == parts[-count:] for others in among)
        if alike == 1 and any(map(str.isalpha, found)):
            return found
    return "".join(parts).rstrip("-_. ")


def entries(drawn: Sequence[Drawn]) -> list[list[Drawn]]:
    """Return what stands together in a legend: the series of one run; that of the focused run comes first."""
    found: dict[str | int, list[Drawn]] = {}
    for at, pair in enumerate(drawn):
        found.setdefault(pair[0].called or at, []).append(pair)
    return sorted(found.values(), key=lambda pairs: not pairs[0][0].focused)


def legend_words(
    title: str, drawn: Sequence[Drawn], frame: Frame, sight: Sight, look: Look, room: int
) -> Words:
    """Return the legend of ``drawn`` in ``room`` cells: all in as much detail as fits, else as many as do.

    Long names are cut in the middle before a run is left out; the first is told as long as its value fits.
    Under a ``title`` that says what a series is, its name is left out.
    """
    groups, glyphs = entries(drawn), glyphs_for(look, drawn)
    needed = glyphs or any(broken(series.colour, look) for series, _ in drawn)
    names = [plain(pairs[0][0].called, ascii=look.ascii) for pairs in groups]
    short = short_names(names)

    def told(names: Sequence[str], detail: Detail) -> list[Words]:
        return [
            _entry(pairs, name, title, frame, sight, detail, look, glyphs)
            for pairs, name in zip(groups, names, strict=True)
        ]

    allowed = [detail for detail in DETAILS if detail.signs or not (needed or not all(names))]
    pieces: list[Words] = []
    for detail in allowed:
        pieces = told(names if detail.full else short, detail)
        if _lengths(pieces) <= room:
            return [word for piece in pieces for word in piece]
    sizes, over = [cell_len(name) for name in short], _lengths(pieces) - room
    for width in range(max(sizes, default=0) - 1, _LEAST_NAME - 1, -1):
        if sum(max(0, size - width) for size in sizes) >= over:
            cut = told([_cut(name, width, look) for name in short], allowed[-1])
            if _lengths(cut) <= room:
                return [word for piece in cut for word in piece]
            break  # what is told of these series has no names
    found: Words = []
    for at, piece in enumerate(pieces):
        more = f" +{len(pieces) - at - (not at)}" if len(pieces) > 1 else ""
        if _lengths([piece]) + (len(more) if at + 1 < len(pieces) else 0) > room:
            if at:
                return [*found, (more, QUIET)]
            over = _lengths([piece]) + len(more) - room
            first = _cut(short[0], cell_len(short[0]) - over, look)
            piece = _entry(groups[0], first, title, frame, sight, allowed[-1], look, glyphs)
            return [*piece, *[(more, QUIET)] * bool(more)] if _lengths([piece]) + len(more) <= room else []
        found += piece
        room -= _lengths([piece])
    return found


def _cut(name: str, width: int, look: Look) -> str:
    """Return ``name`` in ``width`` cells; one letter of it at the least, where it has any."""
    return cut_middle(name, max(1, width), "~" if look.ascii else "…")


def _entry(
    pairs: Sequence[Drawn],
    name: str,
    title: str,
    frame: Frame,
    sight: Sight,
    detail: Detail,
    look: Look,
    glyphs: bool,
) -> Words:
    """Return what is told of the series ``pairs`` of one run: its ``name``, and the value of each."""
    found: Words = [(" " if detail.digits < _DIGITS else "  ", TEXT)]
    lines = [pair for pair in pairs if not pair[0].points]
    for at, (series, curve) in enumerate(pairs if detail.points or not lines else lines):
        colour = bright(series.colour)
        drawn_as = sign(series.colour, look, points=series.points, glyphs=glyphs)
        called = "" if at or series.name == title else name or plain(series.name, ascii=look.ascii)
        if detail.signs:
            found += [(f"{' ' if at else ''}{drawn_as} ", colour), (f"{called} " if called else "", TEXT)]
        else:
            found.append((f"{called} ", colour))
        index = curve.nearest(math.inf if sight.cursor is None else sight.cursor)
        found += [("-", QUIET)] if index is None else _value(series, curve, sight, index, detail)
        if index is not None and _is_elsewhere(curve, index, frame, sight):
            found.append((f" at {_place(float(curve.all_x[index]), sight)}", QUIET))
    return [word for word in found if word[0]]


def _lengths(pieces: Sequence[Words]) -> int:
    """Return how many cells ``pieces`` take together."""
    return sum(cell_len(text) for piece in pieces for text, _ in piece)


def _value(series: ChartSeries, curve: Curve, sight: Sight, index: int, detail: Detail) -> Words:
    """Return the value at the point ``index`` of ``curve``, and the average in brackets."""
    value = float(curve.all_y[index])
    marked = not math.isfinite(value) or (curve.log and value <= 0)
    found = [(words.short(value, detail.digits), WARNING if marked else TEXT)]
    if detail.averages and sight.smoothing > 0 and not series.points and not marked:
        found.append((f" ({words.short(curve.smoothed_at(index, sight.smoothing))})", QUIET))
    return found


def _place(x: float, sight: Sight) -> str:
    if sight.axis == "time":
        return words.duration(x)
    return f"{x:.0f}" if sight.axis == "step" and abs(x) < 1e6 else words.short(x)


def _is_elsewhere(curve: Curve, index: int, frame: Frame, sight: Sight) -> bool:
    """Return whether the point ``index``, nearest to the crosshair, is in another column than that."""
    if sight.cursor is None:
        return False
    places = (frame.x.place_of(float(curve.all_x[index])), frame.x.place_of(sight.cursor))
    return not abs(places[0] - places[1]) < 1 / frame.layout.columns
