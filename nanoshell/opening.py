"""Opening a session: the settings are read, the plugins loaded, the last session's data taken up."""

from __future__ import annotations

from pathlib import Path

from nanoshell import paths
from nanoshell.last import last_state
from nanoshell.narrator import Narrator, SilentNarrator
from nanoshell.plugin.manager import Plugins, load_plugins
from nanoshell.session import Session
from nanoshell.settings import Setting, Settings, number


def open_session(
    *,
    plugins_dir: Path | None = None,
    safe: bool = False,
    history: bool = True,
    narrator: Narrator | None = None,
    plugins: Plugins | None = None,
    load_others: bool = True,
) -> Session:
    """Read the settings, load the plugins and return the session that a face works with.

    With ``plugins``, which are loaded already, none are. Without ``load_others`` none but ours are imported,
    as `load_plugins` says.
    """
    settings = Settings(paths.config_dir() / "settings.toml", forgiving=True)
    disabled = settings.get("disabled_plugins")
    if plugins is None:
        plugins = load_plugins(
            plugins_dir=plugins_dir,
            safe=safe,
            disabled=disabled if isinstance(disabled, list) else [],
            load_others=load_others,
        )
    for entry in plugins.samplers:
        bounds = {key: entry.options[key] for key in ("minimum", "maximum", "integer")}
        parse = number(entry.name, **bounds)
        settings.define(Setting(entry.name, entry.options["default"], parse, entry.summary, "sampling"))
    session = Session(plugins, settings, history, narrator or SilentNarrator())
    for line in settings.complaints():
        session.narrator.note(line)
    if history and isinstance(data := last_state().get("data"), str):
        session.data = data
    return session
