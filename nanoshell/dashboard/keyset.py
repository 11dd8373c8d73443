"""The setting ``dashboard_keys`` held against what there is to do, at the moment at which it is set."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from nanoshell.dashboard.keys import binding_id
from nanoshell.dashboard.panel import Panel
from nanoshell.dashboard.remap import keymap
from nanoshell.dashboard.table import ACTIONS
from nanoshell.errors import UsageError
from nanoshell.spelling import typed

if TYPE_CHECKING:
    from nanoshell.plugin.registry import Registry


def check_dashboard_keys(panels: Registry[Callable[..., Any]], words: list[str]) -> str:
    """Return what there is to say of ``words`` such as ``pause=p``: where a panel has the key for itself.

    Raises `UsageError` for an action that nothing has, a key that there is not, and one that is taken.
    """
    found = keymap(words, ACTIONS, list(_made(panels)))
    if found.problems:
        hint = f"Tab lists the actions; {typed('unset dashboard_keys')} gives all their own keys"
        raise UsageError("; ".join(found.problems), hint=hint)
    return "; ".join(found.hidden)


def dashboard_key_words(panels: Registry[Callable[..., Any]], begun: str) -> list[tuple[str, str]]:
    """Return what ``begun``, the words so far with commas between, may become: ``pause=``, and its title."""
    before, comma, _last = begun.rpartition(",")
    known = {action.id: action.title for action in ACTIONS}
    for panel in _made(panels):
        known |= {binding_id(action, panel.panel_id): action.title for action in panel.actions}
    return [(f"{before}{comma}{name}=", title) for name, title in known.items() if "(" not in name]


def _made(panels: Registry[Callable[..., Any]]) -> Iterator[Panel]:
    """Yield the panels that can be made; of the others the dashboard says what is wrong."""
    for entry in panels:
        with contextlib.suppress(Exception):
            made = entry.value()
            if isinstance(made, Panel):
                yield made
