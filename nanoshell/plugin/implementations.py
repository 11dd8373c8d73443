"""What a plugin implements, as pluggy reads it, and what it seems to mean and does not get."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pluggy

from nanoshell.errors import PluginError, nearest
from nanoshell.plugin.discovery import PluginInfo
from nanoshell.plugin.hookspecs import PROJECT, Hooks

HOOKS = tuple(name for name in vars(Hooks) if not name.startswith("_"))
NOTICES = tuple(name for name in HOOKS if not name.startswith("register_"))


@dataclass(frozen=True)
class Implementation:
    """A plugin's function for one hook: the ``arguments`` that it takes, and its ``rank`` among others."""

    plugin: PluginInfo
    function: Callable[..., object]
    arguments: tuple[str, ...]
    rank: int


def implementations(plugin: object, info: PluginInfo) -> list[tuple[Implementation, str]]:
    """Return the hooks that ``plugin`` implements, in the order of the specifications.

    Raises `PluginError` for an implementation that pluggy refuses (arguments that the hook does not offer) or
    that only makes sense in pluggy's own call loop.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Hooks)
    try:
        manager.register(plugin, info.name)
    except pluggy.PluginValidationError as error:
        raise PluginError(_plain_validation(str(error))) from error
    found = []
    for hook in HOOKS:
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            if implementation.wrapper or implementation.hookwrapper:
                raise PluginError(f"'{hook}' is marked as a wrapper, and hooks cannot be wrapped here")
            rank = 0 if implementation.tryfirst else 2 if implementation.trylast else 1
            arguments = tuple(implementation.argnames)
            found.append((Implementation(info, implementation.function, arguments, rank), hook))
    return found


def _plain_validation(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(line for line in lines if not line.startswith(("Plugin ", "hookimpl definition")))


def mistakes(plugin: object) -> list[str]:
    """Return remarks on what ``plugin`` seems to mean and does not get: mistyped hooks, forgotten marks."""
    remarks = []
    manager = pluggy.PluginManager(PROJECT)
    for name in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, name)
        if options is not None:
            name = options.get("specname") or name
            if name not in HOOKS and not options.get("optionalhook"):
                match = nearest(name, HOOKS)
                meant = f"; did you mean '{match}'?" if match else ""
                remarks.append(f"implements '{name}', which is no hook of this nanoshell{meant}")
        elif name in HOOKS:
            remarks.append(f"defines '{name}' without @hookimpl, so it is not called")
    if not remarks and not any(manager.parse_hookimpl_opts(plugin, name) for name in dir(plugin)):
        remarks.append("implements no hook")
    return remarks
