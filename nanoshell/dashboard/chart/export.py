"""Export: what a chart shows, as SVG (lines and texts) and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from rich.cells import cell_len

from nanoshell.dashboard.chart import words
from nanoshell.dashboard.chart.axes import x_labels
from nanoshell.dashboard.chart.ink import ON_LIGHT, Ink
from nanoshell.dashboard.chart.layers import Layer, fitted, layers
from nanoshell.dashboard.chart.navigate import Span, seen
from nanoshell.dashboard.chart.reduce import visible
from nanoshell.dashboard.chart.scale import Scale, tick_step, ticks
from nanoshell.dashboard.panels.plain import plain

if TYPE_CHECKING:
    from nanoshell.dashboard.chart.curve import ChartSeries, Curve
    from nanoshell.dashboard.chart.layers import Drawn
    from nanoshell.dashboard.course import Axis, Column, Mark, Sight

_LEFT, _TOP, _RIGHT, _BOTTOM = 70, 56, 16, 44
"""The margins of a drawing; the one at the top is wider where the legend has further rows."""

_LEGEND_ROW = 18

_PLACES: dict[Axis, str] = {"step": "step", "tokens": "tokens", "time": "seconds"}
"""What the columns of a table are called that tell where a point stands."""

_AXIS_WORDS: dict[Axis, str] = {"step": "step", "tokens": "tokens", "time": "time since the run began"}

_MARKS = {"alert": "alert", "control": "asked of the run", "checkpoint": "checkpoint", "resume": "resumed"}
"""What marks are called."""


def csv_text(drawn: Sequence[Drawn], sight: Sight, span: Span) -> str:
    """Return the visible points, every one of them, a line each.

    Its columns are run, figure, step, tokens, seconds since the run began, value, and smoothed ('' for what
    is not known).
    """
    x = seen(sight, span)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["run", "figure", *_PLACES.values(), "value", "smoothed"])
    for series, curve in drawn:
        begin, end = visible(curve.all_x, x)
        averages = np.full(len(curve.all_x), np.nan)
        if sight.smoothing > 0 and not series.points:
            good = np.isfinite(curve.all_y) & ((curve.all_y > 0) | (not curve.log))
            found = curve.smoothed(sight.smoothing)
            averages[good] = 10**found if curve.log else found
        known = [_along(series, curve, axis, sight)[begin:end].tolist() for axis in _PLACES]
        for *places, value, average in zip(
            *known, curve.all_y[begin:end].tolist(), averages[begin:end].tolist(), strict=True
        ):
            told = [*map(_known, places), _exact(value), _known(average)]
            writer.writerow([series.run or series.called, series.figure or series.name, *told])
    return out.getvalue()


def _along(series: ChartSeries, curve: Curve, axis: Axis, sight: Sight) -> Column:
    """Return where all points of ``curve`` stand along ``axis`` (n,); NaN where nobody told."""
    if axis == sight.axis:
        return curve.all_x
    if series.rows is None:
        return np.full(len(curve.all_x), np.nan)
    column = series.rows.along(axis)
    return column if curve.order is None else column[curve.order]


def _known(value: float) -> str:
    return _exact(value) if value == value else ""


def _exact(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


def svg(
    title: str,
    unit: str,
    drawn: Sequence[Drawn],
    marks: Sequence[Mark],
    sight: Sight,
    span: Span,
    log_y: bool,
    size: tuple[int, int],
    ink: Ink = ON_LIGHT,
) -> str:
    """Return the chart as an SVG document of ``size``: extremes for each unit of width, all texts as text.

    Its colours are those of ``ink``.
    """
    width, height = size
    legend = _legend(drawn, sight, width, ink)
    top = _TOP + (len(legend) - 1) * _LEGEND_ROW
    columns, rows = max(1, width - _LEFT - _RIGHT), max(1, height - top - _BOTTOM)
    x = seen(sight, span)
    found = layers(drawn, x, columns, sight.smoothing)
    y = fitted(found, x, log_y, sight.fit)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        f' viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="{ink.ground}"/>',
        _text(_LEFT, 20, f"{title} ({unit})" if unit else title, size=15, fill=ink.text),
        *(part for row in legend for part in row),
        f'<g transform="translate({_LEFT} {top})">',
        *_grid(x, y, columns, rows, sight, ink),
        f'<svg width="{columns}" height="{rows}" viewBox="0 0 {columns} {rows}">',
    ]
    for layer in found:
        parts += _lines(layer, y, columns, rows, ink)
    for layer in found:
        parts += _bad(layer, x, columns, rows, ink)
        parts += _outside(layer, y, rows, ink)
    parts += ["</svg>", *_marks(marks, x, columns, rows, sight, ink), "</g>", "</svg>"]
    return "\n".join(parts) + "\n"


def _text(x: float, y: float, text: str, *, fill: str, anchor: str = "start", size: int = 12) -> str:
    look = f'text-anchor="{anchor}" font-size="{size}" fill="{fill}"'
    return f'<text x="{x:g}" y="{y:g}" {look}>{escape(plain(text))}</text>'


def _legend(drawn: Sequence[Drawn], sight: Sight, width: int, ink: Ink) -> list[list[str]]:
    """Return the series with their newest values, and how they are smoothed, in rows; one at the least."""
    found: list[list[str]] = [[]]
    at = _LEFT
    for series, curve in drawn:
        text = f"{series.name} {words.short(float(curve.all_y[-1])) if len(curve.all_y) else '-'}"
        room = 34 + 7 * cell_len(text)
        if at > _LEFT and at + room > width:
            found.append([])
            at = _LEFT
        y, fill = 36 + (len(found) - 1) * _LEGEND_ROW, ink.of(series.colour)
        found[-1].append(
            f'<circle cx="{at + 7}" cy="{y}" r="4" fill="{fill}"/>'
            if series.points
            else f'<line x1="{at}" y1="{y}" x2="{at + 14}" y2="{y}" stroke="{fill}" stroke-width="3"/>'
        )
        found[-1].append(_text(at + 20, y + 4, text, fill=ink.text))
        at += room
    if sight.smoothing > 0 and not all(series.points for series, _ in drawn):
        said = f"smoothed {sight.smoothing:g}, as measured behind it"
        found[0].append(_text(width - _RIGHT, 20, said, anchor="end", fill=ink.quiet))
    return found


def _grid(x: Scale, y: Scale, columns: int, rows: int, sight: Sight, ink: Ink) -> list[str]:
    parts = []
    values = ticks(y, max(2, rows // 40))
    even = not y.log or tick_step(values) * 1.5 > (values[-1] - values[-2] if len(values) > 1 else 0)
    texts = words.labels(values, tick_step(values)) if even else words.log_labels(values)
    for place, text in zip(y.place(np.array(values)).tolist(), texts, strict=True):
        at = (1 - place) * rows
        parts.append(f'<line x1="0" y1="{at:.1f}" x2="{columns}" y2="{at:.1f}" stroke="{ink.grid}"/>')
        parts.append(_text(-8, round(at + 4, 1), text, anchor="end", fill=ink.text))
    for column, begin, text in x_labels(x, columns // 7, sight.axis):
        at = (column + 0.5) * columns / (columns // 7)
        middle = (begin + len(text) / 2) * columns / (columns // 7)
        parts.append(f'<line x1="{at:.1f}" y1="{rows}" x2="{at:.1f}" y2="{rows + 4}" stroke="{ink.quiet}"/>')
        parts.append(_text(round(middle, 1), rows + 18, text, anchor="middle", fill=ink.text))
    frame = f'<path d="M0 0V{rows}H{columns}" fill="none" stroke="{ink.quiet}"/>'
    said = _text(columns / 2, rows + 36, _AXIS_WORDS[sight.axis], anchor="middle", fill=ink.text)
    return [*parts, frame, said]


def _lines(layer: Layer, y: Scale, columns: int, rows: int, ink: Ink) -> list[str]:
    fill = ink.of(layer.series.colour)
    if layer.series.points:
        at, inside = layer.raw.place, layer.raw.inside
        return [
            f'<circle cx="{place + 0.5:.1f}" cy="{(1 - height) * rows:.1f}" r="3.5" fill="{fill}"/>'
            for values in (layer.raw.low, layer.raw.high)
            for place, height in zip(at[inside].tolist(), y.place(values[inside]).tolist(), strict=True)
        ]
    low, high = layer.raw_heights(y, columns)
    opacity = "1" if layer.average is None else "0.3"
    style = f'fill="none" stroke="{fill}" stroke-opacity="{opacity}" stroke-width="1"'
    parts = [f'<path d="{_bars(low, high, rows)}" {style}/>']
    if layer.average is not None:
        bottom, top = layer.average_heights(y, columns)
        middle = (bottom + top) / 2
        style = f'fill="none" stroke="{fill}" stroke-width="2" stroke-linejoin="round"'
        parts += [f'<polyline points="{points}" {style}/>' for points in _runs(middle, rows)]
    return parts


def _outside(layer: Layer, y: Scale, rows: int, ink: Ink) -> list[str]:
    """Return a sign at the edge for what is beyond it, with the furthest value."""
    fill, parts = ink.of(layer.series.colour), []
    for above, sign, at in ((True, "▲", 11), (False, "▼", rows - 2)):
        beyond = layer.outside(y, above=above)
        places = beyond.columns.tolist() if beyond is not None else []
        parts += [_text(place + 0.5, at, sign, anchor="middle", fill=fill) for place in places]
        if beyond is not None:
            value, place = (float(of[beyond.furthest]) for of in (beyond.values, beyond.columns))
            parts.append(_text(place + 8, at, words.short(value, 3), fill=fill))
    return parts


def _bars(low: Column, high: Column, rows: int) -> str:
    """Return an upright stroke for each column, at least one unit high."""
    strokes = []
    for column, (bottom, top) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
        if bottom == bottom:
            begin, end = (1 - top) * rows, (1 - bottom) * rows
            room = max(0.0, 1 - (end - begin)) / 2
            strokes.append(f"M{column + 0.5:g} {begin - room:.1f}V{end + room:.1f}")
    return "".join(strokes)


def _runs(heights: Column, rows: int) -> list[str]:
    """Return the points of lines through ``heights``, a new one after every gap (NaN)."""
    found: list[list[str]] = [[]]
    for column, height in enumerate(heights.tolist()):
        if height == height:
            found[-1].append(f"{column + 0.5:g},{(1 - height) * rows:.1f}")
        elif found[-1]:
            found.append([])
    return [" ".join(points if len(points) > 1 else points * 2) for points in found if points]


def _bad(layer: Layer, x: Scale, columns: int, rows: int, ink: Ink) -> list[str]:
    begin, end = visible(layer.curve.bad_x, x)
    kinds = layer.curve.bad_kind[begin:end].tolist()
    places = np.rint(x.place(layer.curve.bad_x[begin:end]) * columns).tolist()
    names = {0.0: "NaN", 1.0: "Inf", -1.0: "below the axis"}
    shapes = {0.0: "m-4 1l8 8m0-8l-8 8", 1.0: "m-4 8l4-7l4 7z", -1.0: "m-4-8l4 7l4-7z"}
    return [
        f'<path d="M{place:g} {rows if kind < 0 else 0}{shapes[kind]}" stroke="{ink.bad}" fill="none">'
        f"<title>{names[kind]}</title></path>"
        for place, kind in sorted(set(zip(places, kinds, strict=True)))
    ]


def _marks(marks: Sequence[Mark], x: Scale, columns: int, rows: int, sight: Sight, ink: Ink) -> list[str]:
    """Return ``marks`` as strokes at the x axis, alerts as high as the chart, and what each kind is."""
    parts, kinds = [], set()
    for mark in marks:
        place = x.place_of(mark.along(sight.axis))
        if 0 <= place <= 1:
            kinds.add(mark.kind)
            at, top = place * columns, 0 if mark.kind == "alert" else rows - 6
            look = f'stroke="{ink.of_mark(mark.kind)}"' + (' stroke-dasharray="2 2"' if not top else "")
            parts.append(
                f'<path d="M{at:.1f} {top}V{rows + 4}" {look}>'
                f"<title>{escape(plain(f'{mark.kind}: {mark.text}'))}</title></path>"
            )
    end = columns
    for kind, name in _MARKS.items():
        if kind in kinds:
            parts.append(_text(end, rows + 36, f"| {name}", anchor="end", fill=ink.of_mark(kind)))
            end -= 20 + 7 * len(name)
    return parts
