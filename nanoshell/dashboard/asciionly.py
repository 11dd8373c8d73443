"""Nothing but ASCII on the screen, whatever a widget draws: for terminals and fonts that know no more."""

from __future__ import annotations

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

_ALIKE = {
    **dict.fromkeys("─━═╌╍┄┅╴╶╸╺▔▁▂⎺⎽", "-"),
    **dict.fromkeys("│┃║┆┇╎╏╵╷╹╻▌▐▏▎▍▋▊▉▕", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╯╰┏┓┗┛┣┫┳┻╋╔╗╚╝╠╣╦╩╬", "+"),
    **dict.fromkeys("█▓▒▄▀▃▅▆▇■", "#"),
    **dict.fromkeys("·•●○◦⋅", "."),
    **dict.fromkeys("▶▸►→❯›", ">"),
    **dict.fromkeys("◀◂◄←❮‹", "<"),
    **dict.fromkeys("▲△▴↑", "^"),
    **dict.fromkeys("▼▽▾↓", "v"),
    **dict.fromkeys("–—‐‑−", "-"),
    **dict.fromkeys("‘’", "'"),
    **dict.fromkeys("“”", '"'),
    "×": "x",
    "…": "~",
    "✓": "+",
    "✗": "x",
    "\u2800": " ",
    "\u00a0": " ",
}


def in_ascii(text: str) -> str:
    """Return ``text`` in ASCII, of the same width on a terminal; what has no likeness is a ``?``."""
    if text.isascii():
        return text
    return "".join(mark if mark.isascii() else _ALIKE.get(mark, "?" * cell_len(mark)) for mark in text)


class AsciiOnly(LineFilter):
    """Writes each line of the screen in ASCII."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Return ``segments`` with their text in ASCII."""
        return [Segment(in_ascii(text), style, control) for text, style, control in segments]
