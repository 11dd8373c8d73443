"""How figures are written for people, the same in every face: short, and nothing for what is not known."""

from __future__ import annotations

import math
import time

_FINENESS = ((3600, 1), (86_400, 60), (math.inf, 3600))
"""Below how many seconds a span of time is told in steps of how many."""

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
    return exact_seconds(whole, next(step for below, step in _FINENESS if whole < below))


def exact_seconds(seconds: float, step: float = 1.0) -> str:
    """Return a span of time as exactly as values ``step`` seconds apart need it.

    So it is ``2h`` among hours, ``2h00m`` among minutes, ``0.25s``. ``seconds`` must be finite.
    """
    if seconds < 0:
        return "-" + exact_seconds(-seconds, step)
    if 0 < step < 1:
        return f"{seconds:.{min(9, -math.floor(math.log10(step) + 1e-9))}f}s"
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        fine = f"{hours:02}h{minutes:02}m" if step % 3600 else f"{hours:02}h" if step % 86_400 else ""
        return f"{days}d{fine}"
    if hours:
        fine = f"{minutes:02}m" if step % 3600 else ""
        return f"{hours}h{fine}" + (f"{left:02}s" if 0 < step < 60 and left else "")
    if minutes:
        return f"{minutes}m{left:02}s" if step % 60 else f"{minutes}m"
    return f"{left}s"


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
