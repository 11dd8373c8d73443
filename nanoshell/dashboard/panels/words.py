"""How panels write figures: short, and nothing for what is not known."""

from __future__ import annotations

import time

from nanoshell.dashboard.chart.words import duration, short


def figure(value: float | None, digits: int = 4) -> str:
    """Return a number in ``digits`` digits (``2.314``, ``12.3k``, ``nan``), '' where it is not known."""
    return "" if value is None else short(value, digits)


def count(value: float | None) -> str:
    """Return a whole number with its thousands apart, '' where it is not known."""
    return "" if value is None else f"{value:,.0f}"


def size(num_bytes: float | None) -> str:
    """Return ``num_bytes`` as people read them (``25.5 MB``), '' where they are not known."""
    if num_bytes is None:
        return ""
    amount = float(num_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.5:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 99.5 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def span_of(seconds: float | None) -> str:
    """Return a span of time in its largest units (``3m20s``, ``2d04h``), '' where it is not known."""
    return "" if seconds is None else duration(max(0.0, seconds), 1 if seconds < 3600 else 60)


def since(moment: float | None, now: float) -> str:
    """Return how long ago ``moment`` was in one unit (``5m``, ``3h``), or its day; '' where not known."""
    if moment is None:
        return ""
    seconds = max(0.0, now - moment)
    if seconds < 60:
        return "now"
    if seconds < 3600:
        return f"{seconds // 60:.0f}m"
    if seconds < 86_400:
        return f"{seconds // 3600:.0f}h"
    if seconds < 30 * 86_400:
        return f"{seconds // 86_400:.0f}d"
    return time.strftime("%Y-%m", time.localtime(moment))


def clock(moment: float | None) -> str:
    """Return a time since the epoch as local date and time, '' where it is not known."""
    return "" if moment is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
