"""Text of others (logs, samples, notes) made fit for the terminal: nothing in it can move the cursor."""

from __future__ import annotations

import re
import unicodedata

REPLACED = "\N{REPLACEMENT CHARACTER}"

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor movement
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"  # titles, links, device strings, up to their end
    r"|\x1b[ -/]*[0-~]"
    r"|\x9b[0-?]*[ -/]*[@-~]",
    re.DOTALL,
)
_SELECTORS = re.compile("[\ufe00-\ufe0f]")
_TAB = 4
_SPELLED = str.maketrans(
    {
        "…": "...",
        "–": "-",
        "—": "-",
        "‘": "'",
        "’": "'",
        "“": '"',
        "”": '"',
        "×": "x",
        "·": ".",
        "•": "*",
        "→": "->",
        "─": "-",
        "━": "-",
        "│": "|",
        "┃": "|",
        **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╯╰╶╴╵╷┏┓┗┛", "+"),
    }
)


def without_escapes(text: str) -> str:
    """Return ``text`` without the escape sequences of terminals: a log that was coloured reads as plain."""
    return _ESCAPES.sub("", text) if "\x1b" in text or "\x9b" in text else text


def plain(text: str, *, ascii: bool = False) -> str:  # noqa: A002 - as the dashboard's option is called
    """Return ``text`` as one line that is printable, column by column; with ``ascii`` in ASCII alone.

    Control characters become U+FFFD (``?``), tabs spaces, and marks that turn or join letters go; so do those
    that choose between a narrow and a wide picture, of which terminals make different widths.
    """
    if not text.isascii():
        text = _SELECTORS.sub("", text)
    if not text.isprintable():
        text = "".join(map(_printable, text.expandtabs(_TAB)))
    if ascii and not text.isascii():
        text = text.translate(_SPELLED).encode("ascii", "replace").decode("ascii")
    return text


def _printable(mark: str) -> str:
    if mark.isprintable():
        return mark
    category = unicodedata.category(mark)
    return "" if category == "Cf" else " " if category in ("Zs", "Zl", "Zp") or mark == "\n" else REPLACED
