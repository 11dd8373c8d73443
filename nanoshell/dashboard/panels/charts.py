"""The charts of the runs that are shown: a panel for each kind of figure, all looking at the same stretch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult

from nanoshell.dashboard.chart import line_chart
from nanoshell.dashboard.chart.line_chart import LineChart
from nanoshell.dashboard.course import AXES, Sight, Snapshot
from nanoshell.dashboard.panel import Action, Panel
from nanoshell.dashboard.panels.exporting import copy, export
from nanoshell.dashboard.panels.figures import (
    Figure,
    along,
    expert_layers,
    expert_lines,
    has,
    lines,
    whole_span,
)
from nanoshell.errors import NanoshellError, unknown_name

if TYPE_CHECKING:
    from nanoshell.dashboard.chart.curve import ChartSeries

SMOOTHING = (0.0, 0.6, 0.9, 0.97, 0.99)
"""The weights of the past that keys choose from."""

HIDDEN = "charts.hidden"
"""Under which name the desk remembers the charts that are hidden."""


class ChartPanel(Panel):
    """A chart of ``figures`` of every run that is shown.

    ``smooths`` is False where the figures have no noise; ``log_from_start`` begins with a logarithmic y axis.
    A chart of a plugin names its figures, and is registered as any panel is.
    """

    panel_id = "chart"
    place = "charts"
    figures: ClassVar[tuple[Figure, ...]] = ()
    smooths: ClassVar[bool] = True
    log_from_start: ClassVar[bool] = False
    about = (
        "All charts show the same stretch of their runs, and share a crosshair, with its values above "
        "each chart. The raw values are dim, the smoothed line is bright; crosses mark what is no number. "
        "Along the axis stand checkpoints, alerts and what was asked of the run in focus. Enter gives "
        "this chart all the room, Esc brings the others back."
    )
    actions: ClassVar[tuple[Action, ...]] = (
        Action("axis", "By step, tokens or time", ("x",), "Chart", footer=True),
        Action("log_y", "Logarithmic, or not", ("l",), "Chart", footer=True),
        Action("smoother", "Smoother", ("s", "right_square_bracket"), "Chart", footer=True),
        Action("rougher", "Less smooth", ("a", "left_square_bracket"), "Chart"),
        *line_chart.ACTIONS,
        Action("copy_values", "Copy the values", ("y",), "Chart"),
        Action("export", "Export as SVG and CSV", ("e",), "Chart", writes=True),
        Action("hide", "Hide this chart", ("h",), "Chart"),
        Action("unhide", "Show all charts", ("u",), "Chart"),
    )
    DEFAULT_CSS = "ChartPanel { layout: vertical; }"

    def __init__(self) -> None:
        super().__init__()
        self.chart = LineChart()
        self.chart.can_focus = False
        self._shown = Snapshot()

    def compose(self) -> ComposeResult:
        yield self.chart

    def on_mount(self) -> None:
        self.chart.ascii = self.desk.ascii
        kept = self.desk.recall(f"chart.{self.panel_id}.log_y")
        self.chart.log_y = kept if isinstance(kept, bool) else self.log_from_start
        self.chart.look(self._own(self.desk.sight))

    # What the dashboard hands over

    def wanted(self, snapshot: Snapshot) -> bool:
        return self.panel_id not in self._hidden() and self.has_figures(snapshot)

    def has_figures(self, snapshot: Snapshot) -> bool:
        """Return whether one of the runs has something to draw."""
        return any(has(snapshot, figure.name) for figure in self.figures)

    def update(self, snapshot: Snapshot) -> None:
        self._shown = snapshot
        self._fill()

    def look(self, sight: Sight) -> None:
        other = sight.axis != self.chart.sight.axis
        self.chart.look(self._own(sight))
        if other:
            self._fill()

    def _own(self, sight: Sight) -> Sight:
        """Return ``sight`` as this chart has it: which axis is logarithmic is each chart's own matter."""
        return replace(sight, log_y=False, smoothing=sight.smoothing if self.smooths else 0.0)

    def _fill(self) -> None:
        focused, axis = self._shown.focused, self.chart.sight.axis
        self.chart.set_series(self.drawn(self._shown), span=whole_span(self._shown, axis))
        self.chart.set_marks(focused.marks if focused else ())

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
        self.desk.tell(f"smoothing {smoothing:g}" if smoothing else "no smoothing")

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
        text = self.values()
        if not text:
            self.desk.tell("there are no values here", severity="warning")
            return
        path = copy(self.app, text)
        self.desk.tell("copied" + (f"; where the terminal does not take it: {path}" if path else ""))

    def values(self) -> str:
        """Return the values under the crosshair, or the newest: a line each, fields parted by tabs."""
        axis, found = self.chart.sight.axis, []
        for series, place, value in self.chart.read_off():
            found.append(f"{series.name}\t{axis} {place:.12g}\t{value:.9g}\n")
        return "".join(found)

    @property
    def _heading(self) -> str:
        return ", ".join(filter(None, (self.title, self.chart.title)))

    def action_export(self) -> None:
        """Write what is visible as a drawing (SVG) and as a table (CSV)."""
        focused = self._shown.focused
        stem = f"{focused.run.name}-{self.panel_id}" if focused else self.panel_id
        try:
            where = export(
                self.app, stem, {"svg": self.chart.to_svg(title=self._heading), "csv": self.chart.to_csv()}
            )
        except (NanoshellError, OSError) as error:
            self.desk.tell(f"not exported: {error}", severity="error")
        else:
            self.desk.tell(f"exported to {where}")


