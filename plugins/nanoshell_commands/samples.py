"""The samples that a run took while it trained, and how they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from nanoshell_commands.layout import cell
from nanoshell_commands.progress import Event

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nanoshell import RunDirectory


@dataclass(frozen=True)
class SampleRow:
    """A continuation that the worker wrote: after which step, how many tokens, and why it ended."""

    step: int | None
    index: int | None
    prompt: str
    text: str
    tokens: int | None
    stop: str | None

    def __rich__(self) -> RenderableType:
        text = cell(self.text) if self.text else cell("(ended at once)", "nano.quiet")
        return cell("").append_text(cell(self.prompt, "nano.quiet")).append_text(text)


Row = TypeVar("Row", bound=SampleRow)


class Samples(list[Row]):
    """Samples under the steps that they were taken after; in JSON an ordinary array."""

    def __init__(self, rows: Sequence[Row], empty: str) -> None:
        super().__init__(rows)
        self._empty = empty

    def __rich__(self) -> RenderableType:
        from rich.console import Group

        if not self:
            return cell(self._empty)
        shown: list[RenderableType] = []
        step: int | None = -1
        for row in self:
            if row.step != step:
                shown.append(cell(("\n" if shown else "") + f"step {row.step or 0:,}", "nano.heading"))
                step = row.step
            shown.append(row)
        return Group(*shown)


def sample_row(event: Event) -> SampleRow:
    """Return what a ``sample`` event says."""
    return SampleRow(
        step=event.get("step"),
        index=event.get("index"),
        prompt=str(event.get("prompt") or ""),
        text=str(event.get("text") or ""),
        tokens=event.get("tokens"),
        stop=event.get("stop"),
    )


def read_samples(
    run: RunDirectory, *, step: int | None = None, last: int | None = None
) -> Samples[SampleRow]:
    """Return the samples of ``run`` in their order: of ``step`` alone, of these the ``last`` ones alone."""
    from nanoshell import effective_events, rare_events, typed

    events = effective_events(rare_events(run.events_path))
    rows = [sample_row(event) for event in events if event.get("type") == "sample"]
    if step is not None:
        rows = [row for row in rows if row.step == step]
    here = f"{run.name} has taken no samples" + (f" after step {step:,}" if step is not None else "")
    now = "" if run.status().ended else f"take one: {typed(f'run sample PROMPT --run {run.name}')}, or "
    how = f"{now}let runs take them: trainer.sample_interval"
    return Samples(rows[-last:] if last else rows, f"{here}; {how}")
