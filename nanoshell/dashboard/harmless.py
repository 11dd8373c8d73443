"""Nothing that a widget draws steers the terminal, whoever wrote it: the last line of defence."""

from __future__ import annotations

import re

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def unsteered(text: str) -> str:
    """Return ``text`` in as many columns without what moves the cursor or turns the direction of writing."""
    return text if text.isprintable() else _STEERING.sub(lambda mark: " " * cell_len(mark[0]), text)


class Harmless(LineFilter):
    """Takes control characters out of each line of the screen."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Return ``segments`` without control characters."""
        return [Segment(unsteered(text), style, control) for text, style, control in segments]
