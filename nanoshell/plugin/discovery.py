"""Where plugins come from: installed distributions, and the single files of a folder that the user names."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nanoshell.errors import UsageError
from nanoshell.plugin.installed import EntryPoint, entry_points
from nanoshell.version import __version__

GROUP = "nanoshell"
"""The entry point group, and the name of the distribution whose plugins are ours."""

Origin = Literal["built-in", "entry point", "file", "given"]
State = Literal["active", "quarantined", "disabled", "enabled"]


@dataclass(frozen=True)
class Candidate:
    """A plugin that was found and not yet imported.

    ``name`` is that of its entry point or file; ``provider`` the distribution, or the file's path; ``module``
    the module that holds it; ``load`` imports it and returns the object that carries the hooks.
    """

    name: str
    version: str
    provider: str
    origin: Origin
    module: str
    load: Callable[[], object]

    def called(self, names: Iterable[str]) -> bool:
        """Return whether one of ``names`` is this plugin's name, its package or its distribution."""
        return _called(self, names)

    def info(self, state: State = "active", reason: str = "") -> PluginInfo:
        """Return the candidate as `PluginInfo`."""
        return PluginInfo(
            self.name, self.version, self.provider, self.origin, self.module, state=state, reason=reason
        )


@dataclass
class PluginInfo:
    """A plugin as ``plugin list`` shows it.

    ``provider`` is the distribution that brought it, or the path of its file. ``registered`` holds the names
    by kind ("commands", "sources", …, and "notices"). ``import_ms`` is what importing and registering took.
    ``state`` is "active" or "quarantined" after it was loaded, and else "disabled", or "enabled" where this
    process loads none but ours. ``reason`` says why it is quarantined or disabled, or what of it does not
    work.
    """

    name: str
    version: str
    provider: str
    origin: Origin
    module: str = ""
    registered: dict[str, list[str]] = field(default_factory=dict)
    import_ms: float = 0.0
    state: State = "active"
    reason: str = ""

    @property
    def label(self) -> str:
        """The plugin in a sentence: its name in quotes, its version, and who brought it."""
        return " ".join(part for part in (f"'{self.name}'", self.version, f"({self.provider})") if part)

    def called(self, names: Iterable[str]) -> bool:
        """Return whether one of ``names`` is this plugin's name, its package or its distribution."""
        return _called(self, names)


def _called(plugin: Candidate | PluginInfo, names: Iterable[str]) -> bool:
    own = {_folded(plugin.name), _folded(plugin.module.partition(".")[0])}
    if plugin.origin in ("built-in", "entry point"):
        own.add(_folded(plugin.provider))
    return any(_folded(name) in own for name in names)


def _folded(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def installed_plugins() -> list[Candidate]:
    """Return the plugins of installed distributions: ours first, then the others, each sorted by name."""
    found = []
    for point in entry_points(GROUP):
        ours = _folded(point.distribution) == GROUP
        found.append(
            Candidate(
                name=point.name,
                version=__version__ if ours else point.version,
                provider=point.distribution,
                origin="built-in" if ours else "entry point",
                module=point.module,
                load=_entry_point_loader(point),
            )
        )
    return sorted(found, key=lambda plugin: (plugin.origin != "built-in", plugin.name, plugin.provider))


def _entry_point_loader(point: EntryPoint) -> Callable[[], object]:
    def load() -> object:
        found = point.load()
        return found() if isinstance(found, type) else found  # hooks are called on an instance

    return load


def plugins_in(folder: Path) -> list[Candidate]:
    """Return the plugins of ``folder``: each ``*.py`` file that does not begin with ``_`` or ``.``, sorted by
    name.

    Raises `UsageError` where the folder cannot be read.
    """
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise UsageError(
            f"cannot read the plugins folder {folder}: {error.strerror or error}",
            hint="--plugins-dir takes a folder that holds .py files",
        ) from error
    paths = [folder / name for name in names if name.endswith(".py") and name[0] not in "._"]
    return [
        Candidate(
            name=path.stem,
            version="",
            provider=str(path),
            origin="file",
            module=f"nanoshell_plugins_dir_{path.stem}",
            load=_file_loader(path),
        )
        for path in paths
    ]


def _file_loader(path: Path) -> Callable[[], object]:
    # The module gets a name of its own: a file named like a library must not take that library's place.
    name = f"nanoshell_plugins_dir_{path.stem}"

    def load() -> object:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} is no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    return load


def forget_modules(candidate: Candidate, known: frozenset[str]) -> None:
    """Take from ``sys.modules`` what importing ``candidate`` added of its own package to the ``known``."""
    root = candidate.module.partition(".")[0]
    for name in list(sys.modules):
        if name not in known and (name == root or name.startswith(root + ".")):
            del sys.modules[name]
