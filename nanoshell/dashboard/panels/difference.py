"""In what runs differ: the keys of their configs, their data, and what was changed on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from rich.cells import cell_len, chop_cells

from nanoshell.dashboard.panels.lines import Line, Span, span, wrapped
from nanoshell.dashboard.panels.plain import plain
from nanoshell.dashboard.panels.words import cut_middle
from nanoshell.errors import NanoshellError
from nanoshell.runs.comparing import run_settings, setting_differences, setting_text
from nanoshell.runs.directory import RunDirectory
from nanoshell.runs.events import effective_events
from nanoshell.runs.telling import rare_events

_NARROWEST = 8
_COLUMN = 12
"""Of more than two runs each has so many columns, or is not shown."""

_GAP = "  "
_MOST_LINES = 6
"""Lines that a value may take."""


def read_settings(run: RunDirectory) -> dict[str, Any]:
    """Return what ``run`` was given by dotted key. Raises `RunError` where its record cannot be read.

    Slow for a long log: the events beside its steps are looked for in all of it.
    """
    return run_settings(run.record(), effective_events(rare_events(run.events_path)))


def read_difference(runs: Sequence[RunDirectory], width: int) -> list[Line]:
    """Return the lines that tell in what ``runs`` differ, in ``width`` columns; what is wrong is a line."""
    shown = runs[: _most(len(runs), width)]
    try:
        settings = [read_settings(run) for run in shown]
    except NanoshellError as error:
        return wrapped([span(error.message, "error")], width)
    lines = difference_lines([run.name for run in shown], settings, width)
    if left_out := runs[len(shown) :]:
        names = ", ".join(run.name for run in left_out)
        lines += wrapped([span(f"no room for {names}: a wider window has some", "quiet")], width)
    return lines


def difference_lines(names: Sequence[str], settings: Sequence[Mapping[str, Any]], width: int) -> list[Line]:
    """Return a line for each setting that differs, with the value of each run under its name."""
    rows = [
        tuple(map(plain, (key, *map(setting_text, values))))
        for key, values in setting_differences(list(settings)).items()
    ]
    if not rows:
        return [span(f"{', '.join(names[:-1])} and {names[-1]} were given the same config and data", "quiet")]
    names = [plain(name) for name in names]  # before columns are counted
    share = min(2, len(names) - 1) + 1
    keys = min(max(len(row[0]) for row in rows), max(_NARROWEST, width // share))
    room = max(_NARROWEST, (width - keys) // len(names) - len(_GAP))
    longest = (max(map(cell_len, column)) for column in zip(names, *(row[1:] for row in rows), strict=True))
    widths = (keys, *(min(room, wanted) for wanted in longest))
    heading = ("", *(cut_middle(name, room) for name in names))
    lines = [_row(heading, widths, ("", *["heading"] * len(names)))]
    roles = ("", *["quiet"] * (len(names) - 1), "bright")
    for row in rows:
        columns = [_folded(text, each) for text, each in zip(row, widths, strict=True)]
        lines += [_row(parts, widths, roles) for parts in zip_longest(*columns, fillvalue="")]
    return lines


def _most(count: int, width: int) -> int:
    """Return for how many of ``count`` runs there is room; two have it always."""
    return max(2, min(count, (width - width // 3) // (_COLUMN + len(_GAP))))


def _folded(text: str, width: int) -> list[str]:
    """Return ``text`` in lines of at most ``width`` columns: all of it, of an endless one the ends."""
    return chop_cells(cut_middle(text, _MOST_LINES * width), width) or [""]


def _row(texts: Sequence[str], widths: Sequence[int], roles: Sequence[str]) -> Line:
    spans: list[Span] = []
    for text, width, role in zip(texts, (*widths[:-1], 0), roles, strict=True):
        spans.append((text + (" " * (width - cell_len(text)) + _GAP if width else ""), role))
    return tuple(spans)
