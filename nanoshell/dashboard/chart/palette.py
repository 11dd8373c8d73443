"""Colours of charts: eight that the colour-blind can tell apart, and glyphs where there is no colour."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.color import Color
from rich.style import Style

ON_DARK = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#2f8fd0", "#d55e00", "#cc79a7", "#a0a0a0")
"""The colours of Okabe and Ito (2008, *Color universal design*), the blue lighter and the black grey."""

ON_LIGHT = ("#b87800", "#1f83bd", "#00805d", "#8f8500", "#0060a0", "#c04f00", "#a5477b", "#606060")
"""The same hues, dark enough for a light background."""

ANSI_ON_DARK = (
    "yellow", "bright_cyan", "green", "bright_yellow", "bright_blue", "bright_red", "bright_magenta", "white"
)  # fmt: skip
ANSI_ON_LIGHT = ("blue", "magenta", "green", "red", "cyan", "bright_red", "bright_magenta", "bright_black")
"""None of them is yellow, which many terminals make so bright that it cannot be seen on white."""

LINE_GLYPHS = "*x+%=&$~"
"""What draws the line of a colour where there is no colour."""

POINT_GLYPHS = "OXTHAVZN"
"""What marks the points of a colour where there is no colour."""

TEXT, QUIET, WARNING, HEADING = range(4)
"""The styles of what is no series, by their number."""

_FIRST = 4

Depth = Literal["true", "ansi", "mono"]


@dataclass(frozen=True)
class Look:
    """What the terminal can show: colours (``depth``), on a ``light`` background, nothing but ``ascii``."""

    depth: Depth = "true"
    light: bool = False
    ascii: bool = False


def bright(colour: int) -> int:
    """Return the number of the style of lines and points of ``colour`` (any integer: they repeat)."""
    return _FIRST + 2 * (colour % len(ON_DARK))


def faint(colour: int) -> int:
    """Return the number of the style of the raw values of ``colour`` where a smoothed line is over them."""
    return bright(colour) + 1


def hex_colour(colour: int, *, light: bool = False) -> str:
    """Return ``colour`` as ``#rrggbb``."""
    return (ON_LIGHT if light else ON_DARK)[colour % len(ON_DARK)]


@functools.lru_cache(maxsize=16)
def styles(look: Look, base: Style, ground: str = "") -> Sequence[Style]:
    """Return the styles by their numbers, each with what ``base`` sets (text colour and background).

    ``ground`` is the background, ``#rrggbb``, into which faint colours are blended.
    """
    quiet = base + Style(dim=True)
    warning = base + (Style(bold=True) if look.depth == "mono" else Style(color="red", bold=True))
    found = [base, quiet, warning, base + Style(bold=True)]
    ground = ground or ("#ffffff" if look.light else "#000000")
    for number in range(len(ON_DARK)):
        if look.depth == "mono":
            found += [base + Style(bold=True), quiet]
        elif look.depth == "ansi":
            colour = Style(color=(ANSI_ON_LIGHT if look.light else ANSI_ON_DARK)[number])
            found += [base + colour, base + colour + Style(dim=True)]
        else:
            name = hex_colour(number, light=look.light)
            found += [base + Style(color=name), base + Style(color=blend(name, ground, 0.6))]
    return found


def blend(one: str, other: str, share: float) -> str:
    """Return the colour that is ``share`` of ``other`` and else ``one``, all as ``#rrggbb``."""
    mixed = (
        round(a + (b - a) * share)
        for a, b in zip(Color.parse(one).get_truecolor(), Color.parse(other).get_truecolor(), strict=True)
    )
    return "#" + "".join(f"{part:02x}" for part in mixed)
