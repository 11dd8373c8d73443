"""Keys as the user wants them: the setting ``dashboard_keys``, held against what there is to do."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from textual.keys import KEY_NAME_REPLACEMENTS, Keys

from nanoshell.dashboard.keys import FIXED, binding_id, written
from nanoshell.dashboard.panel import Panel
from nanoshell.errors import unknown_name

if TYPE_CHECKING:
    from nanoshell.dashboard.actions import Action

_NAMED = {key.value for key in Keys}
_SPOKEN = {"esc": "escape", "pgup": "pageup", "pgdn": "pagedown", "return": "enter", "del": "delete"}


@dataclass(frozen=True)
class Keymap:
    """The keys that differ from the tables', by the names of actions; what was wrong with others.

    ``hidden`` are words about keys of the app that do something else in some panels.
    """

    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()

    def keys_of(self, owner: object, action: Action) -> tuple[str, ...]:
        """Return the keys of ``action`` of ``owner``, a panel or the app."""
        return self.keys.get(binding_id(action, _owner_id(owner)), action.keys)


@dataclass(frozen=True)
class _Known:
    """An action that keys may be given: whose it is ('' for the app's), and its keys by the table."""

    scope: str
    title: str
    keys: tuple[str, ...]


def keymap(wanted: Iterable[str], actions: Iterable[Action], panels: Iterable[Panel]) -> Keymap:
    """Return the keys that ``wanted``, words such as ``pause=p``, gives to ``actions`` and the panels'.

    Two words about one action give it two keys. A word that names no action or no key, or a key that has
    something else to do in the same place, is left out and told.
    """
    known = {action.id: _Known("", action.title, action.keys) for action in actions}
    for panel in panels:
        for action in panel.actions:
            name = binding_id(action, _owner_id(panel))
            known[name] = _Known(name.rpartition(f".{action.id}")[0], action.title, action.keys)
    given: dict[str, tuple[str, ...]] = {}
    problems: list[str] = []
    for word in wanted:
        name, _, text = word.partition("=")
        key = key_named(text)
        if name not in known:
            problems.append(f"{word}: {unknown_name('action', name, known).message}")
        elif not key:
            problems.append(f"{word}: no key is called '{text}'; write p, P, f5, ctrl+r or space")
        elif key in FIXED:
            problems.append(f"{word}: {written(key)} chooses views and panels")
        else:
            given[name] = (*given.get(name, ()), key)
    problems += _settle(given, known)
    return Keymap(given, tuple(problems), tuple(_hidden(given, known)))


def _settle(given: dict[str, tuple[str, ...]], known: Mapping[str, _Known]) -> list[str]:
    """Take out of ``given`` what has a key that is taken in its place, and return words about it."""
    problems: list[str] = []
    again = True
    while again:  # what goes back to its own key may want one that was given away
        again = False
        for name, keys in list(given.items()):
            for other, action in known.items():
                taken = set(keys) & set(given.get(other, action.keys))
                if other != name and taken and action.scope == known[name].scope:
                    key = written(min(taken))
                    problems.append(f"{name}={key}: {key} is the key of {other} ({action.title})")
                    del given[name]
                    again = True
                    break
    return problems


def _hidden(given: Mapping[str, tuple[str, ...]], known: Mapping[str, _Known]) -> Iterator[str]:
    """Yield words about each action of the app one of whose keys some panel has for itself."""
    for name, keys in given.items():
        if not known[name].scope:
            hidden = sorted({k.scope for k in known.values() if k.scope and set(k.keys) & set(keys)})
            if hidden:
                key = " ".join(map(written, keys))
                yield f"{name}={key}: {key} does something else in {', '.join(hidden)}"


def key_named(text: str) -> str:
    """Return Textual's name of the key that people write ``text``; '' where there is none."""
    *modifiers, last = [*text.split("+")[:-2], "+"] if text == "+" or text.endswith("++") else text.split("+")
    modifiers = [word.lower() for word in modifiers]
    if set(modifiers) - {"ctrl", "shift", "alt"} or not last:
        return ""
    if len(last) > 1:
        last = _SPOKEN.get(last.lower(), last.lower())
        if last not in _NAMED and not _is_sign(last):
            return ""
    elif not last.isalnum():
        try:
            name = unicodedata.name(last).lower().replace("-", "_").replace(" ", "_")
        except ValueError:
            return ""
        last = KEY_NAME_REPLACEMENTS.get(name, name)
    elif modifiers:
        last = last.lower()
    return "+".join([*modifiers, last])


def _is_sign(name: str) -> bool:
    if name in KEY_NAME_REPLACEMENTS.values():
        return True
    try:
        unicodedata.lookup(name.replace("_", " "))
    except KeyError:
        return False
    return True


def _owner_id(owner: object) -> str:
    return (owner.panel_id or type(owner).__name__) if isinstance(owner, Panel) else ""
