"""Characters that are drawn rather than written, so that no font is needed that has them.

Braille, blocks and lines only look right where each fills its cell, which fonts do not agree about: many have
no braille at all, and what a browser takes instead is wider. Text remains text.
"""

from __future__ import annotations

import unicodedata

WIDTH, HEIGHT = 8, 16
"""Of a cell. The dots of braille are then at equal distances, also from those of the cells beside it."""

_DOTS = ((2, 2), (2, 6), (2, 10), (6, 2), (6, 6), (6, 10), (2, 14), (6, 14))
"""Where the dot of each bit of a braille character is in its cell."""

_ENDS = {
    "UP": ("UP",),
    "DOWN": ("DOWN",),
    "LEFT": ("LEFT",),
    "RIGHT": ("RIGHT",),
    "VERTICAL": ("UP", "DOWN"),
    "HORIZONTAL": ("LEFT", "RIGHT"),
}
_REACH = {
    "UP": f"v-{HEIGHT // 2}",
    "DOWN": f"v{HEIGHT // 2}",
    "LEFT": f"h-{WIDTH // 2}",
    "RIGHT": f"h{WIDTH // 2}",
}
_SHADES = {"░": 0.25, "▒": 0.5, "▓": 0.75}

Box = tuple[float, float, float, float]
"""Left, top, width and height, in parts of a cell."""

_PARTS: dict[str, Box] = {
    "▀": (0, 0, 1, 0.5),
    "▐": (0.5, 0, 0.5, 1),
    "▔": (0, 0, 1, 0.125),
    "▕": (0.875, 0, 0.125, 1),
}


def dots(character: str) -> list[tuple[int, int]]:
    """Return where in its cell a braille character has dots; none for other characters."""
    bits = ord(character) - 0x2800
    return [dot for bit, dot in enumerate(_DOTS) if bits >> bit & 1] if 0 <= bits < 256 else []


def strokes(character: str) -> tuple[list[str], bool]:
    """Return the strokes of a line from the middle of its cell outwards, and whether they are heavy."""
    name = unicodedata.name(character, "")
    if not name.startswith("BOX DRAWINGS") or "DIAGONAL" in name:
        return [], False
    ends = [end for word in name.split() for end in _ENDS.get(word, ())]
    return [_REACH[end] for end in ends], "HEAVY" in name


def block(character: str) -> tuple[Box, float] | None:
    """Return what part of its cell a block fills, and how densely; None for other characters."""
    code = ord(character)
    if character in _SHADES:
        return (0, 0, 1, 1), _SHADES[character]
    if 0x2581 <= code <= 0x2588:
        part = (code - 0x2580) / 8
        return (0, 1 - part, 1, part), 1
    if 0x2589 <= code <= 0x258F:
        return (0, 0, (0x2590 - code) / 8, 1), 1
    return (_PARTS[character], 1) if character in _PARTS else None
