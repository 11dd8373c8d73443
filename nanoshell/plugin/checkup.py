"""Loads plugins in a process of its own, to see what happens: whatever they do, who asks goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nanoshell.files import write_text
from nanoshell.plugin.discovery import PluginInfo, installed_plugins, plugins_in
from nanoshell.plugin.manager import heavy_imports, load_plugins

PATIENCE_SECONDS = 60.0
"""How long loading may take before the process is ended."""


@dataclass(frozen=True)
class Checkup:
    """How loading went: the plugins as it left them, what they printed, slow libraries that they imported.

    ``death`` says how the process ended where it did not end well; there are no ``infos`` then.
    """

    infos: tuple[PluginInfo, ...] = ()
    output: str = ""
    heavy: tuple[str, ...] = ()
    death: str = ""


def check_plugins(
    plugin: PluginInfo | None = None,
    *,
    plugins_dir: str | None = None,
    disabled: Sequence[str] = (),
    patience: float = PATIENCE_SECONDS,
) -> Checkup:
    """Load ours and ``plugin`` in another process, or all as the shell does, and return how that went.

    ``plugins_dir`` is the folder of single files; ``disabled`` names plugins to leave out.
    """
    wanted = None if plugin is None else [plugin.name, _provider(plugin)]
    order = json.dumps({"plugin": wanted, "plugins_dir": plugins_dir, "disabled": list(disabled)})
    ignored = ("NANOSHELL_STRICT", "NANOSHELL_TRACE")
    env = {name: value for name, value in os.environ.items() if name not in ignored}
    with tempfile.TemporaryDirectory() as folder:
        found, printed = Path(folder) / "found.json", Path(folder) / "printed"
        # -P: the folder in which somebody happens to be is no place to import from.
        command = [sys.executable, "-P", "-m", __name__, order, str(found)]
        with printed.open("wb") as output:
            try:
                done = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=env,
                    timeout=patience,
                    check=False,
                )
                death = _death(done.returncode)
            except subprocess.TimeoutExpired:
                death = f"loading did not end within {patience:g} s"
        said = printed.read_text("utf-8", "replace").strip()
        if not found.exists():
            return Checkup(output=said, death=death)
        result = json.loads(found.read_text("utf-8"))
    return Checkup(tuple(PluginInfo(**info) for info in result["infos"]), said, tuple(result["heavy"]))


def _provider(plugin: PluginInfo) -> str:
    """Return who brought ``plugin``, a file by its whole path: the folder may have been given from here."""
    return str(Path(plugin.provider).resolve()) if plugin.origin == "file" else plugin.provider


def _death(code: int) -> str:
    if code < 0:
        known = -code in set(signal.Signals)  # most real-time signals have no name
        return f"loading ended the process by {signal.Signals(-code).name if known else f'signal {-code}'}"
    return f"loading ended the process with code {code}"


def _load(order: dict[str, Any]) -> list[PluginInfo]:
    folder = Path(order["plugins_dir"]) if order["plugins_dir"] else None
    if order["plugin"] is None:
        return load_plugins(plugins_dir=folder, disabled=order["disabled"], report=_say_nothing).infos
    plugins = load_plugins(only=[], disabled=order["disabled"], report=_say_nothing)
    candidates = [*installed_plugins(), *(plugins_in(folder) if folder else ())]
    for candidate in candidates:
        if [candidate.name, _provider(candidate.info())] == order["plugin"]:
            plugins.load(candidate)
            return plugins.infos[-1:]
    raise LookupError(f"there is no plugin {order['plugin'][0]} any more")


def _say_nothing(_line: str) -> None:
    """Everything that is reported is in the plugins' own records."""


def main() -> None:
    """Carry out the order on the command line and write what was found to the file that it names."""
    order, target = json.loads(sys.argv[1]), Path(sys.argv[2])
    known = frozenset(sys.modules)
    infos = _load(order)
    found = {"infos": [asdict(info) for info in infos], "heavy": heavy_imports(known)}
    write_text(target, json.dumps(found))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # a thread that a plugin has left behind must not keep the process


if __name__ == "__main__":
    main()
