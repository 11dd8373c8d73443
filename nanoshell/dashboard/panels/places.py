"""Steps as people write them, and where they stand along the axis that the charts have."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nanoshell.dashboard.course import Axis, Snapshot

_SUFFIXES = {"k": 1e3, "m": 1e6, "g": 1e9}


def step_named(text: str) -> float | None:
    """Return the step that ``text`` names (``43210``, ``43,210``, ``43.2k``); None where it names none."""
    word = text.strip().lower().removeprefix("step").strip().replace(",", "").replace("_", "")
    number, factor = (word[:-1], _SUFFIXES[word[-1]]) if word[-1:] in _SUFFIXES else (word, 1.0)
    try:
        found = float(number) * factor
    except ValueError:
        return None
    return float(round(found)) if math.isfinite(found) and abs(found - round(found)) < 1e-6 else None


def not_a_step(text: str) -> str:
    """Return what is wrong with ``text`` as a step, '' for nothing."""
    return "" if step_named(text) is not None else f"'{text}' is no step; write 43210, 43,210 or 43.2k"


def wrong_step(text: str, span: tuple[float, float]) -> str:
    """Return what is wrong with ``text`` as one of the steps of ``span``, '' for nothing."""
    step = step_named(text)
    if step is None:
        return not_a_step(text)
    if not span[0] <= step <= span[1]:
        return f"the runs that are shown go from step {span[0]:,.0f} to {span[1]:,.0f}"
    return ""


def place_of_step(snapshot: Snapshot, step: float, axis: Axis) -> float:
    """Return where ``step`` stands on ``axis``: in the run in focus, else in the first that came so far."""
    focused = (snapshot.focused,) if snapshot.focused is not None else ()
    losses = [course.series["loss"] for course in (*focused, *snapshot.courses) if "loss" in course.series]
    losses = [loss for loss in losses if len(loss.step)]
    if axis == "step" or not losses:
        return step
    found = next((loss for loss in losses if loss.step[0] <= step <= loss.step[-1]), losses[0])
    return float(np.interp(step, found.step, found.along(axis)))
