"""The charts of the runs that are shown: a panel for each kind of figure, all looking at the same stretch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult

from nanoshell.dashboard.chart import line_chart
from nanoshell.dashboard.chart.line_chart import LineChart
from nanoshell.dashboard.course import AXES, FITS, Course, Fit, Series, Sight, Snapshot
from nanoshell.dashboard.panel import Action, Panel
from nanoshell.dashboard.panels.exporting import copy_from, export
from nanoshell.dashboard.panels.figures import Figure, along, has, lines, whole_span
from nanoshell.dashboard.panels.places import place_of_step, step_named, wrong_step
from nanoshell.dashboard.views import ABOVE_ANOTHER
from nanoshell.errors import NanoshellError

if TYPE_CHECKING:
    from nanoshell.dashboard.chart.curve import ChartSeries

SMOOTHING = (0.0, 0.6, 0.9, 0.97, 0.99)
"""The weights of the past that keys choose from."""

_FITS: dict[Fit, str] = {
    "all": "all values",
    "most": "the middle 98%",
    "lines": "the line alone",
    "focus": "the run in focus",
}
"""How is said what the y axes have room for."""

HIDDEN = "charts.hidden"
"""Under which name the desk remembers the charts that are hidden."""

ABOUT = (
    "The bright line is smoothed, so that a trend shows (s and a: more, less); the dim one behind it is "
    "what was measured, with the highest and the lowest of each column. A small plus is a figure that "
    "comes now and then (● in the line above), with dots that lead to the next. A cross or an arrow at "
    "the edge is a value that is no number, or has no height.\n\n"
    "All charts show the same stretch: + and - zoom, Left and Right move, 0 shows all, f follows the newest. "
    "They share a crosshair: comma and full stop step it from point to point, t and b set it at the highest "
    "and the lowest that is seen, j at a step, c puts it away, and the values "
    "there stand above each chart, in brackets those of the smoothed line. Above several runs stands what "
    "tells their names apart.\n\n"
    "On the axis below: ▪ a checkpoint (in the lowest charts; a double line where they are close), ◆ "
    "what was asked of the run in focus, ↻ where it was resumed, ! an alert; in ASCII # (or =), o, > and "
    "!. With the crosshair on one, the last line of the chart that has the keys says what it is. Enter "
    "gives a chart all the room, Esc brings the others back.\n\n"
    "g makes the x axis of all charts logarithmic, which spreads the first steps. One run that diverged, or "
    "one spike, makes everything else flat: o leaves height for the middle 98% of the values, then for the "
    "line without the points (validation far above it), then for the run in focus, then for all again. "
    "What is outside is marked by arrows at the edge in the colour "
    "of its run, and the furthest has its value beside it. What a chart does with its values stands behind "
    "its title."
)
"""What F1 says of every chart."""


class ChartPanel(Panel):
    """A chart of ``figures`` of every run that is shown.

    ``smooths`` is False where the figures have no noise; ``log_from_start`` begins with a logarithmic y axis.
    What is said of one kind of chart stands in its ``about`` before `ABOUT`.
    A chart of a plugin names its figures, and is registered as any panel is.
    """

    panel_id = "chart"
    place = "charts"
    figures: ClassVar[tuple[Figure, ...]] = ()
    smooths: ClassVar[bool] = True
    log_from_start: ClassVar[bool] = False
    about = ABOUT
    actions: ClassVar[tuple[Action, ...]] = (
        Action(
            "axis",
            "By step, tokens or time",
            ("x",),
            "Chart",
            footer=True,
            short="Axis",
            words="x scale steps",
        ),
        Action(
            "log_y",
            "Logarithmic y axis, or not",
            ("l",),
            "Chart",
            footer=True,
            short="Log",
            words="log scale",
        ),
        Action("log_x", "Logarithmic x axis of all charts, or not", ("g",), "Chart", words="log scale"),
        Action(
            "fit",
            "Height for all, most, the line, or the run in focus",
            ("o",),
            "Chart",
            words="outliers range limit y scale robust validation",
        ),
        Action(
            "smoother",
            "Smoother",
            ("s", "right_square_bracket"),
            "Chart",
            footer=True,
            short="Smooth",
            words="smoothing average",
        ),
        Action("rougher", "Less smooth", ("a", "left_square_bracket"), "Chart"),
        *line_chart.ACTIONS,
        Action("go_to_step", "Go to a step", ("j",), "Chart", words="jump crosshair number find"),
        Action("copy_values", "Copy the values", ("y",), "Chart"),
        Action("export", "Export as SVG and CSV", ("e",), "Chart", writes=True, words="save picture table"),
        Action("hide", "Hide this chart", ("h",), "Chart"),
        Action("unhide", "Show all charts", ("u",), "Chart"),
    )
    DEFAULT_CSS = "ChartPanel { layout: vertical; }"

    def __init__(self) -> None:
        super().__init__()
        self.chart = LineChart()
        self.chart.can_focus = False
        self._shown = Snapshot()
        self.chart.reading = True
        self._made: dict[str, tuple[Course, Course]] = {}

    def compose(self) -> ComposeResult:
        yield self.chart

    def on_mount(self) -> None:
        self.chart.ascii = self.desk.ascii
        kept = self.desk.recall(f"chart.{self.panel_id}.log_y")
        self.chart.log_y = kept if isinstance(kept, bool) else self.log_from_start
        self.chart.tells_marks = self.has_focus
        self.chart.look(self._own(self.desk.sight))
        self._tell_manner()

    def on_focus(self) -> None:
        """Tell of the mark under the crosshair: one chart is enough, the others keep their numbers."""
        self.chart.tells_marks = True

    def on_blur(self) -> None:
        """Leave it to another chart."""
        self.chart.tells_marks = False

    def on_show(self) -> None:
        """Show checkpoints where no chart is below."""
        self._choose_marks()

    def on_resize(self) -> None:
        """Look again whether another chart is below."""
        self._choose_marks()

    def _choose_marks(self) -> None:
        self.chart.shows_checkpoints = self.parent is None or not self.parent.has_class(ABOVE_ANOTHER)

    # What the dashboard hands over

    def wanted(self, snapshot: Snapshot) -> bool:
        there = self.has_figures(self._with_series(snapshot))
        self.hidden = there and self.panel_id in self._hidden()
        return there and not self.hidden

    def series_of(self, course: Course) -> Mapping[str, Series]:
        """Return the series of a run among which the figures are, by name; called once for each change."""
        return course.series

    def _with_series(self, snapshot: Snapshot) -> Snapshot:
        """Return ``snapshot`` with the series of this chart in its courses."""
        if type(self).series_of is ChartPanel.series_of:
            return snapshot
        for course in snapshot.courses:
            if self._made.get(course.run.name, (None,))[0] is not course:
                self._made[course.run.name] = course, replace(course, series=self.series_of(course))
        return replace(snapshot, courses=tuple(self._made[course.run.name][1] for course in snapshot.courses))

    def has_figures(self, snapshot: Snapshot) -> bool:
        """Return whether one of the runs has something to draw."""
        return any(has(snapshot, figure.name) for figure in self.figures)

    def update(self, snapshot: Snapshot) -> None:
        self._shown = self._with_series(snapshot)
        self._fill()

    def look(self, sight: Sight) -> None:
        other = sight.axis != self.chart.sight.axis
        self.chart.look(self._own(sight))
        if other:
            self._fill()
        self._tell_manner()

    def _own(self, sight: Sight) -> Sight:
        """Return ``sight`` as this chart has it: which axis is logarithmic is each chart's own matter."""
        return replace(sight, log_y=False, smoothing=sight.smoothing if self.smooths else 0.0)

    def _fill(self) -> None:
        focused, axis = self._shown.focused, self.chart.sight.axis
        growing = any(not course.status.ended for course in self._shown.courses)
        courses = self._shown.courses
        self.chart.reading = any(map(_unread, courses)) if courses else not self._shown.now
        self.chart.set_series(
            self.drawn(self._shown),
            marks=focused.marks if focused else (),
            span=whole_span(self._shown, axis),
            growing=growing,
        )
        self._tell_manner()

    def _tell_manner(self) -> None:
        """Say beside the title how the chart draws, where that is not as it was measured."""
        sight, series = self.chart.sight, self.chart.series
        smooth = sight.smoothing if not all(one.points for one in series) else 0.0
        offered = self._fits_offered()
        said = (
            reading_words(self._shown.courses),
            "log y" if self.chart.log_y else "",
            "log x" if sight.log_x else "",
            f"smoothed {smooth:g}" if smooth else "",
            f"fits {_FITS[sight.fit]}" if sight.fit != "all" and sight.fit in offered else "",
        )
        self.remark = ", ".join(filter(None, said))

    def drawn(self, snapshot: Snapshot) -> list[ChartSeries]:
        """Return the lines of the chart along the axis that is chosen."""
        return lines(snapshot, self.figures, self.chart.sight.axis)

    def on_line_chart_sight_changed(self, message: LineChart.SightChanged) -> None:
        """Let all charts look as this one does now, after the mouse."""
        message.stop()
        self.share()

    def share(self) -> None:
        """Let all charts look as this one does now: a message of before may come late."""
        shared = self.desk.sight
        self.desk.set_sight(replace(self.chart.sight, log_y=shared.log_y, smoothing=shared.smoothing))

    # How the chart looks at its runs

    def action_axis(self) -> None:
        """Let steps, tokens and time take turns along the x axis of all charts."""
        sight = self.desk.sight
        axis = AXES[(AXES.index(sight.axis) + 1) % len(AXES)]
        self.desk.set_sight(along(sight, axis, self._shown.focused))

    def action_log_y(self) -> None:
        """Make the y axis of this chart logarithmic, or linear again."""
        self.chart.log_y = not self.chart.log_y
        self.desk.remember(f"chart.{self.panel_id}.log_y", self.chart.log_y)
        self._tell_manner()

    def action_log_x(self) -> None:
        """Make the x axis of all charts logarithmic, or linear again."""
        self.desk.set_sight(replace(self.desk.sight, log_x=not self.desk.sight.log_x))

    def action_fit(self) -> None:
        """Let the y axes have room for all that is seen, most of it, the lines, or the run in focus."""
        sight, offered = self.desk.sight, self._fits_offered()
        at = offered.index(sight.fit) if sight.fit in offered else 0
        fit = offered[(at + 1) % len(offered)]
        self.desk.set_sight(replace(sight, fit=fit))
        self.desk.tell(f"the height of charts is for {_FITS[fit]}", about="fit")

    def _fits_offered(self) -> list[Fit]:
        """Return what the height may be for; not what would make no difference to what is drawn."""
        series = self.chart.series
        apart = {"lines": {one.points for one in series}, "focus": {one.focused for one in series}}
        return [fit for fit in FITS if len(apart.get(fit, "12")) > 1]

    def action_smoother(self) -> None:
        """Smooth all charts more; after the smoothest not at all."""
        self._smooth(1)

    def action_rougher(self) -> None:
        """Smooth all charts less."""
        self._smooth(-1)

    def _smooth(self, by: int) -> None:
        sight = self.desk.sight
        nearest = min(range(len(SMOOTHING)), key=lambda at: abs(SMOOTHING[at] - sight.smoothing))
        smoothing = SMOOTHING[(nearest + by) % len(SMOOTHING)]
        self.desk.set_sight(replace(sight, smoothing=smoothing))
        self.desk.tell(f"smoothing {smoothing:g}" if smoothing else "no smoothing", about="smoothing")

    # A step that is named

    def action_go_to_step(self) -> None:
        """Ask for a step, and set the crosshair there."""
        span = whole_span(self._shown, "step")
        if span is None:
            self.desk.tell("there are no steps yet to go to", severity="warning", about="step")
            return

        def wrong(text: str) -> str:
            return wrong_step(text, span)

        def answered(text: str) -> None:
            step = step_named(text)
            if step is not None:
                self.chart.stand_at(place_of_step(self._shown, step, self.chart.sight.axis))
                self.share()

        self.desk.ask_line(f"Go to which step ({span[0]:,.0f} to {span[1]:,.0f})?", "", wrong, answered)

    # Hiding and taking along

    def _hidden(self) -> list[str]:
        kept = self.desk.recall(HIDDEN)
        return [name for name in kept if isinstance(name, str)] if isinstance(kept, list) else []

    def action_hide(self) -> None:
        """Hide this chart until all are shown again; the last one stays."""
        hidden = self._hidden()
        others = [
            panel
            for panel in self.screen.query(ChartPanel)
            if panel is not self and panel.wanted(self.desk.snapshot)
        ]
        if not others:
            self.desk.tell("this is the last chart: it stays", severity="warning")
            return
        self.desk.remember(HIDDEN, [*hidden, self.panel_id])
        self.desk.tell(f"{self.title} is hidden; u shows it again")

    def action_unhide(self) -> None:
        """Show the charts that were hidden."""
        self.desk.remember(HIDDEN, [])

    def action_copy_values(self) -> None:
        """Copy the values under the crosshair, the newest without one."""
        copy_from(self, self.values(), "values")

    def values(self) -> str:
        """Return the values under the crosshair, or the newest: a line each, fields parted by tabs."""
        axis, found = self.chart.sight.axis, []
        for series, place, value in self.chart.read_off():
            found.append(f"{series.name}\t{axis} {place:.12g}\t{value:.9g}\n")
        return "".join(found)

    @property
    def _heading(self) -> str:
        alone = [course.run.name for course in self._shown.courses] if len(self._shown.courses) == 1 else []
        return ", ".join(filter(None, (self.title, self.chart.title, *alone)))

    def action_export(self) -> None:
        """Write what is visible as a drawing (SVG) and as a table (CSV)."""
        focused = self._shown.focused
        stem = f"{focused.run.name}-{self.panel_id}" if focused else self.panel_id
        try:
            where = export(stem, {"svg": self.chart.to_svg(title=self._heading), "csv": self.chart.to_csv()})
        except (NanoshellError, OSError) as error:
            self.desk.tell(f"not exported: {error}", severity="error")
        else:
            self.desk.tell(f"exported to {where}")


