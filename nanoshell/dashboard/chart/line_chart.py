"""The chart: a Textual widget that draws series as lines of braille dots, over a view that can be moved."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding
from textual.message import Message

from nanoshell.dashboard.actions import Action
from nanoshell.dashboard.chart import navigate, stepping
from nanoshell.dashboard.chart.curve import ChartSeries as ChartSeries, Curve
from nanoshell.dashboard.chart.view import ChartView

if TYPE_CHECKING:
    from textual import events

    from nanoshell.dashboard.course import Sight

ZOOM = 0.8
"""How much of what is seen is left by one turn of the wheel, or one key."""

PAN = 0.2
"""What part of what is seen a key moves it."""

ACTIONS: tuple[Action, ...] = (
    Action("zoom_in", "Zoom in", ("plus", "equals_sign", "up"), "Chart"),
    Action("zoom_out", "Zoom out", ("minus", "down"), "Chart"),
    Action("pan_left", "Move left", ("left",), "Chart"),
    Action("pan_right", "Move right", ("right",), "Chart"),
    Action("see_all", "See all", ("0", "home"), "Chart"),
    Action("follow", "Follow the newest", ("f", "end"), "Chart"),
    Action("cursor_back", "Crosshair to the previous point", ("comma",), "Chart"),
    Action("cursor_on", "Crosshair to the next point", ("full_stop",), "Chart"),
    Action("cursor_left", "Crosshair left by a column", ("shift+left",), "Chart"),
    Action("cursor_right", "Crosshair right by a column", ("shift+right",), "Chart"),
    Action("cursor_off", "Crosshair on or off", ("c",), "Chart"),
    Action(
        "highest",
        "Crosshair to the highest point that is seen",
        ("t",),
        "Chart",
        words="go peak spike top maximum largest step",
    ),
    Action(
        "lowest",
        "Crosshair to the lowest point that is seen",
        ("b",),
        "Chart",
        words="go best bottom minimum smallest step",
    ),
)
"""What can be done in a chart by keys; each is a method `action_ID` of `LineChart`."""


class LineChart(ChartView, can_focus=True):
    """A chart of series over steps, tokens or time.

    ``title`` and ``unit`` stand above it, ``log_y`` makes its y axis logarithmic whatever the view says,
    and ``ascii`` draws it in ASCII. What moves the view or the crosshair posts `SightChanged`, so
    that other charts can be made to `look` the same way.
    """

    DEFAULT_CSS = "LineChart { width: 1fr; height: 1fr; }"
    BINDINGS: ClassVar = [
        Binding(",".join(action.keys), action.id, action.title, show=False, id=f"chart.{action.id}")
        for action in ACTIONS
    ]

    class SightChanged(Message):
        """The user has moved the view or the crosshair: all charts are to look at ``sight``."""

        def __init__(self, chart: LineChart, sight: Sight) -> None:
            super().__init__()
            self.chart = chart
            self.sight = sight

        @property
        def control(self) -> LineChart:
            """The chart in which it was done."""
            return self.chart

    _dragged: int | None = None
    """The column from which the view is being dragged."""

    def _curves(self) -> list[Curve]:
        """Return the curves that have points; the leading one, the focused run's first, is the first."""
        full = [pair for pair in self._drawn if len(pair[1].all_x)]
        return [curve for _, curve in sorted(full, key=lambda pair: not pair[0].focused)]

    def _step(self, towards: int, columns: int) -> None:
        """Move the crosshair to the next point ``towards`` (-1, 1), at least ``columns`` columns on."""
        curves, x, cursor = self._curves(), navigate.seen(self._sight, self.span), self._sight.cursor
        found = stepping.newest_point(curves, x) if cursor is None else None
        if cursor is None and towards < 0:
            cursor = found  # the newest values are told of already
        if cursor is not None:
            cells = self._ready().layout.columns if columns else 1
            least = x.at(x.place_of(cursor) + towards * columns / cells) if columns else cursor
            found = stepping.next_point(curves, x, cursor, towards, least if math.isfinite(least) else cursor)
        if found is not None:
            self.stand_at(found)

    def stand_at(self, place: float) -> None:
        """Set the crosshair at ``place`` of the x axis, and move the view as little as shows it."""
        self._change(navigate.showing(self._sight, self.span, place))

    def _change(self, sight: Sight) -> None:
        if sight != self._sight:
            self.look(sight)
            self.post_message(self.SightChanged(self, sight))

    def action_zoom_in(self) -> None:
        """See less, larger."""
        self._zoom(ZOOM, None)

    def action_zoom_out(self) -> None:
        """See more, smaller."""
        self._zoom(1 / ZOOM, None)

    def action_pan_left(self) -> None:
        """Move the view to the left."""
        self._change(navigate.panned(self._sight, self.span, -PAN))

    def action_pan_right(self) -> None:
        """Move the view to the right."""
        self._change(navigate.panned(self._sight, self.span, PAN))

    def action_see_all(self) -> None:
        """Show all points."""
        self._change(navigate.whole(self._sight))

    def action_follow(self) -> None:
        """Keep the newest point at the right edge, or no longer."""
        self._change(navigate.following(self._sight, self.span))

    def action_cursor_back(self) -> None:
        """Move the crosshair to the previous point."""
        self._step(-1, 0)

    def action_cursor_on(self) -> None:
        """Move the crosshair to the next point."""
        self._step(1, 0)

    def action_cursor_left(self) -> None:
        """Move the crosshair to a point at least a column to the left."""
        self._step(-1, 1)

    def action_cursor_right(self) -> None:
        """Move the crosshair to a point at least a column to the right."""
        self._step(1, 1)

    def action_cursor_off(self) -> None:
        """Put the crosshair away, or at the newest point that is shown."""
        if self._sight.cursor is None:
            self._step(1, 0)
        else:
            self._change(replace(self._sight, cursor=None))

    def action_highest(self) -> None:
        """Set the crosshair at the highest point that is seen, of any run."""
        self._stand_at_extreme(highest=True)

    def action_lowest(self) -> None:
        """Set the crosshair at the lowest point that is seen, of any run."""
        self._stand_at_extreme(highest=False)

    def _stand_at_extreme(self, *, highest: bool) -> None:
        x = navigate.seen(self._sight, self.span)
        place = stepping.extreme_point(self._curves(), x, highest=highest)
        if place is not None:
            self._change(replace(self._sight, cursor=place))

    def _zoom(self, factor: float, column: int | None) -> None:
        """See ``factor`` times as much around ``column``, or the crosshair where that is seen."""
        around = None if column is None else self._place(column)
        if around is None and self._sight.cursor is not None:
            place = navigate.seen(self._sight, self.span).place_of(self._sight.cursor)
            around = min(1.0, max(0.0, place)) if -1e-9 <= place <= 1 + 1e-9 else None
        self._change(navigate.zoomed(self._sight, self.span, factor, around))

    def _place(self, column: int) -> float:
        """Return where the middle of a column of the widget stands along the x axis: 0 to 1."""
        layout = self._ready().layout
        return min(1.0, max(0.0, (column - layout.gutter + 0.5) / layout.columns))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Zoom in around the pointer."""
        event.stop()
        self._zoom(ZOOM, event.x)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Zoom out around the pointer."""
        event.stop()
        self._zoom(1 / ZOOM, event.x)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Begin to drag the view."""
        self._dragged = event.x
        self.capture_mouse()

    def on_mouse_up(self) -> None:
        """End dragging."""
        self._dragged = None
        self.release_mouse()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Drag the view, or move the crosshair."""
        layout = self._ready().layout
        if self._dragged is not None:
            if event.x != self._dragged:
                share = (self._dragged - event.x) / layout.columns
                self._dragged = event.x
                self._change(navigate.panned(self._sight, self.span, share))
            return
        if layout.gutter <= event.x < layout.width and self._column(self._sight.cursor) != event.x:
            self._change(replace(self._sight, cursor=self._pointed(event.x)))

    def _pointed(self, column: int) -> float:
        """Return the place that ``column`` means: of the leading point in it, else of another, or its middle.

        By step it is a whole one.
        """
        frame = self._ready()
        x = frame.x.at(self._place(column))
        for curve in self._curves():
            at = curve.nearest(x)
            if at is not None and self._column(float(curve.all_x[at])) == column:
                return float(curve.all_x[at])
        return stepping.whole_step(x, frame.x) if self._sight.axis == "step" else x
