"""The view: the part of the chart that draws, a Textual widget that shows series and is told how to look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from nanoshell.dashboard.chart import export, ink, navigate
from nanoshell.dashboard.chart.curve import ChartSeries, Curve
from nanoshell.dashboard.chart.drawing import Frame, draw
from nanoshell.dashboard.chart.palette import QUIET, Depth, Look, styles
from nanoshell.dashboard.chart.title import Words, mark_words, title_words
from nanoshell.dashboard.course import Sight

if TYPE_CHECKING:
    from nanoshell.dashboard.chart.scale import Scale
    from nanoshell.dashboard.course import Mark


class ChartView(Widget):
    """A chart that shows series, marks and a crosshair as it is told; `LineChart` adds what the user does."""

    def __init__(
        self,
        title: str = "",
        unit: str = "",
        log_y: bool = False,
        ascii: bool = False,  # noqa: A002
        *,
        depth: Depth | None = None,
        name: str | None = None,
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        """Make an empty chart. ``depth`` says what colours there are; by default the app is asked."""
        super().__init__(name=name, id=id, classes=classes)
        self.title = title
        self.unit = unit
        self.ascii = ascii
        self._depth = depth
        self._log_y = log_y
        self._sight = Sight()
        self._drawn: list[tuple[ChartSeries, Curve]] = []
        self._marks: tuple[Mark, ...] = ()
        self._given_span: navigate.Span | None = None
        self._gutter = 0
        self._frame: Frame | None = None
        self._basis: tuple[Look, Style, str, Size] | None = None
        self._circumstances: tuple[object, ...] | None = None
        self._strips: list[Strip] = []
        self._palette: Sequence[Style] = ()
        self._overlay: dict[int, Strip] = {}
        self._growing = False
        self._reading = False
        self._seen: Scale | None = None
        self._tells_marks = self._shows_checkpoints = True
        self.frames = 0

    @property
    def sight(self) -> Sight:
        """How the chart looks at its series."""
        return self._sight

    @property
    def log_y(self) -> bool:
        """Whether the y axis is logarithmic: by the chart's own wish or by the shared view's."""
        return self._log_y or self._sight.log_y

    @log_y.setter
    def log_y(self, log: bool) -> None:
        if log != self._log_y:
            self._log_y = log
            self._rescale()

    @property
    def tells_marks(self) -> bool:
        """Whether the chart says what the mark under the crosshair is, in place of the x axis's labels."""
        return self._tells_marks

    @tells_marks.setter
    def tells_marks(self, tells: bool) -> None:
        if tells != self._tells_marks:
            self._tells_marks = tells
            self._move_crosshair(None)

    @property
    def shows_checkpoints(self) -> bool:
        """Whether checkpoints are among the marks that are drawn."""
        return self._shows_checkpoints

    @shows_checkpoints.setter
    def shows_checkpoints(self, shows: bool) -> None:
        if shows != self._shows_checkpoints:
            self._shows_checkpoints = shows
            self._renew()

    @property
    def series(self) -> list[ChartSeries]:
        """The series as they were handed over."""
        return [series for series, _ in self._drawn]

    @property
    def span(self) -> navigate.Span:
        """Where the data begins and ends on the x axis (beyond 0 on a logarithmic one), with room to grow."""
        span = self._data_span()
        return navigate.with_room(span, self._sight) if self._growing else span

    def _data_span(self) -> navigate.Span:
        extents = []
        for _, curve in self._drawn:
            begin = int(np.searchsorted(curve.all_x, 0, "right")) if self._sight.log_x else 0
            if begin < len(curve.all_x):
                extents.append((float(curve.all_x[begin]), float(curve.all_x[-1])))
        own = (min(a for a, _ in extents), max(b for _, b in extents)) if extents else (0.0, 1.0)
        if self._given_span is None:
            return own if not self._sight.log_x or own[0] > 0 else (0.1, 1.0)
        first, last = self._given_span
        if self._sight.log_x and first <= 0:
            first = own[0] if extents else 0.1
        return (first, max(first, last))

    @property
    def reading(self) -> bool:
        """Whether data may still be found where there is none: it is said instead of that there is none."""
        return self._reading

    @reading.setter
    def reading(self, reading: bool) -> None:
        if reading != self._reading:
            self._reading = reading
            if not self._drawn:
                self._redraw()

    def set_series(
        self,
        series: Sequence[ChartSeries],
        *,
        marks: Sequence[Mark] | None = None,
        span: tuple[float, float] | None = None,
        growing: bool = False,
    ) -> None:
        """Show ``series`` instead of those before, and ``marks`` on the x axis; None leaves them as they are.

        Arrays that begin as the ones before did cost only what is new, and nothing is redrawn where
        nothing has changed. ``span`` is where the x axis of all charts begins and ends, so that sparse series
        stand under dense ones; without it, that of the series. Data that is ``growing`` has some room before
        it, and on the y axis, so that most of what comes changes little of what was drawn. Raises
        `ValueError` where x and y differ in length.
        """
        known = {(one.name, one.points): curve for one, curve in self._drawn}
        before = [(one.name, one.colour, one.points, one.focused) for one in self.series]
        seen = self._seen
        marked, self._marks = self._marks, self._marks if marks is None else tuple(marks)
        changed, drawn = self._marks != marked, []
        for one in series:
            curve = known.pop((one.name, one.points), None) or Curve(self.log_y)
            changed |= curve.feed(np.asarray(one.x, np.float64), np.asarray(one.y, np.float64))
            drawn.append((one, curve))
        self._drawn, self._given_span, self._growing = drawn, span, growing
        changed |= before != [(one.name, one.colour, one.points, one.focused) for one in self.series]
        self._seen = navigate.seen(self._sight, self.span)
        if changed or self._seen != seen:
            self._renew()

    def look(self, sight: Sight) -> None:
        """Look at the series as ``sight`` says. A crosshair that moves redraws nothing but itself."""
        if sight == self._sight:
            return
        before, log = self._sight, self.log_y
        self._sight = sight
        if log != self.log_y:
            self._rescale()
        elif replace(sight, cursor=before.cursor) != before:
            self._redraw()
        else:
            self._move_crosshair(before.cursor)

    def to_svg(self, width: int = 960, height: int = 540, *, title: str = "") -> str:
        """Return what is visible as an SVG document of ``width`` x ``height`` units: lines and texts.

        Runs have the colours that they have on the screen, on a light or a dark background as there. Where
        the screen has 16 colours or none, they are those of a screen that has all.
        """
        light = self._basis is None or self._basis[0].light
        return export.svg(
            title or self.title,
            self.unit,
            self._drawn,
            self._marks,
            self._sight,
            self.span,
            self.log_y,
            (width, height),
            ink.ON_LIGHT if light else ink.ON_DARK,
        )

    def read_off(self) -> list[tuple[ChartSeries, float, float]]:
        """Return each series with place and value of its point at the crosshair, else of its newest."""
        cursor = np.inf if self._sight.cursor is None else self._sight.cursor
        found = []
        for series, curve in self._drawn:
            at = curve.nearest(cursor)
            if at is not None:
                found.append((series, float(curve.all_x[at]), float(curve.all_y[at])))
        return found

    def to_csv(self) -> str:
        """Return the visible points as CSV: run, figure, step, tokens, seconds, value, smoothed."""
        return export.csv_text(self._drawn, self._sight, self.span)

    def _rescale(self) -> None:
        given = [(one, np.asarray(one.x, np.float64), np.asarray(one.y, np.float64)) for one in self.series]
        self._drawn = [(one, Curve(self.log_y)) for one, _, _ in given]
        for (_, curve), (_, x, y) in zip(self._drawn, given, strict=True):
            curve.feed(x, y)
        self._gutter = 0
        self._redraw()

    def _redraw(self) -> None:
        self._frame = None
        self.refresh()

    def on_resize(self) -> None:
        """Draw anew in the new size, with labels as wide as they are there."""
        self._gutter = 0
        self._redraw()

    def _look(self) -> tuple[Look, Style, str]:
        theme = self.app.current_theme
        ground = self.background_colors[1]
        depth = self._depth
        if depth is None:
            system = self.app.console.color_system
            plain = self.app.no_color or system is None
            depth = "mono" if plain else "ansi" if system in ("standard", "windows") else "true"
        name = ground.hex6.lower() if ground.ansi is None and ground.a == 1 else ""
        light = not theme.dark if not name else ground.brightness > 0.5
        base = Style.from_color(self.rich_style.color, self.rich_style.bgcolor)
        return Look(depth, light, self.ascii), base, name

    def notify_style_update(self) -> None:
        """Look at the colours again: they may have changed."""
        super().notify_style_update()
        self._circumstances = None

    def _ready(self) -> Frame:
        """Return the chart as it is now, drawn anew where something has changed."""
        if self._frame is None:
            self._frame = self._draw(None)
            self._strips = self._frame.picture.strips(self._palette)
            self._overlay = {}
        return self._frame

    def _draw(self, before: Frame | None) -> Frame:
        """Return a frame of what is known; where data grows, on the y axis of ``before`` if it fits."""
        if self._basis is None or self._basis[3] != self.size:
            self._basis = (*self._look(), self.size)
        look, base, ground, (width, height) = self._basis
        frame = draw(
            self._drawn,
            [mark for mark in self._marks if mark.kind != "checkpoint" or self._shows_checkpoints],
            self._sight,
            self.span,
            look,
            (width, height),
            log_y=self.log_y,
            gutter=self._gutter if width >= 16 else 0,
            before=before.y if before is not None and self._growing else None,
            empty=("reading ..." if look.ascii else "reading …") if self._reading else "no data yet",
        )
        self._gutter = frame.layout.gutter
        self._palette = styles(look, base, ground)
        self.frames += 1
        return frame

    def _renew(self) -> None:
        """Draw what is new, and have painted anew only those cells that look different."""
        before, (width, height) = self._frame, self.size
        if before is None or before.picture.codes.shape != (height, width):
            self._redraw()
            return
        self._frame = frame = self._draw(before)
        changed = frame.picture.changes(before.picture)
        for row, strip in frame.picture.some_strips(list(changed), self._palette):
            self._strips[row] = strip
        shown, self._overlay = self._overlay, {}
        wide = self._sight.cursor is not None  # the crosshair may have moved as well
        regions = [
            Region(0, y, width, 1) if wide else Region(a, y, b - a, 1) for y, (a, b) in changed.items()
        ]
        for y, strip in shown.items():
            if y not in changed and self._row(y, frame) != strip:
                regions.append(Region(0, y, width, 1))
        if regions:
            self.refresh(*regions)

    def render_lines(self, crop: Region) -> list[Strip]:
        """Return the rows that ``crop`` shows, in the colours of the app as they are now."""
        app = self.app
        circumstances = (app.theme, app.console.color_system, app.no_color, self.ascii, self.size)
        if circumstances != self._circumstances:  # else the colours are those of before: finding them is dear
            self._circumstances = circumstances
            basis = (*self._look(), self.size)
            if basis != self._basis:
                self._basis, self._frame = basis, None
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """Return the row ``y`` of the chart."""
        width, height = self.size
        if not 0 <= y < height or width < 1:
            return Strip.blank(width, self.rich_style)
        return self._row(y, self._ready())

    def _row(self, y: int, frame: Frame) -> Strip:
        if y not in self._overlay:
            self._overlay[y] = self._over(y, frame)
        return self._overlay[y]

    def _over(self, y: int, frame: Frame) -> Strip:
        """Return the row ``y`` with what the crosshair and the title put over it."""
        layout = frame.layout
        look = self._basis[0] if self._basis is not None else Look()
        if y < layout.top:
            found = title_words(self.title, self.unit, self._drawn, frame, self._sight, look, layout.width)
            return self._strip(found)
        if y == layout.label_row and self._tells_marks:
            said = mark_words(self._marks, frame, self._sight, look)
            return self._strip(said) if said else self._strips[y]
        column = self._column(self._sight.cursor)
        if column is None or y >= layout.axis_row:
            return self._strips[y]
        strip = self._strips[y]
        if int(frame.picture.codes[y, column]) not in (32, ord("┊"), ord(":")):
            return strip  # what is drawn there stays to be seen: the line leads to it
        cell = Segment("|" if look.ascii else "│", self._palette[QUIET])
        return Strip.join([strip.crop(0, column), Strip([cell], 1), strip.crop(column + 1)])

    def _strip(self, words: Words) -> Strip:
        strip = Strip([Segment(text, self._palette[style]) for text, style in words])
        return strip.adjust_cell_length(self.size.width, self._palette[0])

    def _column(self, x: float | None) -> int | None:
        """Return the column of the widget in which ``x`` stands; None where it is not shown."""
        if x is None or self._frame is None:
            return None
        layout, place = self._frame.layout, self._frame.x.place_of(x)
        if not -1e-9 <= place <= 1 + 1e-9:
            return None
        return layout.gutter + min(layout.columns - 1, max(0, int(place * layout.columns)))

    def _move_crosshair(self, before: float | None) -> None:
        self._overlay = {}
        width, height = self.size
        columns = {self._column(before), self._column(self._sight.cursor)} - {None}
        rows = [Region(0, 0, width, 1), Region(0, max(0, height - 1), width, 1)]
        self.refresh(*rows, *(Region(column, 0, 1, height) for column in columns if column is not None))
