"""The course of a loss in a few letters: ``▇▅▃▂▁``, each as high as the logarithm of the loss there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from nanoshell.runs.events import Event, number, parse_line

POINTS = 10
"""Letters of a sparkline."""

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII = "_.,-=+*#"
NO_NUMBER = "!"
"""Stands for a loss that is no number: its training has diverged there."""

BLOCK_BYTES = 2048
"""So much of the log is read for each letter, however long the log is: some ten steps."""

_STEP = b'"type": "step"'


def sparkline(losses: Sequence[float], letters: str = BLOCKS) -> str:
    """Return a letter for each of ``losses``, by their logarithms; '' for fewer than two.

    A loss of 0 or less counts as the lowest of the others.
    """
    if len(losses) < 2:
        return ""
    heights = [math.log(loss) if loss > 0 else -math.inf for loss in losses if math.isfinite(loss)]
    known = [height for height in heights if math.isfinite(height)]
    low, high = min(known, default=0.0), max(known, default=0.0)

    def letter(loss: float) -> str:
        if not math.isfinite(loss):
            return NO_NUMBER
        height = math.log(loss) if loss > 0 else low
        share = (height - low) / (high - low) if high - low > 1e-6 else 0.0
        return letters[min(int(share * len(letters)), len(letters) - 1)]

    return "".join(map(letter, losses))


def course(path: Path, points: int = POINTS) -> list[float]:
    """Return at most ``points`` losses from the beginning of the log at ``path`` to its end, oldest first.

    Each is the mean of some steps, NaN where one of them had no finite loss. What a resume made void is left
    out. It reads at most ``points`` blocks of `BLOCK_BYTES`; a log that is not there has no course.
    """
    try:
        with path.open("rb", buffering=0) as file:
            size = file.seek(0, 2)
            if size <= points * BLOCK_BYTES:
                file.seek(0)
                steps = _valid(_steps(file.read(size)))
                share = max(1, math.ceil(len(steps) / points))
                groups = [steps[start : start + share] for start in range(0, len(steps), share)]
            else:
                groups = []
                for index in range(points):
                    file.seek(size * (index + 1) // points - BLOCK_BYTES)
                    groups.append(_steps(file.read(BLOCK_BYTES)))
    except OSError:
        return []
    means: list[float] = []
    limit = math.inf
    for group in reversed(groups):
        valid = [(step, loss) for step, loss in _valid(group) if step < limit]
        if valid:
            limit = valid[0][0]
            means.append(sum(loss for _, loss in valid) / len(valid))
    return means[::-1]


def _steps(block: bytes) -> list[tuple[float, float]]:
    """Return (step, loss) of the whole lines of ``block``; its first and last may be cut, and are no JSON."""
    found = []
    for line in block.split(b"\n"):
        event: Event | None = parse_line(line) if _STEP in line else None
        if event is not None and (step := number(event, "step")) is not None:
            loss = number(event, "loss")
            found.append((step, math.nan if loss is None or not math.isfinite(loss) else loss))
    return found


def _valid(steps: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return ``steps`` without those that were made again later."""
    kept: list[tuple[float, float]] = []
    limit = math.inf
    for step, loss in reversed(steps):
        if step < limit:
            kept.append((step, loss))
            limit = step
    return kept[::-1]
