"""Which of Textual's themes is used: by the setting of nanoshell, and by what the terminal can show."""

from __future__ import annotations

import functools
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.color import Color as RichColor
from rich.segment import Segment
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from textual.color import Color
from textual.filter import LineFilter
from textual.theme import BUILTIN_THEMES

if TYPE_CHECKING:
    from textual.app import App

_LIGHT_BACKGROUNDS = ("7", "15")

_VARIABLES = {
    "textual-dark": {f"scrollbar-background{when}": "#1e1e1e" for when in ("", "-hover", "-active")},
    "textual-light": {
        "text-accent": "#7a4a00",
        "text-warning": "#7a4a00",
        "text-success": "#1d6532",
    },
}
"""What is ours in Textual's themes: a scrollbar that is no black hole, and words that can be read on grey."""

_NAMED = (
    "#000000", "#a02020", "#1d6532", "#7a4a00", "#1f4fb0", "#7a3e9d", "#00617f", "#f7f7f7",
    "#5a5a5a", "#b02a2a", "#2a6a1a", "#6b5500", "#0062a8", "#9a2d99", "#006478", "#ffffff",
)  # fmt: skip
"""What the 16 colours are on the grey of Textual's light theme: all but the whites can be read there."""

_YELLOWS = (3, 11)


def wants_no_colour(name: str) -> bool:
    """Return whether the user wants no colours, by nanoshell's theme ``name`` or by NO_COLOR.

    Set to an empty word it says nothing: see no-color.org.
    """
    return name == "mono" or bool(os.environ.get("NO_COLOR"))


def textual_theme(name: str, *, few: bool) -> str:
    """Return Textual's theme for nanoshell's theme ``name``; with ``few`` colours one of 16."""
    light = name == "light" or (name == "terminal" and _told_light())
    if few:
        return "ansi-light" if light else "ansi-dark"
    return "textual-light" if light else "textual-dark"


def adopt_themes(app: App[None]) -> None:
    """Give ``app`` Textual's themes as they are here."""
    for name, variables in _VARIABLES.items():
        theme = BUILTIN_THEMES[name]
        app.register_theme(replace(theme, variables={**theme.variables, **variables}))
    colours: list[tuple[int, int, int]] = [RichColor.parse(name).get_truecolor() for name in _NAMED]
    app.ansi_theme_light = TerminalTheme((224, 224, 224), (31, 31, 31), colours[:8], colours[8:])


def colour_filters(theme: str, *, no_colour: bool) -> list[LineFilter]:
    """Return what the lines of the screen pass with ``theme``, one of Textual's."""
    if no_colour:
        return [NoColours()]
    return [NoYellow()] if theme == "ansi-light" else []


class NoColours(LineFilter):
    """Draws without any colour, those of greys and of backgrounds too; bold, dim and reverse stay."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Return ``segments`` without the colours of their styles."""
        return [Segment(text, style and _uncoloured(style), control) for text, style, control in segments]


class NoYellow(LineFilter):
    """Writes in magenta what is yellow: of 16 colours that one cannot be read on white."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Return ``segments`` with no yellow letters."""
        return [Segment(text, style and _legible(style), control) for text, style, control in segments]


@functools.lru_cache(1024)
def _legible(style: Style) -> Style:
    yellow = style.color is not None and style.color.number in _YELLOWS
    return style + Style(color="magenta") if yellow else style


@functools.lru_cache(1024)
def _uncoloured(style: Style) -> Style:
    plain = style.without_color
    return plain + Style.from_meta(style.meta) if style.meta else plain


def _told_light() -> bool:
    """Return whether the terminal says that its background is light, as some do in COLORFGBG."""
    return os.environ.get("COLORFGBG", "").rpartition(";")[2] in _LIGHT_BACKGROUNDS
