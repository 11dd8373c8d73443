"""In what two runs differ: the keys of their configs, their data, and what was changed on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.cells import cell_len

from nanoshell.dashboard.panels.lines import Line, span
from nanoshell.errors import NanoshellError
from nanoshell.runs.comparing import run_settings, setting_differences, setting_text
from nanoshell.runs.directory import RunDirectory
from nanoshell.runs.events import effective_events
from nanoshell.runs.telling import rare_events

_NARROWEST = 8
_GAP = "  "


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
        return [span(error.message, "error")]
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
    lines: list[Line] = [((" " * keys + _GAP + _fit(first, left) + _GAP + _fit(second, room), "heading"),)]
    lines += [
        ((_fit(key, keys) + _GAP, ""), (_fit(one, left) + _GAP, "quiet"), (_fit(other, room), "bright"))
        for key, one, other in rows
    ]
    return lines


def _fit(text: str, width: int) -> str:
    """Return ``text`` in ``width`` columns; of a longer one the middle goes: names differ at the end."""
    if cell_len(text) > width:
        end = (width - 1) // 2
        text = text[: width - 1 - end] + "…" + text[len(text) - end :]
    return text + " " * max(0, width - cell_len(text))
