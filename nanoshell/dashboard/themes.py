"""Which of Textual's themes is used: by the setting of nanoshell, and by what the terminal can show."""

from __future__ import annotations

import os

_LIGHT_BACKGROUNDS = ("7", "15")


def textual_theme(name: str, *, few: bool) -> str:
    """Return Textual's theme for nanoshell's theme ``name``; with ``few`` colours one of 16."""
    light = name == "light" or (name == "terminal" and _told_light())
    if few or name == "mono":
        return "ansi-light" if light else "ansi-dark"
    return "textual-light" if light else "textual-dark"


def _told_light() -> bool:
    """Return whether the terminal says that its background is light, as some do in COLORFGBG."""
    return os.environ.get("COLORFGBG", "").rpartition(";")[2] in _LIGHT_BACKGROUNDS
