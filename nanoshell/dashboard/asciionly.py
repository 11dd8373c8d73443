"""Nothing but ASCII on the screen, whatever a widget draws: for terminals and fonts that know no more."""

from __future__ import annotations

import locale
import os
from collections.abc import Mapping

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


_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")
"""What Python writes into LC_CTYPE where the locale is C (PEP 538)."""


def wants_ascii(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether the terminal that ``environ`` (by default ours) describes should be drawn on in ASCII.

    That is one of another encoding than UTF-8, by the locale that the user has named, and the console of
    Linux, whose fonts hold 256 or 512 letters. Where no locale is named UTF-8 is taken for granted, as Python
    does. What Python itself does about a locale of C tells nothing about the terminal.
    """
    known = os.environ if environ is None else environ
    if known.get("TERM") == "linux":
        return True
    named = known.get("LC_ALL") or known.get("LC_CTYPE") or ""
    told = known.get("LANG", "")
    if not named or (not known.get("LC_ALL") and named in _COERCED and told in ("C", "POSIX")):
        named = told
    if named in ("C", "POSIX"):
        return True
    _, dot, encoding = named.partition("@")[0].partition(".")
    if named and not dot and named not in _COERCED:  # such as de_DE: the system knows what that is encoded in
        encoding = locale.getencoding()
    return bool(encoding) and encoding.lower().replace("-", "") != "utf8"


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
