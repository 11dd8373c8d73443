"""How figures are written for people, the same in every face: short, and nothing for what is not known."""

from __future__ import annotations

import math
import time

_COARSENESS = ((60, 1), (600, 10), (3600, 60), (36_000, 300))
"""Below how many seconds an expectation is told in steps of how many."""


def human_bytes(amount: float | None) -> str:
    """Return ``amount`` bytes as people read them (``25.5 kB``), empty where unknown."""
    if amount is None:
        return ""
    size = float(amount)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 99.5 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def human_count(amount: float | None) -> str:
    """Return a count in three figures (``12.9M``), empty where unknown."""
    if amount is None:
        return ""
    size = float(amount)
    for unit in ("", "k", "M"):
        if size < 999.5:
            return f"{size:.0f}{unit}" if not unit or size >= 99.5 else f"{size:.1f}{unit}"
        size /= 1000
    return f"{size:.1f}B"


def human_seconds(seconds: float | None) -> str:
    """Return a span of time in its two largest units (``2h05m``), empty where unknown or without end."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02d}h"


def about_seconds(seconds: float | None) -> str:
    """Return how long something is expected to take (``26m``, ``1h10m``), no finer than one can know."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    step = next((step for below, step in _COARSENESS if seconds < below), 3600)
    rounded = round(seconds / step) * step
    return f"{rounded // 60}m" if 600 <= rounded < 3600 else human_seconds(rounded)


def human_time(moment: float | None) -> str:
    """Return a time since the epoch as local date and time, empty where unknown."""
    return "" if moment is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
