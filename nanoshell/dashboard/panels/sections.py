"""What plugins have to say of a run (notes, for one), as lines."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from nanoshell.dashboard.panels.lines import Line, span
from nanoshell.errors import NanoshellError

if TYPE_CHECKING:
    from nanoshell.plugin.registry import Entry
    from nanoshell.runs.directory import RunDirectory

    Sections = Iterable[Entry[Callable[[RunDirectory], Any]]]

_MOST_LINES = 200


def section_lines(run: RunDirectory, sections: Sections, width: int) -> list[Line]:
    """Return what each of ``sections`` says of ``run`` under its name; one that fails says so."""
    lines: list[Line] = []
    for entry in sections:
        try:
            value = entry.value(run)
            text = "" if value is None else _shown(value, width)
        except Exception as error:
            why = error.message if isinstance(error, NanoshellError) else f"{type(error).__name__}: {error}"
            lines.append(span(f"plugin '{entry.provider}' failed to make '{entry.name}': {why}", "warning"))
            continue
        if text.strip():
            lines.append(span(entry.name, "heading"))
            lines += [span(line) for line in text.splitlines()[:_MOST_LINES]]
    return lines


def _shown(value: Any, width: int) -> str:
    """Return ``value`` as `runs show` shows it, without colours."""
    from rich.console import Console

    from nanoshell.command.render import renderable

    text = io.StringIO()
    Console(file=text, width=max(20, width), color_system=None, legacy_windows=False).print(renderable(value))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())
