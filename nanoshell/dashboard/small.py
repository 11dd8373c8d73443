"""What is said on a terminal that is too small for anything else."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Static

LEAST_COLUMNS, LEAST_LINES = 40, 10
"""Below these nothing can be made out; from 80 × 24 everything has its place."""


class TooSmall(Static):
    """Covers the screen while it is too small; what is below goes on, and has the keys."""

    DEFAULT_CSS = """
    TooSmall {
        layer: above;
        dock: top;
        display: none;
        width: 100%;
        height: 100%;
        background: $background;
    }
    .-narrow TooSmall, .-low TooSmall {
        display: block;
    }
    """

    def render(self) -> Text:
        width, height = self.app.size
        return Text(f"needs {LEAST_COLUMNS} × {LEAST_LINES} at least; here are {width} × {height}. q quits")
