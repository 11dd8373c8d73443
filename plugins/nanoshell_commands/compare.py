"""``runs compare``: what differs in the configs of runs, and what came of it, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from nanoshell import human_bytes, human_count, human_seconds, setting_differences, setting_text
from nanoshell_commands.details import best_evaluation
from nanoshell_commands.layout import cell, figure
from nanoshell_commands.progress import Event

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from nanoshell import RunDirectory

_GAP = "  "
_NARROWEST = 6
"""Columns that a value is given at least; a table of very many runs is wider than the terminal."""

ConfigValue = Annotated[Any, "a value as the config has it"]


@dataclass(frozen=True)
class Result:
    """What came of a run. ``loss_at`` is its loss at the last step that all compared runs have reached.

    Losses are in nats a token, times in seconds, sizes in bytes; what is not known is None.
    """

    name: str
    path: str
    state: str
    step: int | None
    total_steps: int | None
    loss: float | None
    common_step: int | None
    loss_at: float | None
    val_loss: float | None
    best_val_loss: float | None
    best_step: int | None
    bits_per_byte: float | None
    bits_split: str | None
    tokens_per_second: float | None
    seconds: float | None
    parameters: int | None
    checkpoint_bytes: int | None
    bytes: int


@dataclass(frozen=True)
class Comparison:
    """Runs beside each other: ``config`` has the keys that differ, with the value of each run in order."""

    runs: list[Result]
    config: dict[str, list[ConfigValue]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        differing = [(key, [setting_text(value) for value in row]) for key, row in self.config.items()]
        results = [(name, [show(run) for run in self.runs]) for name, show in _results(self.runs)]
        came = [(name, row) for name, row in results if any(row)]
        heads = [run.name for run in self.runs]
        keys = max(len(key) for key, _ in (*differing, *came))
        room = max(_NARROWEST, (options.max_width - keys) // len(heads) - len(_GAP))
        columns = zip(heads, *(row for _, row in (*differing, *came)), strict=True)
        widths = [min(room, max(map(len, column))) for column in columns]
        yield cell(_line("", heads, keys, widths), "nano.heading")
        for key, row in differing:
            yield cell(_line(key, row, keys, widths))
        yield cell("" if differing else "(their configs and data are the same)", "nano.quiet")
        if differing:
            yield cell(_line("", heads, keys, widths), "nano.heading")
        for key, row in came:
            yield cell(_line(key, row, keys, widths))


def _line(key: str, values: Sequence[str], keys: int, widths: Sequence[int]) -> str:
    cells = [_shortened(value, width).ljust(width) for value, width in zip(values, widths, strict=True)]
    return _GAP.join([key.ljust(keys), *cells]).rstrip()


def _shortened(text: str, width: int) -> str:
    """Return ``text`` in ``width`` columns; where it is longer, its middle goes: names differ at the end."""
    if len(text) <= width:
        return text
    end = (width - 1) // 2
    return text[: width - 1 - end] + "…" + text[len(text) - end :]


def _results(runs: Sequence[Result]) -> list[tuple[str, Callable[[Result], str]]]:
    common = runs[0].common_step
    return [
        ("state", lambda run: run.state),
        ("step", _steps),
        ("loss", lambda run: figure(run.loss)),
        (f"loss at step {common or 0:,}", lambda run: figure(run.loss_at)),
        ("validation loss", lambda run: figure(run.val_loss)),
        ("best of them", _best),
        ("bits per byte", _bits),
        ("tokens/s", lambda run: human_count(run.tokens_per_second)),
        ("wall time", lambda run: human_seconds(run.seconds)),
        ("parameters", lambda run: human_count(run.parameters)),
        ("checkpoint", lambda run: human_bytes(run.checkpoint_bytes)),
        ("on disk", lambda run: human_bytes(run.bytes)),
    ]


def _steps(run: Result) -> str:
    if run.step is None:
        return ""
    return f"{run.step:,}" + (f"/{run.total_steps:,}" if run.total_steps not in (None, run.step) else "")


def _best(run: Result) -> str:
    if run.best_val_loss is None:
        return ""
    return figure(run.best_val_loss) + (f" at {run.best_step:,}" if run.best_step is not None else "")


def _bits(run: Result) -> str:
    """Return the bits per byte, with a word where they are of the training data: others are of held-out."""
    return figure(run.bits_per_byte) + (" (training data)" if run.bits_split == "train" else "")


def result(run: RunDirectory, events: Sequence[Event], common: int | None) -> Result:
    """Return what came of ``run``, whose events but the steps are ``events``."""
    from nanoshell import step_event

    status = run.status()
    evaluations = [event for event in events if event.get("type") == "eval"]
    best = best_evaluation(events) or {}
    kept = run.checkpoints()
    there = step_event(run.events_path, common) if common else None
    return Result(
        name=run.name,
        path=str(run.path),
        state=status.state,
        step=status.step,
        total_steps=status.total_steps,
        loss=status.loss,
        common_step=common,
        loss_at=there.get("loss") if there else None,
        val_loss=status.val_loss,
        best_val_loss=best.get("val_loss"),
        best_step=best.get("step"),
        bits_per_byte=evaluations[-1].get("bits_per_byte") if evaluations else None,
        bits_split=evaluations[-1].get("split") if evaluations else None,
        tokens_per_second=status.tokens_per_second,
        seconds=worked(events, status.updated),
        parameters=_parameters(run.record().get("model")),
        checkpoint_bytes=kept[-1].num_bytes if kept else None,
        bytes=run.size_bytes(),
    )


def worked(events: Sequence[Event], updated: float | None) -> float | None:
    """Return the seconds that the workers of a run have been there, one after another, or None."""
    spans: list[tuple[float, float]] = []
    for event in events:
        moment = float(event.get("t") or 0.0)
        if event.get("state") == "starting" or not spans:
            spans.append((moment, moment))
        spans[-1] = (spans[-1][0], moment)
    if not spans:
        return None
    if updated is not None:
        spans[-1] = (spans[-1][0], max(spans[-1][1], updated))
    return round(sum(end - start for start, end in spans), 1)


def _parameters(model: Any) -> int | None:
    from nanoshell import ModelConfig, parameter_split

    try:
        return parameter_split(ModelConfig.model_validate(model)).total
    except ValueError:
        return None


def comparison(runs: Sequence[RunDirectory]) -> Comparison:
    """Return how ``runs`` differ, and what came of each."""
    from nanoshell import effective_events, rare_events, run_settings

    events = [effective_events(rare_events(run.events_path)) for run in runs]
    steps = [status.step for run in runs if (status := run.status()).step]
    common = min(steps) if len(steps) == len(runs) else None
    settings = [run_settings(run.record(), told) for run, told in zip(runs, events, strict=True)]
    return Comparison(
        [result(run, told, common) for run, told in zip(runs, events, strict=True)],
        setting_differences(settings),
    )
