"""Colours of charts: eight that the colour-blind can tell apart, and glyphs where there is no colour."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.color import Color
from rich.style import Style

ON_DARK = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#2f8fd0", "#d55e00", "#cc79a7", "#c0c0c0")
"""The colours of Okabe and Ito (2008, *Color universal design*), the blue lighter and the black grey."""

COLOURS = len(ON_DARK)
"""So many runs can be told apart."""

ON_LIGHT = ("#af5f00", "#0087af", "#5f875f", "#1c1c1c", "#0000d7", "#870000", "#8700af", "#626262")
"""Their hues, dark enough for a light background; black for the yellow, which would be one more brown.

All are among the 256 colours of terminals that have no more.
"""

ANSI_ON_DARK = (
    "bright_yellow", "bright_cyan", "bright_magenta", "green", "yellow", "white", "bright_red", "magenta"
)  # fmt: skip
ANSI_ON_LIGHT = ("blue", "red", "bright_black", "magenta", "bright_red", "black", "blue", "magenta")
"""Of 16 colours six can be read on white in all the usual terminals: two stand there twice. See `broken`."""

PARTS_ON_DARK = ("#ffaabb", "#b69cff", "#bbcc33", "#c8813c", "#99ddff", "#eedd88", "#44bb99", "#dddddd")
"""Colours for the parts of one run, experts for example: none is a run's, so that nobody looks for it."""

PARTS_ON_LIGHT = ("#00875f", "#ff0000", "#875f87", "#000087", "#af00d7", "#5f0000", "#0000ff", "#5f005f")
ANSI_PARTS_ON_DARK = (
    "cyan", "bright_red", "bright_white", "yellow", "bright_yellow", "bright_cyan", "bright_magenta", "green"
)  # fmt: skip
ANSI_PARTS_ON_LIGHT = ("black", "bright_red", "blue", "magenta", "bright_black", "red", "magenta", "blue")
"""Of 16 colours some must be runs' as well."""

_WHOLE = 4
"""Of 16 colours no more can be told apart by all, in all terminals: beyond them lines are broken."""

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


def broken(colour: int, look: Look) -> bool:
    """Return whether lines of ``colour`` are broken and its points hollow: the colour alone says little."""
    return look.depth == "ansi" and _index(colour) % COLOURS >= _WHOLE


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
