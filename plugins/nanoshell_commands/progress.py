"""How the steps of a run are shown: as plain lines, as JSON lines, as a bar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NotRequired, TypedDict, cast

from nanoshell import human_count, human_seconds
from nanoshell_commands.layout import figure, steady

if TYPE_CHECKING:
    from rich.progress import Progress

    from nanoshell import Screen

STEP_FIELDS = ("step", "loss", "grad_norm", "learning_rate", "epoch", "it/s", "tokens/s")
"""What a logged step tells a script, under these names."""
FIELDS_OF_SOME = ("balance_loss", "expert_load", "not_finite")
"""What it tells further, where layers route tokens to experts, and where figures are no numbers."""

Event = Annotated[dict[str, Any], "an event as the log of the run has it: t, type and what belongs to that"]

StepLine = TypedDict(
    "StepLine",
    {
        "step": int,
        "loss": float | None,
        "grad_norm": float | None,
        "learning_rate": float | None,
        "epoch": float | None,
        "it/s": float | None,
        "tokens/s": float | None,
        "balance_loss": NotRequired[float | None],
        "expert_load": NotRequired[dict[str, list[float]]],
        "not_finite": NotRequired[list[str]],
    },
)


def step_line(event: Event) -> StepLine:
    """Return a step as scripts get it; a figure that is no number is null, named in ``not_finite``."""
    further = {field: event[field] for field in FIELDS_OF_SOME if field in event}
    return cast("StepLine", {field: event.get(field) for field in STEP_FIELDS} | further)


def step_text(event: Event, total: int | None) -> str:
    """Return a step as one line for people."""
    parts = [f"step {event['step']:,}" + (f"/{total:,}" if total else "")]
    parts.append(f"loss {steady(event.get('loss')) or 'nan'}")
    if event.get("learning_rate") is not None:
        parts.append(f"lr {figure(event['learning_rate'], 3)}")
    if event.get("tokens/s") is not None:
        parts.append(f"{human_count(event['tokens/s'])} tokens/s")
    if eta := eta_text(event, total):
        parts.append(eta)
    return "  ".join(parts)


def eta_text(event: Event, total: int | None) -> str:
    """Return how long the rest will take at the speed of ``event``, empty where unknown."""
    speed = event.get("it/s")
    if not total or not speed:
        return ""
    return f"ETA {human_seconds(max(0, total - event['step']) / speed)}"


def progress_bar(screen: Screen) -> Progress:
    """Return a bar with room for loss, speed and ETA, drawn on the narration side of ``screen``."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    # Not as wide as the screen: the ^C that a terminal echoes would begin a line that nobody erases.
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TextColumn("{task.fields[speed]}", style="nano.quiet"),
        TextColumn("{task.fields[eta]}", style="nano.quiet"),
        console=screen.err,
        transient=True,
    )
