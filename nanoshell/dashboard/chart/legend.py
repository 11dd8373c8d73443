"""Legends: series with their newest values, or those under the crosshair, in the room that there is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len

from nanoshell.dashboard.chart import words
from nanoshell.dashboard.chart.drawing import glyphs_for, sign
from nanoshell.dashboard.chart.names import cut_apart, short_names, without_shared
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

_LEAST_NAME = 6
"""Where names of so many cells have no room, shorter words of them stand there, or runs are left out."""

_ENDED = 2
"""The rank of runs that are told last; 0 is that of the first."""


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


def entries(drawn: Sequence[Drawn], frame: Frame, sight: Sight) -> tuple[list[list[Drawn]], int]:
    """Return what stands together in a legend, the series of one run, and how many of the last have ended.

    That is before the crosshair. First come runs that have a value there, of them the focused one.
    """
    found: dict[str | int, list[Drawn]] = {}
    for at, pair in enumerate(drawn):
        found.setdefault(pair[0].called or at, []).append(pair)
    ranks = {key: _rank(pairs, frame, sight) for key, pairs in found.items()}
    order = sorted(found, key=lambda key: (ranks[key], not found[key][0][0].focused))
    ended = list(ranks.values()).count(_ENDED)
    return [found[key] for key in order], ended if ended < len(order) else 0


def _rank(pairs: Sequence[Drawn], frame: Frame, sight: Sight) -> int:
    """Return 0 for a run that has a value at the crosshair, `_ENDED` for one whose line ends before it.

    One that goes on and has no value there yet is told as long as its newest is in the same column.
    """
    series, curve = next((pair for pair in pairs if not pair[0].points), pairs[0])
    if sight.cursor is None or not len(curve.all_x):
        return 0
    last = float(curve.all_x[-1])
    if series.ended and last < sight.cursor and _place(last, sight) != _place(sight.cursor, sight):
        return _ENDED - series.points
    outside = not curve.all_x[0] <= sight.cursor <= curve.all_x[-1]
    if not outside or not _is_apart(float(curve.all_x[curve.nearest(sight.cursor) or 0]), frame, sight):
        return 0
    return _ENDED if curve.all_x[-1] < sight.cursor and not series.points else _ENDED - 1


def legend_words(
    title: str, drawn: Sequence[Drawn], frame: Frame, sight: Sight, look: Look, room: int
) -> Words:
    """Return the legend of ``drawn`` in ``room`` cells: all in as much detail as fits, else as many as do.

    Runs that have ended before the crosshair are left out before the others are told with less; names lose
    what all share, and their middle as far as they stay apart. The first is told as long as its value fits.
    Under a ``title`` that says what a series is, its name is left out.
    """
    groups, ended = entries(drawn, frame, sight)
    glyphs = glyphs_for(look, drawn)
    needed = glyphs or any(broken(series.colour, look) for series, _ in drawn)
    names = [plain(pairs[0][0].called, ascii=look.ascii) for pairs in groups]
    apart, short = without_shared(names), short_names(names)
    counts = (len(groups), len(groups) - ended) if ended else (len(groups),)

    def told(names: Sequence[str], detail: Detail) -> list[Words]:
        return [
            _ending(pairs, name, sight, detail, look, glyphs)
            if at >= len(groups) - ended
            else _entry(pairs, name, title, frame, sight, detail, look, glyphs)
            for at, (pairs, name) in enumerate(zip(groups, names, strict=False))
        ]

    def whole(names: Sequence[str], detail: Detail, *, cut: bool = False) -> Words:
        """Return all in so much ``detail``, else all but those that have ended; nothing if too wide."""
        for count in counts if not detail.averages and not detail.full else counts[:1]:
            rest: list[Words] = [[(f" +{len(groups) - count}", QUIET)]] if count < len(groups) else []
            pieces = [*told(names[:count], detail), *rest]
            over = _lengths(pieces) - room
            if cut and over > 0:
                shorter = _shorter(names[:count], over, look)
                pieces = [*told(shorter, detail), *rest] if shorter else pieces
            if _lengths(pieces) <= room:
                return [word for piece in pieces for word in piece]
        return []

    for detail in DETAILS[:-1]:
        if found := whole(names if detail.full else apart, detail):
            return found
    few = DETAILS[-2:] if not (needed or not all(names)) else DETAILS[-2:-1]
    for shown in (apart, short):
        for detail, cut in (*((detail, False) for detail in few), (few[-1], True)):
            if found := whole(shown, detail, cut=cut):
                return found

    def first(over: int) -> Words:
        return told([_cut(short[0], cell_len(short[0]) - over, look)], few[-1])[0]

    return _as_many(told(short, few[-1]), first, room)


def _shorter(names: Sequence[str], over: int, look: Look) -> list[str]:
    """Return ``names`` cut as far as takes ``over`` cells less, and stay apart; [] where they cannot."""
    sizes = [cell_len(name) for name in names]
    for width in range(max(sizes, default=0) - 1, _LEAST_NAME - 1, -1):
        if sum(max(0, size - width) for size in sizes) >= over:
            cut = cut_apart(names, width, "~" if look.ascii else "…")
            if cut is not None:
                return cut
    return []


def _as_many(pieces: Sequence[Words], first: Callable[[int], Words], room: int) -> Words:
    """Return as many of ``pieces`` as fit, and how many do not; ``first`` tells the first so much shorter."""
    found: Words = []
    for at, piece in enumerate(pieces):
        more = f" +{len(pieces) - at - (not at)}" if len(pieces) > 1 else ""
        if _lengths([piece]) + (len(more) if at + 1 < len(pieces) else 0) > room:
            if at:
                return [*found, (more, QUIET)]
            piece = first(_lengths([piece]) + len(more) - room)
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
        if index is not None and _is_elsewhere(series, curve, index, frame, sight):
            found.append((f" at {_place(float(curve.all_x[index]), sight)}", QUIET))
    return [word for word in found if word[0]]


def _ending(
    pairs: Sequence[Drawn], name: str, sight: Sight, detail: Detail, look: Look, glyphs: bool
) -> Words:
    """Return what is told of a run that has ended before the crosshair: where."""
    series, curve = next(pair for pair in pairs if not pair[0].points)
    called, colour = name or plain(series.name, ascii=look.ascii), bright(series.colour)
    found: Words = [(" " if detail.digits < _DIGITS else "  ", TEXT)]
    if detail.signs:
        drawn_as = sign(series.colour, look, points=False, glyphs=glyphs)
        found += [(f"{drawn_as} ", colour), (called, TEXT)]
    else:
        found.append((called, colour))
    return [*found, (f" until {_place(float(curve.all_x[-1]), sight)}", QUIET)]


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
    return f"{x:,.0f}" if sight.axis == "step" and abs(x) < 1e6 else words.short(x, 6)


def _is_elsewhere(series: ChartSeries, curve: Curve, index: int, frame: Frame, sight: Sight) -> bool:
    """Return whether it is told where the point ``index``, nearest to the crosshair, stands: not there.

    Points, and ends of lines, always are; between its points a line has values within a column.
    """
    if sight.cursor is None:
        return False
    x = float(curve.all_x[index])
    if _place(x, sight) == _place(sight.cursor, sight):
        return False
    inside = curve.all_x[0] <= sight.cursor <= curve.all_x[-1]
    return series.points or not inside or _is_apart(x, frame, sight)


def _is_apart(x: float, frame: Frame, sight: Sight) -> bool:
    """Return whether ``x`` stands in another column than the crosshair."""
    assert sight.cursor is not None
    places = (frame.x.place_of(x), frame.x.place_of(sight.cursor))
    return not abs(places[0] - places[1]) < 1 / frame.layout.columns
