"""``plugin new``: a complete package that installs, loads and passes its own tests at once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nanoshell_commands.layout import from_here

if TYPE_CHECKING:
    from nanoshell import Session

TEMPLATES = Path(__file__).parent / "scaffold"
"""The files of a new package: MODULE and IDENTIFIER in their names, ``$name`` and the like in their text."""

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_PREFIX = "nanoshell-"


@dataclass(frozen=True)
class NewPlugin:
    """A package that was written: its ``name`` as a plugin, its folder and files, and what to do ``next``."""

    name: str
    distribution: str
    folder: str
    files: list[str]
    next: list[str]

    def __rich__(self) -> str:
        files, steps = ("\n".join(f"  {line}" for line in lines) for lines in (self.files, self.next))
        return f"{self.folder} is a package now:\n{files}\n\nnext:\n{steps}"


@click.command()
@click.argument("name")
@click.option(
    "--dir",
    "parent",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    show_default="here",
    help="Where the package's folder is made.",
)
@click.pass_obj
def new(session: Session, name: str, parent: Path) -> NewPlugin:
    """Write the package of a new plugin.

    NAME is made of letters, digits and -. The folder nanoshell-NAME gets a data source, a sampler, a command,
    tests and a README: it installs, loads and passes its tests as it is. Change it into what you need.
    """
    import shlex

    from nanoshell import UsageError, typed, write_text

    plugin = _checked_name(session, name)
    folder = parent.expanduser() / f"{_PREFIX}{plugin}"
    if folder.exists():
        raise UsageError(f"{folder} exists", hint="choose another name, or another place with --dir")
    written = []
    for path, text in package_files(plugin):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, text)
        written.append(path)
    shown = from_here(folder.resolve())
    path = shlex.quote(shown if Path(shown).is_absolute() else f"./{shown}")
    return NewPlugin(
        name=plugin,
        distribution=folder.name,
        folder=str(folder),
        files=written,
        next=[
            typed(f"plugin install --editable {path}"),
            f"python -m pytest {path}",
            typed(f"{plugin} 'to be or not to be'"),
            typed(f"data head {plugin}:5"),
        ],
    )


def package_files(plugin: str) -> list[tuple[str, str]]:
    """Return the files of the package of ``plugin``: path and text, sorted by path."""
    from string import Template

    words = {
        "name": plugin,
        "distribution": _PREFIX + plugin,
        "module": (_PREFIX + plugin).replace("-", "_"),
        "identifier": plugin.replace("-", "_"),
        "version": _version(),
    }
    found = []
    for path in TEMPLATES.rglob("*.txt"):
        name = path.relative_to(TEMPLATES).as_posix().removesuffix(".txt")
        name = name.replace("MODULE", words["module"]).replace("IDENTIFIER", words["identifier"])
        found.append((name, Template(path.read_text("utf-8")).substitute(words)))
    return sorted(found)


def _version() -> str:
    from nanoshell import __version__

    return __version__


def _checked_name(session: Session, name: str) -> str:
    """Return ``name`` as that of a plugin. Raises `UsageError` where it cannot be one, or is taken."""
    from nanoshell import UsageError

    plugin = name.removeprefix(_PREFIX)
    if not _NAME.fullmatch(plugin):
        near = re.sub(r"[^a-z0-9]+", "-", plugin.lower()).strip("-").lstrip("0123456789-")
        raise UsageError(
            f"{name!r} cannot be the name of a plugin" + (f"; did you mean '{near}'?" if near else ""),
            hint="small letters, digits and -, a letter first: haiku, my-data",
        )
    plugins = session.plugins
    aliases = {alias for entry in plugins.commands for alias in entry.options["aliases"]}
    for kind, taken in (
        ("plugin", {info.name for info in plugins.infos if info.called([plugin, _PREFIX + plugin])}),
        ("command", aliases | set(plugins.commands.names())),
        ("data source", set(plugins.sources.names())),
    ):
        if taken and (kind == "plugin" or plugin in taken):
            raise UsageError(f"there is a {kind} '{plugin}' already", hint="choose another name")
    return plugin
