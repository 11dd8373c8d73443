"""Which charts there are: what each shows of a run, and what its curve tells who looks at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from nanoshell.dashboard.panel import Action
from nanoshell.dashboard.panels.charts import ABOUT, ChartPanel
from nanoshell.dashboard.panels.figures import Figure, expert_layers, expert_lines, with_experts
from nanoshell.dashboard.panels.plain import plain
from nanoshell.errors import unknown_name

if TYPE_CHECKING:
    from nanoshell.dashboard.chart.curve import ChartSeries
    from nanoshell.dashboard.course import Snapshot


class LossChart(ChartPanel):
    """Training loss, and validation loss as points."""

    panel_id = "loss"
    title = "Loss (nats)"
    about = (
        "How wrong the model is about the next token, in nats: the natural logarithm of how many tokens it "
        "wavers between, so that 0 is certainty, 2.3 one in ten, and a model that knows nothing begins at "
        "the logarithm of the size of its vocabulary. The line is the text it trains on, the points are text "
        "that it does not train on (validation).\n\n"
        "Healthy: it falls steeply, then ever slower, with noise, and the points go down with the line. "
        "Points that rise while the line falls: it learns its text by heart; stop, or give it more text. "
        "A line that jumps up or ends in crosses: the learning rate is too high ({ lowers it); go back "
        "to a checkpoint. A line that is flat from the start: the learning rate is too low, or the text "
        "says nothing. The axis is logarithmic, so that what comes after the first steps has height, "
        "too; l makes it linear.\n\n" + ABOUT
    )
    log_from_start = True  # the first steps would take all the height, and what comes after is what matters
    figures = (Figure("loss", "training"), Figure("val_loss", "validation", points=True))

    def has_figures(self, snapshot: Snapshot) -> bool:
        return True


class LearningRateChart(ChartPanel):
    """Learning rate."""

    panel_id = "learning_rate"
    title = "Learning rate"
    about = (
        "How far each step changes the weights. It follows the schedule: up during the warmup, then down to "
        "the end, and it changes where somebody has set it ({, }, L), which ◆ marks.\n\n"
        "There is no healthy shape but the one you chose. Where the loss jumps while it is at its highest, "
        "it was too high; where the loss still falls quickly at the end, train longer (X).\n\n" + ABOUT
    )
    smooths = False
    figures = (Figure("learning_rate", "learning rate"),)


class GradientChart(ChartPanel):
    """Norm of the gradient before it is clipped."""

    panel_id = "grad_norm"
    title = "Gradient norm"
    about = (
        "How strongly a step wants to change the weights: the length of the gradient of all of them, before "
        "it is clipped. It has no unit; what counts is how it changes.\n\n"
        "Healthy: high at first, then lower and steady, with noise and a spike now and then, which clipping "
        "makes harmless. It climbs for many steps, or has arrows and crosses: training runs away; lower the "
        "learning rate, and go back to a checkpoint. Nearly zero while the loss is high: nothing "
        "is learned.\n\n" + ABOUT
    )
    figures = (Figure("grad_norm", "gradient norm"),)


class SpeedChart(ChartPanel):
    """Tokens per second."""

    panel_id = "speed"
    title = "Tokens/s"
    about = (
        "How many tokens are trained on in a second, by the clock.\n\n"
        "Healthy: a level line. Short dips are evaluations, samples and checkpoints. Lower for long: "
        "something else uses the processor, the memory is full (see Memory), or the machine is hot. It is "
        "for comparing: a larger batch often gives more tokens a second, as long as it fits into the "
        "memory.\n\n" + ABOUT
    )
    figures = (Figure("tokens/s", "tokens/s"),)


class MemoryChart(ChartPanel):
    """Memory of the worker, and of its accelerator as points."""

    panel_id = "memory"
    title = "Memory (bytes)"
    about = (
        "What the worker holds in memory, in bytes (M is a million, G a thousand millions); points are the "
        "memory of its GPU.\n\n"
        "Healthy: it climbs in the first steps, then stays level. A line that climbs all the time ends with "
        "the system killing the worker; the last checkpoint remains. Too near to what the machine has (see "
        "Run): a smaller batch or a shorter context takes less.\n\n" + ABOUT
    )
    smooths = False
    figures = (Figure("memory", "worker"), Figure("gpu_memory", "GPU", points=True))


class BitsPerByteChart(ChartPanel):
    """Bits per byte of the validation text."""

    panel_id = "bits_per_byte"
    title = "Bits per byte"
    about = (
        "How many bits the model needs for a byte of the validation text. Unlike the loss it does not depend "
        "on the tokenizer, so that it compares models with different ones: 8 is no compression at all, zip "
        "reaches about 2 to 3 on English text, large models less than 1.\n\n"
        "Healthy: it falls as the validation loss does, with every evaluation (E asks for one). It rises "
        "while the training loss falls: the text is being learned by heart.\n\n" + ABOUT
    )
    figures = (Figure("bits_per_byte", "validation", points=True),)


class TrainingBitsChart(ChartPanel):
    """Bits per byte of the text that is trained on, where none is held back."""

    panel_id = "train_bits_per_byte"
    title = "Bits per byte of training text"
    about = (
        "How many bits the model needs for a byte of the text that it trains on, exactly: the run holds no "
        "text back. What is known by heart counts as well, so that it stands apart from Bits per byte: "
        "compare it with nothing there. Healthy: it falls, ever slower. With text held "
        "back (--val-fraction) a run tells how well it writes what it has not read.\n\n" + ABOUT
    )
    figures = (Figure("train_bits_per_byte", "training text", points=True),)


class BalanceChart(ChartPanel):
    """How evenly tokens go to experts: 1 where the load is even."""

    panel_id = "balance_loss"
    title = "Balance loss"
    about = (
        "How evenly the router spreads tokens over the experts: 1 where each gets its share, as many as "
        "there are experts where one gets all. It is added to the loss, with a small weight.\n\n"
        "Healthy: it falls towards 1 early and stays near. It stays high: experts lie idle, and the model is "
        "smaller than it looks; see Expert load, and raise load_balance_alpha, its "
        "weight.\n\n" + ABOUT
    )
    figures = (Figure("balance_loss", "balance loss"),)


class ExpertChart(ChartPanel):
    """The share of each expert of one layer of a run: of the focused one, or the first that has experts.

    ``expert_layer`` is the layer chosen.
    """

    panel_id = "expert_load"
    title = "Expert load"
    about = (
        "Which share of a layer's choices fell on each of its experts, of the run in focus or the first that "
        "has experts; colours are those of experts here. v goes to the next layer that has some.\n\n"
        "Healthy: all lines come together at one over the number of experts (0.125 for 8). One line high "
        "above the others: the router has a favourite; lines at 0: experts that learn nothing. If that stays "
        "so after the first hundreds of steps, raise load_balance_alpha, the weight of the balance loss.\n\n"
        + ABOUT
    )
    actions: ClassVar[tuple[Action, ...]] = (
        Action("next_layer", "Next layer", ("v",), "Chart", footer=True),
        *ChartPanel.actions,
    )

    def __init__(self) -> None:
        super().__init__()
        self.expert_layer: int | None = None

    def has_figures(self, snapshot: Snapshot) -> bool:
        return with_experts(snapshot) is not None

    def drawn(self, snapshot: Snapshot) -> list[ChartSeries]:
        course, kept = with_experts(snapshot), self.desk.recall("chart.expert_load.layer")
        if course is None:
            return []
        layers = expert_layers(course)
        self.expert_layer = kept if kept in layers else layers[0]
        run = f"{plain(course.run.name)}, " if len(snapshot.courses) > 1 else ""
        self.chart.title = f"{run}layer {self.expert_layer}, experts"
        return expert_lines(course, self.expert_layer, self.chart.sight.axis)

    def action_next_layer(self) -> None:
        """Show the experts of the next layer that has some."""
        layers = expert_layers(with_experts(self._shown))
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
    TrainingBitsChart,
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
