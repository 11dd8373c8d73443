"""The list below a sample: what the run wrote after the same prompt at other steps, a line each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.cells import cell_len
from textual.content import Content

from nanoshell.dashboard.chart import words
from nanoshell.dashboard.panels.sampletext import PROMPT, QUIET
from nanoshell.dashboard.panels.textdiff import shown

if TYPE_CHECKING:
    from nanoshell.dashboard.course import Course, SampleText

LEAST = 3
"""Fewer lines than these, the title among them, are not worth their place."""

_SIGNS = (("▸", ">"), ("◂", "<"))
"""What stands before the text that is shown, before the one on its left, and the same in ASCII."""

_LONGEST = 400
"""Letters of a text that are looked at: no line is wider."""


_USUAL = 64
"""So many of the newest texts tell how long texts are."""


def rows_of(sample: SampleText, width: int) -> int:
    """Return how many rows the prompt and the text of ``sample`` take in ``width`` cells, about."""
    lines = f"{sample.prompt}{sample.text}{sample.stop}".split("\n")
    return sum(max(1, -(-cell_len(line) // max(1, width - 2))) for line in lines)


def free_rows(samples: Sequence[SampleText], seen: Sequence[SampleText], height: int, width: int) -> int:
    """Return how many of ``height`` rows texts leave free that are ``width`` cells wide.

    Those that are ``seen`` have all the rows they need, the other ``samples`` up to half of all, so that
    going through them moves nothing.
    """
    usual = min(max(rows_of(sample, width) for sample in samples[-_USUAL:]), height // 2)
    return max(0, height - max(usual, *(rows_of(sample, width) for sample in seen)))


def sample_list(
    samples: Sequence[SampleText],
    at: int,
    pinned: SampleText | None,
    course: Course,
    rows: int,
    ascii_only: bool,
) -> Content:
    """Return a title and a line for each of ``samples`` around the one ``at``, ``rows`` lines at most.

    A line has the step, the validation loss as it was known by then, and the first words. The text that is
    shown is marked, and so is the one ``pinned`` on its left.
    """
    count = min(len(samples), rows - 1)
    first = max(0, min(at - count // 2, len(samples) - count))
    part = samples[first : first + count]
    losses = [_known(course, sample.step) for sample in part]
    steps = [f"{sample.step:,}" for sample in part]
    wide, wide_loss = (max(map(len, column)) for column in (("step", *steps), ("val", *losses)))
    if not any(losses):
        wide_loss = 0
    title = f"  {'step':>{wide}}  " + (f"{'val':>{wide_loss}}  " if wide_loss else "") + "what was written"
    pieces: list[tuple[str, str]] = [(title, QUIET)]
    for place, (sample, step, loss) in enumerate(zip(part, steps, losses, strict=True), first):
        chosen = place == at or sample is pinned
        sign = _SIGNS[place != at][ascii_only] if chosen else " "
        about = f"{step:>{wide}}  " + (f"{loss:>{wide_loss}}  " if wide_loss else "")
        text = " ".join(shown(sample.text[:_LONGEST], ascii_only=ascii_only).split())
        pieces += [(f"\n{sign} {about}", PROMPT if chosen else QUIET), (text, PROMPT if chosen else "")]
    return Content.assemble(*pieces)


def _known(course: Course, step: int) -> str:
    """Return the validation loss of ``course`` that was the newest at ``step``; '' before the first."""
    series = course.series.get("val_loss")
    at = int(np.searchsorted(series.step, step, "right")) - 1 if series is not None else -1
    if series is None or at < 0:
        return ""
    value = float(series.value[at])
    return f"{value:.3f}" if abs(value) < 1000 else words.short(value)  # NaN, too