def _handed_on(action: Action) -> Callable[[ChartPanel], None]:
    """Return the method of the panel that does ``action`` in its chart."""

    def act(panel: ChartPanel) -> None:
        getattr(panel.chart, f"action_{action.id}")()
        panel.share()

    act.__doc__ = f"{action.title}."
    return act


for _action in line_chart.ACTIONS:
    setattr(ChartPanel, f"action_{_action.id}", _handed_on(_action))


class LossChart(ChartPanel):
    """Training loss, and validation loss as points."""

    panel_id = "loss"
    title = "Loss (nats)"
    figures = (Figure("loss", "training"), Figure("val_loss", "validation", points=True))

    def has_figures(self, snapshot: Snapshot) -> bool:
        return True


class LearningRateChart(ChartPanel):
    """Learning rate."""

    panel_id = "learning_rate"
    title = "Learning rate"
    smooths = False
    figures = (Figure("learning_rate", "learning rate"),)


class GradientChart(ChartPanel):
    """Norm of the gradient before it is clipped."""

    panel_id = "grad_norm"
    title = "Gradient norm"
    figures = (Figure("grad_norm", "gradient norm"),)


class SpeedChart(ChartPanel):
    """Tokens per second."""

    panel_id = "speed"
    title = "Tokens/s"
    figures = (Figure("tokens/s", "tokens/s"),)


class MemoryChart(ChartPanel):
    """Memory of the worker, and of its accelerator as points."""

    panel_id = "memory"
    title = "Memory (bytes)"
    smooths = False
    figures = (Figure("memory", "worker"), Figure("gpu_memory", "GPU", points=True))


class BitsPerByteChart(ChartPanel):
    """Bits per byte of the validation text."""

    panel_id = "bits_per_byte"
    title = "Bits per byte"
    figures = (Figure("bits_per_byte", "validation", points=True),)


class BalanceChart(ChartPanel):
    """How evenly tokens go to experts: 1 where the load is even."""

    panel_id = "balance_loss"
    title = "Balance loss"
    figures = (Figure("balance_loss", "balance loss"),)


class ExpertChart(ChartPanel):
    """The share of each expert of one layer of the focused run. ``expert_layer`` is the one chosen."""

    panel_id = "expert_load"
    title = "Expert load"
    about = "The share of a layer's choices that fell on each expert; v goes to the next layer."
    actions: ClassVar[tuple[Action, ...]] = (
        Action("next_layer", "Next layer", ("v",), "Chart", footer=True),
        *ChartPanel.actions,
    )

    def __init__(self) -> None:
        super().__init__()
        self.expert_layer: int | None = None

    def has_figures(self, snapshot: Snapshot) -> bool:
        return bool(expert_layers(snapshot.focused))

    def drawn(self, snapshot: Snapshot) -> list[ChartSeries]:
        layers, kept = expert_layers(snapshot.focused), self.desk.recall("chart.expert_load.layer")
        if snapshot.focused is None or not layers:
            return []
        self.expert_layer = kept if kept in layers else layers[0]
        self.chart.title = f"layer {self.expert_layer}"
        return expert_lines(snapshot.focused, self.expert_layer, self.chart.sight.axis)

    def action_next_layer(self) -> None:
        """Show the experts of the next layer that has some."""
        layers = expert_layers(self._shown.focused)
        if not layers or self.expert_layer is None:
            return
        at = layers.index(self.expert_layer) if self.expert_layer in layers else -1
        self.desk.remember("chart.expert_load.layer", layers[(at + 1) % len(layers)])
        self._fill()


_CHARTS: tuple[type[ChartPanel], ...] = (
    LossChart,
    LearningRateChart,
    GradientChart,
    SpeedChart,
    BitsPerByteChart,
    MemoryChart,
    ExpertChart,
    BalanceChart,
)

CHARTS = tuple(chart.panel_id for chart in _CHARTS)
"""The charts that the dashboard brings, in the order of its grid."""


def chart_panel(name: str) -> ChartPanel:
    """Return the chart called ``name``, one of `CHARTS`. Raises `UnknownNameError`."""
    for chart in _CHARTS:
        if chart.panel_id == name:
            return chart()
    raise unknown_name("chart", name, CHARTS)
