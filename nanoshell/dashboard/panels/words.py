"""How panels write figures where a column is narrow: short, and nothing for what is not known."""

from __future__ import annotations

import time

from rich.cells import cell_len, set_cell_size

from nanoshell.dashboard.chart.words import short


def figure(value: float | None, digits: int = 4) -> str:
    """Return a number in ``digits`` digits (``2.314``, ``12.3k``, ``nan``), '' where it is not known."""
    return "" if value is None else short(value, digits)


def figure_within(value: float | None, width: int) -> str:
    """Return a number in up to four digits, in as few as have room in ``width`` columns."""
    fewest = 1 if value is not None and abs(value) < 1 else 3
    texts = [figure(value, digits) for digits in range(4, fewest - 1, -1)]
    return next((text for text in texts if len(text) <= width), texts[-1])


def cut_middle(text: str, width: int, mark: str = "…") -> str:
    """Return ``text`` in at most ``width`` columns; ``mark`` stands for the middle of a longer one."""
    if cell_len(text) <= width:
        return text
    end = ""
    for letter in reversed(text):
        if cell_len(letter + end) > (width - 1) // 2:
            break
        end = letter + end
    return set_cell_size(text, width - 1 - cell_len(end)) + mark + end


def cut_end(text: str, width: int, mark: str = "…") -> str:
    """Return ``text`` in at most ``width`` columns; ``mark`` stands for the end of a longer one."""
    return text if cell_len(text) <= width else set_cell_size(text, width - 1) + mark


def count(value: float | None) -> str:
    """Return a whole number with its thousands apart, '' where it is not known."""
    return "" if value is None else f"{value:,.0f}"


def ago(moment: float | None, now: float) -> str:
    """Return how long ago ``moment`` was in one unit (``5m ago``), or its month; '' where not known."""
    if moment is None:
        return ""
    seconds = max(0.0, now - moment)
    if seconds < 60:
        return "now"
    if seconds < 3600:
        return f"{seconds // 60:.0f}m ago"
    if seconds < 86_400:
        return f"{seconds // 3600:.0f}h ago"
    if seconds < 30 * 86_400:
        return f"{seconds // 86_400:.0f}d ago"
    return time.strftime("%Y-%m", time.localtime(moment))