def _unread(course: Course) -> bool:
    """Return whether figures of ``course`` are known to be there that have not been read."""
    return not course.complete or (course.status.step is not None and not course.series)


def reading_words(courses: Sequence[Course]) -> str:
    """Return how much is known of the logs of ``courses`` that are still read backwards; '' for all of it."""
    unread = [course for course in courses if not (course.complete or course.problem)]
    if not unread:
        return ""
    shares = []
    for course in unread:
        loss = course.series.get("loss")
        known = loss is not None and len(loss.step) > 0 and loss.step[-1] > 0
        shares.append(float(1 - loss.step[0] / loss.step[-1]) if loss is not None and known else 0.0)
    logs = "the log" if len(courses) == 1 else "a log" if len(unread) == 1 else f"{len(unread)} logs"
    return f"reading {logs}: {100 * min(shares):.0f}%"


def _handed_on(action: Action) -> Callable[[ChartPanel], None]:
    """Return the method of the panel that does ``action`` in its chart."""

    def act(panel: ChartPanel) -> None:
        getattr(panel.chart, f"action_{action.id}")()
        panel.share()

    act.__doc__ = f"{action.title}."
    return act


for _action in line_chart.ACTIONS:
    setattr(ChartPanel, f"action_{_action.id}", _handed_on(_action))
