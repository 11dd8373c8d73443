"""``plugin install`` and ``plugin uninstall``: pip or uv, whichever made the environment, does the work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from nanoshell import PLUGIN
from nanoshell_commands.asked import as_path, asked_for
from nanoshell_commands.pluginrows import PluginRow, brought, meant, plugins_folder, row

if TYPE_CHECKING:
    from nanoshell import PluginInfo, Screen, Session

_HELD = ("torch", "nanoshell")
"""What no plugin may replace: torch is large, of a certain build, and what all runs were computed with."""


@dataclass(frozen=True)
class Installer:
    """What installs into this environment: ``name``, and the words with which its commands begin."""

    name: Literal["pip", "uv"]
    program: tuple[str, ...]

    def install(
        self, what: Sequence[str], constraints: Path, *, editable: bool = False, upgrade: bool = False
    ) -> list[str]:
        """Return the command that installs ``what`` (names, paths, URLs) within ``constraints``, a file."""
        command = [*self.program, "install"]
        if self.name == "uv":
            command += ["--python", _python()]
        else:
            command += ["--no-input", "--disable-pip-version-check", "--upgrade-strategy", "only-if-needed"]
        command += ["--constraint", str(constraints)]
        if upgrade and self.name == "uv":
            command += [word for name in what for word in ("--upgrade-package", name)]
        elif upgrade:
            command.append("--upgrade")
        return command + [word for name in what for word in (("--editable", name) if editable else (name,))]

    def uninstall(self, distribution: str) -> list[str]:
        """Return the command that removes ``distribution`` without asking."""
        where = ["--python", _python()] if self.name == "uv" else ["--yes", "--disable-pip-version-check"]
        return [*self.program, "uninstall", *where, distribution]


def _python() -> str:
    import sys

    return sys.executable


def find_installer() -> Installer:
    """Return uv where it made the environment, else pip where it is there, else uv where it is found.

    Raises `NanoshellError` where there is neither.
    """
    import importlib.util
    import os
    import shutil

    from nanoshell import NanoshellError

    uv = os.environ.get("UV") or shutil.which("uv")
    pip = importlib.util.find_spec("pip") is not None
    if uv and (_made_by_uv() or not pip):
        return Installer("uv", (uv, "pip"))
    if pip:
        return Installer("pip", (_python(), "-m", "pip"))
    made = "uv made this environment, and there is no uv on the PATH" if _made_by_uv() else "there is no pip"
    raise NanoshellError(
        f"nothing here can install: {made}",
        hint=f"install uv (https://docs.astral.sh/uv), or run: {_python()} -m ensurepip",
    )


def _made_by_uv() -> bool:
    """Return whether the environment, or the installed nanoshell, was made by uv."""
    import sys
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        config = (Path(sys.prefix) / "pyvenv.cfg").read_text("utf-8", "replace")
    except OSError:
        config = ""
    if any(line.partition("=")[0].strip() == "uv" for line in config.splitlines()):
        return True
    try:
        return (distribution("nanoshell").read_text("INSTALLER") or "").strip() == "uv"
    except PackageNotFoundError:
        return False


def held_versions() -> list[str]:
    """Return what an install must leave as it is, as lines of a constraints file."""
    from importlib.metadata import PackageNotFoundError, version

    lines = []
    for name in _HELD:
        try:
            lines.append(f"{name}=={version(name)}")
        except PackageNotFoundError:
            continue
    return lines


class Installing:
    """A `Stream` of an installation: what the installer says, then the plugins that came, or were there.

    Raises `NanoshellError` where the installer fails.
    """

    def __init__(self, what: Sequence[str], *, editable: bool, upgrade: bool, session: Session) -> None:
        self._what = [as_path(name) for name in what]
        self._editable = editable
        self._upgrade = upgrade
        self._session = session

    def show(self, screen: Screen) -> None:
        """Show the command and its words as they come, and then what the new plugins bring."""
        from rich.text import Text

        from nanoshell import typed

        rows = self._install()
        for found in rows:
            label = f"{found.name} {found.version}".strip()
            if found.state == "quarantined":
                screen.out.print(Text(f"{label} is installed, and does not work: {found.reason}"))
            elif found.state == "disabled":
                enable = typed(f"plugin enable {found.name}")
                screen.out.print(Text(f"{label} is installed, and disabled; to have it: {enable}"))
            else:
                what = brought(found.registered) or found.reason
                screen.out.print(Text(f"{label} is installed: {what}"))
        if not rows:
            screen.note(f"no plugin came with {', '.join(self._what)}; see: {typed('plugin list')}")
        elif screen.prompt and any(found.state == "active" for found in rows):
            screen.note("it is there at the next start")

    def lines(self) -> Iterator[PluginRow]:
        """Yield the plugins that came, and those asked for that were there before."""
        yield from self._install()

    def document(self) -> list[PluginRow]:
        """Return them, as a process of their own has loaded them; the disabled ones are not loaded."""
        return self._install()

    def _install(self) -> list[PluginRow]:
        import importlib

        from nanoshell import cache_dir, check_plugins, installed_plugins, write_text

        before = {(found.name, found.provider, found.version) for found in installed_plugins()}
        # A lasting place: who likes can repeat the command that is shown.
        constraints = cache_dir() / "constraints.txt"
        write_text(constraints, "".join(f"{line}\n" for line in held_versions()))
        installer = find_installer()
        run(
            installer.install(self._what, constraints, editable=self._editable, upgrade=self._upgrade),
            f"{installer.name} could not install {', '.join(self._what)}",
        )
        importlib.invalidate_caches()
        rows, disabled = [], self._session.settings.get("disabled_plugins")
        for found in installed_plugins():
            there_before = (found.name, found.provider, found.version) in before
            if found.origin == "built-in" or (there_before and not asked_for(found.provider, self._what)):
                continue
            if found.called(disabled if isinstance(disabled, list) else []):
                rows.append(row(found.info("disabled", "listed in the setting disabled_plugins")))
                continue
            checkup = check_plugins(found.info(), plugins_dir=plugins_folder(self._session))
            info = checkup.infos[0] if checkup.infos else found.info("quarantined", checkup.death)
            rows.append(row(info))
        return rows


def run(command: Sequence[str], failure: str) -> None:
    """Show ``command`` and what it says on stderr. Raises `NanoshellError` with ``failure``."""
    import shlex
    import subprocess

    from nanoshell import NanoshellError

    click.secho(f"$ {shlex.join(command)}", dim=True, err=True)
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if not line.startswith("Requirement already satisfied"):  # one for each library that is there
                click.echo(f"  {line.rstrip()}", err=True)
    if process.returncode:
        raise NanoshellError(f"{failure} (exit code {process.returncode})", hint="its own words are above")


@click.command()
@click.argument("what", nargs=-1, required=True, metavar="PACKAGE...")
@click.option("-e", "--editable", is_flag=True, help="Use a folder as it is: edits count at the next start.")
@click.option("-U", "--upgrade", is_flag=True, help="Take the newest version.")
@click.pass_obj
def install(session: Session, what: tuple[str, ...], editable: bool, upgrade: bool) -> Installing:
    """Install plugins: names, folders or URLs.

    pip or uv does it, whichever made the environment, and the command is shown. torch and nanoshell stay as
    they are: what wants other versions of them is refused. Then the new plugins are loaded once, in a process
    of their own, and what they bring is told.
    """
    return Installing(what, editable=editable, upgrade=upgrade, session=session)


def _installed(session: Session, name: str) -> PluginInfo:
    """Return the plugin that ``name`` means. Raises `UsageError` where that is a package and no plugin."""
    from importlib.metadata import PackageNotFoundError, distribution

    from nanoshell import UnknownNameError, UsageError

    try:
        return meant(session, name)[0]
    except UnknownNameError as unknown:
        try:
            distribution(name)
        except (PackageNotFoundError, ValueError):
            raise unknown from None
        raise UsageError(
            f"{name} is installed, and is no plugin of nanoshell", hint="this command removes plugins alone"
        ) from None


@dataclass(frozen=True)
class Uninstalled:
    """The ``distribution`` that was removed, and the ``plugins`` that it had brought."""

    distribution: str
    plugins: list[str]

    def __rich__(self) -> str:
        return f"{self.distribution} is removed, and with it: {', '.join(self.plugins)}"


@click.command()
@click.argument("name", type=PLUGIN)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def uninstall(session: Session, name: str, yes: bool) -> Uninstalled:
    """Remove the package that brought a plugin.

    What is no plugin is refused, and so are those that come with nanoshell, which can only be disabled.
    """
    from nanoshell import UsageError, typed

    found = _installed(session, name)
    if found.origin == "built-in":
        raise UsageError(
            f"plugin '{found.name}' is a part of nanoshell",
            hint=f"to do without it: {typed(f'plugin disable {found.name}')}",
        )
    if found.origin != "entry point" or found.provider == "unknown":
        raise UsageError(
            f"plugin '{found.name}' is no installed package", hint=f"it came from: {found.provider}"
        )
    plugins = [info.name for info in session.plugins.infos if info.provider == found.provider]
    if not yes:
        click.confirm(f"Remove {found.provider} ({', '.join(plugins)})?", abort=True, err=True)
    installer = find_installer()
    run(installer.uninstall(found.provider), f"{installer.name} could not remove {found.provider}")
    return Uninstalled(found.provider, plugins)
