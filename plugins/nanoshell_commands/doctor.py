"""``plugin doctor``: each plugin loaded in a process of its own, and the environment, with what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import click

from nanoshell_commands.layout import from_here, utf8
from nanoshell_commands.pluginrows import brought, plugins_folder

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nanoshell import Checkup, PluginInfo, Screen, Session

Verdict = Literal["good", "warning", "broken"]

_MARKS = {"good": ("✓", "ok"), "warning": ("!", "!"), "broken": ("✗", "x")}


@dataclass(frozen=True)
class Check:
    """What was looked at, how it is, and what to do (``advice``).

    ``area`` is "plugins" or "environment". Of a plugin there are the names that it ``registered``, by kind,
    and how long it took to load, null where it was not loaded or not at all to its end.
    """

    area: Literal["plugins", "environment"]
    name: str
    verdict: Verdict
    text: str
    advice: str = ""
    import_ms: float | None = None
    registered: dict[str, list[str]] = field(default_factory=dict)


class Diagnosis:
    """A `Stream` of checks. It ends with exit code 1 where something is broken."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def show(self, screen: Screen) -> None:
        """Show each check as it is done, its mark in front, and at the end how many are broken."""
        from rich.text import Text

        area, broken = "", 0
        for check in self._checks():
            if check.area != area:
                area = check.area
                screen.out.print(Text(area, style="nano.heading"))
            screen.out.print(_line(check, ascii_only=not utf8(screen.out)))
            broken += check.verdict == "broken"
        if broken:
            screen.out.print(Text(f"{broken} of these {'is' if broken == 1 else 'are'} broken"))
            raise click.exceptions.Exit(1)
        screen.out.print(Text("nothing is broken"))

    def lines(self) -> Iterator[Check]:
        """Yield the checks, one by one."""
        broken = False
        for check in self._checks():
            broken = broken or check.verdict == "broken"
            yield check
        if broken:
            raise click.exceptions.Exit(1)

    def document(self) -> None:
        """There is no one document: `lines` come as each check is done."""

    def _checks(self) -> Iterator[Check]:
        from nanoshell_commands.environment import environment_checks

        yield from plugin_checks(self._session)
        for name, verdict, text, advice in environment_checks(self._session):
            yield Check("environment", name, verdict, text, advice)


def _line(check: Check, *, ascii_only: bool) -> RenderableType:
    """Return ``check`` as a person sees it: a mark, the name, and behind them the text and what to do."""
    from rich.table import Table
    from rich.text import Text

    style = {"good": "nano.good", "warning": "nano.warning", "broken": "nano.error"}[check.verdict]
    text = Text(check.text)
    if check.advice:
        text.append(f"\n{check.advice}", style="nano.quiet")
    line = Table.grid(padding=(0, 2, 0, 0))
    line.add_column(no_wrap=True)
    line.add_column(no_wrap=True, min_width=13)
    line.add_column(overflow="fold")
    line.add_row(
        Text(f"  {_MARKS[check.verdict][ascii_only]}", style=style), Text(check.name, "nano.heading"), text
    )
    return line


def plugin_checks(session: Session) -> Iterator[Check]:
    """Yield a check for each plugin: ours are loaded here, the others each in a process of its own.

    What is good alone may still clash with others, so that they are loaded once more together.
    """
    from nanoshell import check_plugins, typed

    folder, disabled = plugins_folder(session), session.settings.get("disabled_plugins")
    left_out = disabled if isinstance(disabled, list) else []
    others = [info for info in session.plugins.infos if info.origin not in ("built-in", "given")]
    yield from (_of_ours(info) for info in session.plugins.infos if info.origin == "built-in")
    sound, broken = [], []
    for info in others:
        if info.state == "disabled":
            yield Check("plugins", info.name, "good", f"is left out: {info.reason}", _how_to_enable(info))
            continue
        checkup = check_plugins(info, plugins_dir=folder, disabled=left_out)
        check = _alone(info, checkup)
        if check.verdict == "broken":
            broken.append(info.name)
        else:
            sound += [(found.name, found.provider) for found in checkup.infos]
        yield check
    if len(sound) > 1:
        together = check_plugins(plugins_dir=folder, disabled=[*left_out, *broken])
        yield from _clashes(together, sound)
    unknown = [name for name in left_out if not any(info.called([name]) for info in session.plugins.infos)]
    for name in unknown:
        advice = f"to forget it: {typed(f'plugin enable {name}')}"
        yield Check("plugins", name, "warning", "is disabled, and there is no plugin of that name", advice)


def _of_ours(info: PluginInfo) -> Check:
    if info.state == "disabled":
        return Check("plugins", info.name, "good", f"is left out: {info.reason}", _how_to_enable(info))
    if info.state != "active":
        advice = "install nanoshell anew: a part of it is damaged"
        return Check("plugins", info.name, "broken", info.reason, advice)
    text = brought(info.registered)
    return Check("plugins", info.name, "good", text, "", round(info.import_ms, 2), info.registered)


def _how_to_enable(info: PluginInfo) -> str:
    from nanoshell import typed

    if "disabled_plugins" not in info.reason:
        return ""
    return f"to have it back: {typed(f'plugin enable {info.name}')}"


def _how_to_disable(info: PluginInfo) -> str:
    from nanoshell import typed

    return f"to do without it: {typed(f'plugin disable {info.name}')}"


def _alone(info: PluginInfo, checkup: Checkup) -> Check:
    """Return what loading ``info`` beside ours has shown."""
    advice = _how_to_disable(info)
    if not checkup.infos:
        said = f"; it said: {checkup.output.splitlines()[-1]}" if checkup.output else ""
        return Check("plugins", info.name, "broken", f"{checkup.death}{said}", advice)
    found = checkup.infos[0]
    provider = from_here(found.provider) if found.origin == "file" else found.provider
    label = f"{found.version} ({provider})".strip()
    took, names = round(found.import_ms, 2), found.registered
    if found.state != "active":
        return Check("plugins", found.name, "broken", f"{label} {found.reason}", advice, took)
    text = f"{label} {brought(names) or 'nothing'} · {found.import_ms:.0f} ms"
    remarks = [found.reason] if found.reason else []
    if checkup.heavy and "to load, where" not in found.reason:
        remarks.append(f"it imports {', '.join(checkup.heavy)} at every start")
    if checkup.output:
        remarks.append(f"it prints while it is loaded: {checkup.output.splitlines()[0]}")
    verdict: Verdict = "warning" if remarks else "good"
    fix = "tell its author, or mend it" if remarks else ""
    return Check("plugins", found.name, verdict, "; ".join([text, *remarks]), fix, took, names)


def _clashes(together: Checkup, sound: list[tuple[str, str]]) -> Iterator[Check]:
    """Yield the plugins that load alone and not beside the others."""
    if not together.infos:
        yield Check("plugins", "all together", "broken", together.death, "disable them one by one")
    for info in together.infos:
        if (info.name, info.provider) in sound and info.state == "quarantined":
            advice = _how_to_disable(info)
            yield Check("plugins", info.name, "broken", f"beside the others: {info.reason}", advice)


@click.command()
@click.pass_obj
def doctor(session: Session) -> Diagnosis:
    """Check the plugins and the environment.

    Each plugin is loaded in a process of its own, so that even one that crashes is only told of. The exit
    code is 1 where something is broken.
    """
    return Diagnosis(session)
