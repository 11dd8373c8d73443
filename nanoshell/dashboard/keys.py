"""From the tables of actions to Textual's bindings, and to how keys are written for people."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from textual.binding import Binding

from nanoshell.dashboard.actions import Action

_WRITTEN = {
    "question_mark": "?",
    "escape": "Esc",
    "enter": "Enter",
    "pagedown": "PgDn",
    "pageup": "PgUp",
    "left_curly_bracket": "{",
    "right_curly_bracket": "}",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "plus": "+",
    "minus": "-",
    "equals_sign": "=",
    "slash": "/",
    "full_stop": ".",
    "comma": ",",
    "colon": ":",
    "space": "Space",
    "backspace": "Backspace",
    "left": "Left",
    "right": "Right",
    "up": "Up",
    "down": "Down",
    "home": "Home",
    "end": "End",
    "tab": "Tab",
}


NO_GROUP = "Dashboard"
"""The group of actions that name none."""


FIXED = frozenset({*"123456789", "tab", "shift+tab"})
"""Keys that choose views and panels, wherever one is: without them no panel could be left."""


def bindings(actions: Iterable[Action], owner: str = "") -> list[Binding]:
    """Return a binding for each of ``actions`` that has keys; ``owner`` is the panel's id, '' for the app.

    Raises `ValueError` where one has a key of `FIXED`.
    """
    actions = tuple(actions)
    for action in actions:
        if taken := FIXED.intersection(action.keys):
            key = written(min(taken))
            raise ValueError(f"action '{action.id}' has the key {key}, which chooses views or panels")
    return [
        Binding(
            ",".join(action.keys),
            f"ask_first('{action.id}')" if action.question else action.id,
            action.title,
            show=action.footer,
            id=binding_id(action, owner),
        )
        for action in actions
        if action.keys
    ]


def binding_id(action: Action, owner: str = "") -> str:
    """Return the name of ``action`` where keys are remapped: ``pause``, ``chart.export``.

    Before the point stands the group of a panel's action, or ``owner``, the panel's id, where it names none.
    """
    own = action.group.lower().replace(" ", "_") if action.group != NO_GROUP else owner
    return f"{own}.{action.id}" if owner else action.id


def written(key: str) -> str:
    """Return ``key``, as Textual names it, as people write it."""
    *modifiers, last = key.split("+") if key != "+" else [key]
    names = {"ctrl": "Ctrl", "shift": "Shift", "alt": "Alt"}
    shown = _WRITTEN.get(last) or _sign(last)
    if not shown:
        shown = last.upper() if modifiers or (last.startswith("f") and len(last) > 1) else last
    return "-".join([*(names.get(word, word) for word in modifiers), shown])


def _sign(name: str) -> str:
    """Return the sign whose name Textual writes ``name``, as in exclamation_mark; '' where it is none."""
    try:
        return unicodedata.lookup(name.replace("_", " ")) if len(name) > 1 else ""
    except KeyError:
        return ""


def find(actions: Iterable[Action], name: str) -> Action | None:
    """Return the action whose id is ``name``, None where there is none."""
    return next((action for action in actions if action.id == name), None)
