"""Tables of results: folded into a terminal's width, a line for each row where no terminal shows them."""

from __future__ import annotations

import os
import re
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.theme import Theme

PIPE_WIDTH = 300
"""Columns of what fills its room, such as a curve, where no terminal tells how much there is."""

_UNBOUNDED = 1 << 20
_ENDING_SPACES = re.compile(r" +$", re.MULTILINE)


class PipeConsole(Console):
    """A console for text as it is. In a pipe or a file a row of a table is one line and ends with a word.

    ``columns`` is the width of what shows the text where that is neither a terminal nor without a bound.
    """

    def __init__(
        self, *, stderr: bool, theme: Theme, terminal: bool, coloured: bool, columns: int | None = None
    ) -> None:
        super().__init__(
            stderr=stderr,
            theme=theme,
            markup=False,
            emoji=False,
            highlight=False,
            force_terminal=terminal,
            color_system="auto" if coloured else None,
            width=columns or (None if terminal or os.environ.get("COLUMNS") else PIPE_WIDTH),
        )
        self.bounded = terminal or columns is not None

    def print(self, *objects: Any, **options: Any) -> None:
        if self.is_terminal:
            super().print(*objects, **options)
            return
        with self.capture() as captured:  # a table fills its last column with spaces
            super().print(*objects, **{"crop": False, **options})
        self.file.write(_ENDING_SPACES.sub("", captured.get()))
        self.file.flush()

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class _ResultTable(Table):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.header_style = console.get_style("nano.heading", default="bold")  # it may be another's console
        if not console.is_terminal:
            self.box = None
            if not getattr(console, "bounded", False):
                options = options.update(width=_UNBOUNDED)
        return super().__rich_console__(console, options)


def new_table(*, show_header: bool = True, rule: bool = False) -> Table:
    """Return an empty table in the look of all results, with a ``rule`` under its headings in a terminal.

    Where no terminal shows it each row is one line, however long, without a rule.
    """
    from rich import box

    return _ResultTable(
        box=box.SIMPLE_HEAD if rule else None,
        show_header=show_header,
        pad_edge=False,
        show_edge=False,
        padding=(0, 1),
    )
