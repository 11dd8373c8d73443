"""The theme for the prompt's library: a class ``nano.ROLE`` for each role, and what it draws by itself."""

from __future__ import annotations

import functools

from prompt_toolkit.styles import Style

from nanoshell.theme import DEFAULT, PREFIX, THEMES

_COLOURS = {
    "black": "ansiblack",
    "red": "ansired",
    "green": "ansigreen",
    "yellow": "ansiyellow",
    "blue": "ansiblue",
    "magenta": "ansimagenta",
    "cyan": "ansicyan",
    "white": "ansigray",
    "bright_black": "ansibrightblack",
    "bright_red": "ansibrightred",
    "bright_green": "ansibrightgreen",
    "bright_yellow": "ansibrightyellow",
    "bright_blue": "ansibrightblue",
    "bright_magenta": "ansibrightmagenta",
    "bright_cyan": "ansibrightcyan",
    "bright_white": "ansiwhite",
    "default": "default",
}

_ATTRIBUTES = ("bold", "dim", "underline", "italic", "reverse", "blink", "strike")


@functools.cache
def prompt_style(theme: str) -> Style:
    """Return the style of the theme of that name; of the default one where there is none."""
    roles = THEMES.get(theme, THEMES[DEFAULT])
    rules = {PREFIX + role: translated(style) for role, style in roles.items()}
    quiet = rules[PREFIX + "quiet"]
    plain = "noreverse bg:default fg:default"
    return Style.from_dict(
        {
            **rules,
            "prompt": translated(roles["accent"]),
            "prompt.mode": quiet,
            "prompt-continuation": quiet,
            "auto-suggestion": quiet,
            "aborting": quiet,
            "completion-menu": plain,
            "completion-menu.completion": plain,
            "completion-menu.completion.current": "noinherit reverse",
            "completion-menu.completion match": "bold underline",
            "completion-menu.meta.completion": f"{plain} {quiet}",
            "completion-menu.meta.completion.current": "noinherit reverse",
            "scrollbar.background": "noinherit",
            "scrollbar.button": "noinherit reverse",
        }
    )


def translated(style: str) -> str:
    """Return a style as rich writes it (``bold red on white``) as prompt_toolkit writes it.

    What it does not know is left out.
    """
    parts = []
    where, negated = "fg:", False
    for word in style.split():
        if word in ("on", "not"):
            where, negated = ("bg:", negated) if word == "on" else (where, True)
        elif word in _ATTRIBUTES:
            parts.append("no" * negated + word)
            negated = False
        elif word in _COLOURS or word.startswith("#"):
            parts.append(where + _COLOURS.get(word, word))
    return " ".join(parts)
