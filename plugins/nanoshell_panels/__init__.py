"""The panels of the dashboard. They are made, and Textual is loaded, when a dashboard opens."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from nanoshell import hookimpl

if TYPE_CHECKING:
    from nanoshell import Panel, RegisterPanel

nanoshell_api = 1


def _of_nanoshell(name: str) -> Callable[[], Panel]:
    """Return a factory of the panel of nanoshell whose class is ``name``."""

    def build() -> Panel:
        import nanoshell

        panel: Panel = getattr(nanoshell, name)()
        return panel

    return build


def _chart(name: str) -> Callable[[], Panel]:
    """Return a factory of the chart called ``name``."""

    def build() -> Panel:
        import nanoshell

        return nanoshell.chart_panel(name)

    return build


_CHARTS = {
    "loss": "training loss, and validation loss as points",
    "learning_rate": "learning rate",
    "grad_norm": "norm of the gradient before it is clipped",
    "speed": "tokens per second",
    "bits_per_byte": "bits per byte of the validation text",
    "train_bits_per_byte": "bits per byte of the training text, where none is held back",
    "memory": "memory of the worker and of its accelerator",
    "expert_load": "share of each expert of a layer",
    "balance_loss": "how evenly tokens go to experts",
}


@hookimpl
def register_panels(register: RegisterPanel) -> None:
    """Register the panels, in the order in which their views show them."""
    for name, summary in _CHARTS.items():
        register(f"chart-{name}", _chart(name), summary=summary)
    register(
        "samples", _of_nanoshell("SamplesPanel"), summary="what the run in focus writes, by prompt and step"
    )
    register("chat", _of_nanoshell("ChatPanel"), summary="the conversation of the prompt, gone on with")
    register(
        "runs", _of_nanoshell("RunsPanel"), summary="all runs of the folder: states, figures, differences"
    )
    register(
        "overview", _of_nanoshell("OverviewPanel"), summary="what the run in focus was given, and has kept"
    )
    register(
        "system", _of_nanoshell("SystemPanel"), summary="processor, memory and disk under the run in focus"
    )
    register(
        "log", _of_nanoshell("LogPanel"), summary="what the worker of the run in focus prints, and its events"
    )
    register("alerts", _of_nanoshell("AlertsPanel"), summary="what was found to be wrong with the runs shown")
