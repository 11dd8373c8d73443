"""In what two runs differ: the keys of their configs, their data, and what was changed on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from rich.cells import cell_len, chop_cells

from nanoshell.dashboard.panels.lines import Line, Span, span, wrapped
from nanoshell.dashboard.panels.words import cut_middle
from nanoshell.errors import NanoshellError
from nanoshell.runs.comparing import run_settings, setting_differences, setting_text
from nanoshell.runs.directory import RunDirectory
from nanoshell.runs.events import effective_events
from nanoshell.runs.telling import rare_events

_NARROWEST = 8
_GAP = "  "
_MOST_LINES = 6
"""Lines that a value may take."""


def read_settings(run: RunDirectory) -> dict[str, Any]:
    """Return what ``run`` was given by dotted key. Raises `RunError` where its record cannot be read.

    Slow for a long log: the events beside its steps are looked for in all of it.
    """
    return run_settings(run.record(), effective_events(rare_events(run.events_path)))


def read_difference(first: RunDirectory, second: RunDirectory, width: int) -> list[Line]:
    """Return the lines that tell in what two runs differ, in ``width`` columns; what is wrong is a line."""
    try:
        settings = [read_settings(run) for run in (first, second)]
    except NanoshellError as error:
        return wrapped([span(error.message, "error")], width)
    return difference_lines(first.name, second.name, settings[0], settings[1], width)


def difference_lines(
    first: str, second: str, before: Mapping[str, Any], after: Mapping[str, Any], width: int
) -> list[Line]:
    """Return a line for each setting that differs, with both values, under the names of the runs."""
    rows = [
        (key, setting_text(values[0]), setting_text(values[1]))
        for key, values in setting_differences([before, after]).items()
    ]
    if not rows:
        return [span(f"{first} and {second} were given the same config and data", "quiet")]
    keys = min(max(len(key) for key, _, _ in rows), max(_NARROWEST, width // 2))
    room = max(_NARROWEST, (width - keys) // 2 - len(_GAP))
    left = min(room, max(cell_len(first), *(cell_len(one) for _, one, _ in rows)))
    heading = (cut_middle(first, left), cut_middle(second, room))
    lines = [_row(("", *heading), (keys, left, room), ("", "heading", "heading"))]
    for row in rows:
        columns = [_folded(text, each) for text, each in zip(row, (keys, left, room), strict=True)]
        lines += [
            _row(parts, (keys, left, room), ("", "quiet", "bright"))
            for parts in zip_longest(*columns, fillvalue="")
        ]
    return lines


def _folded(text: str, width: int) -> list[str]:
    """Return ``text`` in lines of at most ``width`` columns: all of it, of an endless one the ends."""
    return chop_cells(cut_middle(text, _MOST_LINES * width), width) or [""]


def _row(texts: Sequence[str], widths: Sequence[int], roles: Sequence[str]) -> Line:
    spans: list[Span] = []
    for text, width, role in zip(texts, (*widths[:-1], 0), roles, strict=True):
        spans.append((text + (" " * (width - cell_len(text)) + _GAP if width else ""), role))
    return tuple(spans)
