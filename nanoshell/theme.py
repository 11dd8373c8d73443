"""Themes: styles by the role of what is shown, in the sixteen colours that the terminal's owner has chosen.

A style is written as rich writes it (``bold bright_cyan``); the prompt translates it for its own library.
Where a console carries a theme, text is styled by ``nano.ROLE``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

PREFIX = "nano."

_TERMINAL: Mapping[str, str] = MappingProxyType(
    {
        "command": "bold cyan",
        "option": "blue",
        "value": "green",
        "special": "magenta",
        "unknown": "underline red",
        "quiet": "dim",
        "heading": "bold",
        "good": "green",
        "warning": "yellow",
        "error": "bold red",
        "accent": "cyan",
        "user": "bold",
        "heat0": "green",
        "heat1": "cyan",
        "heat2": "yellow",
        "heat3": "red",
        "heat4": "bold red",
    }
)
"""The roles of what is shown. ``heat0`` … ``heat4`` go from expected to surprising."""

THEMES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "terminal": _TERMINAL,
    }
)
"""The themes by name."""

ROLES = tuple(_TERMINAL)


def rich_styles(name: str) -> dict[str, str]:
    """Return the styles of the theme ``name`` as rich takes them: ``nano.ROLE`` to style."""
    return {PREFIX + role: style for role, style in THEMES[name].items()}
