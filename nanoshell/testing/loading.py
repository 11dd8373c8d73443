"""Loading plugins as a test wants it: ours and the given ones, nothing else, every mistake an error."""

from __future__ import annotations

from pathlib import Path

from nanoshell.plugin.manager import Plugins as Plugins, load_plugins


def plugins_with(*plugins: object, plugins_dir: Path | None = None) -> Plugins:
    """Return what nanoshell's own plugins and ``plugins`` (modules or instances) bring, nothing else.

    ``plugins_dir`` adds the files of a folder. Neither settings nor environment are read. Raises
    `PluginError` for anything that would otherwise only be reported.
    """
    given = [(_name(plugin), plugin) for plugin in plugins]
    files = [path.stem for path in plugins_dir.glob("*.py")] if plugins_dir else []
    return load_plugins(plugins_dir=plugins_dir, only=files, strict=True, extra=given)


def _name(plugin: object) -> str:
    name = getattr(plugin, "__name__", None)
    return str(name).rpartition(".")[2] if name else type(plugin).__name__
