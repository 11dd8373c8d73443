"""Themes: styles by the role of what is shown, in the sixteen colours that the terminal's owner has chosen.

A style is written as rich writes it (``bold bright_cyan``); the prompt translates it for its own library,
and `sgr` for text that is written without any. Where a console carries a theme, text is styled by
``nano.ROLE``. The background and the ordinary text are always the terminal's own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType

PREFIX = "nano."
DEFAULT = "terminal"

_TERMINAL: Mapping[str, str] = MappingProxyType(
    {
        "command": "bold cyan",
        "option": "blue",
        "value": "green",
        "special": "dim magenta",
        "unknown": "underline red",
        "quiet": "dim",
        "heading": "bold",
        "good": "green",
        "warning": "yellow",
        "error": "bold red",
        "accent": "cyan",
        "user": "bold",
        "match": "bold reverse",
        "heat0": "green",
        "heat1": "cyan",
        "heat2": "yellow",
        "heat3": "red",
        "heat4": "bold red",
    }
)
"""The roles of what is shown. ``heat0`` … ``heat4`` go from expected to surprising."""


def _changed(**styles: str) -> Mapping[str, str]:
    return MappingProxyType({**_TERMINAL, **styles})


THEMES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "terminal": _TERMINAL,
        # Yellow, cyan and green are hard to read on white.
        "light": _changed(
            command="bold blue",
            option="magenta",
            value="blue",
            special="magenta",
            good="bold green",
            warning="bold magenta",
            accent="blue",
            heat0="blue",
            heat1="magenta",
            heat2="bold magenta",
        ),
        # Dark blue is hard to read on black, and where dim is not known quiet text needs a colour.
        "dark": _changed(
            command="bold bright_cyan",
            option="bright_blue",
            value="bright_green",
            special="magenta",
            unknown="underline bright_red",
            quiet="bright_black",
            good="bright_green",
            warning="bright_yellow",
            error="bold bright_red",
            accent="bright_cyan",
            heat0="bright_green",
            heat1="bright_cyan",
            heat2="bright_yellow",
            heat3="bright_red",
            heat4="bold bright_red",
        ),
        "vivid": _changed(
            command="bold bright_magenta",
            option="bright_cyan",
            value="bright_yellow",
            special="black on magenta",
            unknown="bold bright_red underline",
            heading="bold bright_blue",
            good="bold bright_green",
            warning="bold bright_yellow",
            error="bold white on red",
            accent="bright_cyan",
            user="bold bright_green",
            heat0="black on green",
            heat1="black on cyan",
            heat2="black on yellow",
            heat3="white on red",
            heat4="bold white on magenta",
        ),
        # No colour at all: for two-colour displays, and for those who cannot tell red from green.
        "mono": _changed(
            command="bold",
            option="underline",
            value="none",
            special="dim",
            unknown="bold underline",
            good="none",
            warning="bold",
            error="bold",
            accent="bold",
            heat0="dim",
            heat1="none",
            heat2="underline",
            heat3="bold",
            heat4="bold reverse",
        ),
    }
)
"""The themes by name."""

THEME_SUMMARIES: Mapping[str, str] = MappingProxyType(
    {
        "terminal": "few colours, for light and dark backgrounds",
        "light": "for a light background",
        "dark": "brighter, for a dark background",
        "vivid": "many colours, and backgrounds",
        "mono": "no colour: bold, underline and dim",
    }
)
"""A line about each theme."""

ROLES = tuple(_TERMINAL)

_ATTRIBUTES = {"bold": 1, "dim": 2, "italic": 3, "underline": 4, "reverse": 7}
_COLOURS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")


def rich_styles(name: str) -> dict[str, str]:
    """Return the styles of the theme ``name`` as rich takes them: ``nano.ROLE`` to style."""
    return {PREFIX + role: style for role, style in THEMES[name].items()}


def sgr(style: str) -> str:
    """Return the escape sequence that begins ``style``, a style of a theme; '' where it changes nothing.

    For text that is shown before anything heavy is loaded. Raises `KeyError` for another word than the
    sixteen colours and the attributes that themes use.
    """
    codes = []
    base = 30
    for word in style.split():
        if word == "on":
            base = 40
        elif word in _ATTRIBUTES:
            codes.append(_ATTRIBUTES[word])
        elif word != "none":
            bright = word.startswith("bright_")
            known = dict(zip(_COLOURS, range(8), strict=True))
            codes.append(known[word.removeprefix("bright_")] + base + (60 if bright else 0))
    return f"\x1b[{';'.join(map(str, codes))}m" if codes else ""


_CHOSEN: ContextVar[Callable[[], str] | None] = ContextVar("theme", default=None)


def chosen() -> str:
    """Return the name of the theme that a session has chosen, `DEFAULT` where none has."""
    choose = _CHOSEN.get()
    name = choose() if choose is not None else DEFAULT
    return name if name in THEMES else DEFAULT


@contextlib.contextmanager
def chosen_by(choose: Callable[[], str]) -> Iterator[None]:
    """Let the theme be the one that ``choose`` names, each time that something is shown in the block."""
    token = _CHOSEN.set(choose)
    try:
        yield
    finally:
        _CHOSEN.reset(token)


def painted(text: str, role: str) -> str:
    """Return ``text`` in the style that the chosen theme has for ``role``, for a terminal with colours."""
    start = sgr(THEMES[chosen()][role])
    return f"{start}{text}\x1b[0m" if start and text else text
