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

COLOURS = len(ON_DARK)
"""So many runs can be told apart."""

ON_LIGHT = ("#b87800", "#1f83bd", "#00805d", "#8f8500", "#0060a0", "#c04f00", "#a5477b", "#606060")
"""The same hues, dark enough for a light background."""

ANSI_ON_DARK = (
    "yellow", "bright_cyan", "green", "bright_yellow", "bright_blue", "bright_red", "bright_magenta", "white"
)  # fmt: skip
ANSI_ON_LIGHT = ("blue", "magenta", "green", "red", "cyan", "bright_red", "bright_magenta", "bright_black")
"""None of them is yellow, which many terminals make so bright that it cannot be seen on white."""

PARTS_ON_DARK = ("#ffaabb", "#b69cff", "#bbcc33", "#c8813c", "#99ddff", "#eedd88", "#44bb99", "#dddddd")
"""Colours for the parts of one run, experts for example: none is a run's, so that nobody looks for it."""

PARTS_ON_LIGHT = ("#d0526f", "#6f4bd8", "#6f7d00", "#8a4b10", "#2a7fa8", "#7a6a10", "#1c7a5f", "#303030")
ANSI_PARTS_ON_DARK = (
    "cyan", "magenta", "bright_green", "red", "bright_white", "blue", "bright_black", "bright_cyan"
)  # fmt: skip
ANSI_PARTS_ON_LIGHT = (
    "black", "bright_blue", "bright_red", "bright_magenta", "bright_black", "blue", "magenta", "green"
)  # fmt: skip
"""Of 16 colours some must be the seventh and eighth run's as well."""

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


def part_colour(part: int) -> int:
    """Return the colour of the ``part`` (from 0 on) of a run, which is none of those that runs have."""
    return -1 - part


def _index(colour: int) -> int:
    """Return the place of ``colour`` among those of runs and then of parts."""
    return colour % len(ON_DARK) if colour >= 0 else len(ON_DARK) + (-1 - colour) % len(PARTS_ON_DARK)


def bright(colour: int) -> int:
    """Return the number of the style of lines and points of ``colour``, that of a run or of a part.

    A run's is any integer from 0 on, a part's is `part_colour`: they repeat.
    """
    return _FIRST + 2 * _index(colour)


def faint(colour: int) -> int:
    """Return the number of the style of the raw values of ``colour`` where a smoothed line is over them."""
    return bright(colour) + 1


def hex_colour(colour: int, *, light: bool = False) -> str:
    """Return ``colour`` as ``#rrggbb``."""
    return (ON_LIGHT + PARTS_ON_LIGHT if light else ON_DARK + PARTS_ON_DARK)[_index(colour)]


@functools.lru_cache(maxsize=16)
def styles(look: Look, base: Style, ground: str = "") -> Sequence[Style]:
    """Return the styles by their numbers, each with what ``base`` sets (text colour and background).

    ``ground`` is the background, ``#rrggbb``, into which faint colours are blended.
    """
    quiet = base + Style(dim=True)
    warning = base + (Style(bold=True) if look.depth == "mono" else Style(color="red", bold=True))
    found = [base, quiet, warning, base + Style(bold=True)]
    ground = ground or ("#ffffff" if look.light else "#000000")
    runs, parts = range(len(ON_DARK)), range(len(PARTS_ON_DARK))
    ansi = ANSI_ON_LIGHT + ANSI_PARTS_ON_LIGHT if look.light else ANSI_ON_DARK + ANSI_PARTS_ON_DARK
    for colour in (*runs, *map(part_colour, parts)):
        if look.depth == "mono":
            found += [base + Style(bold=True), quiet]
        elif look.depth == "ansi":
            named = base + Style(color=ansi[_index(colour)])
            found += [named, named + Style(dim=True)]
        else:
            name = hex_colour(colour, light=look.light)
            found += [base + Style(color=name), base + Style(color=blend(name, ground, 0.6))]
    return found


def blend(one: str, other: str, share: float) -> str:
    """Return the colour that is ``share`` of ``other`` and else ``one``, all as ``#rrggbb``."""
    mixed = (
        round(a + (b - a) * share)
        for a, b in zip(Color.parse(one).get_truecolor(), Color.parse(other).get_truecolor(), strict=True)
    )
    return "#" + "".join(f"{part:02x}" for part in mixed)
