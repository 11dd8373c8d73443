"""``plugins``: what was loaded, what it brought, and what was left out and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from nanoshell import PLUGIN
from nanoshell_commands.layout import Rows, pairs

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nanoshell import Session

EXAMPLES = ("plugins", "plugins samplers")


@dataclass(frozen=True)
class PluginRow:
    """A plugin: where it came from, what it registered by kind, how long its import took, its state."""

    name: str
    version: str
    provider: str
    origin: str
    registered: dict[str, list[str]]
    import_ms: float
    state: str
    reason: str

    def __rich__(self) -> RenderableType:
        return pairs(
            [
                ("name", self.name),
                ("version", self.version or None),
                ("provider", f"{self.provider} ({self.origin})"),
                ("state", f"{self.state}: {self.reason}" if self.reason else self.state),
                ("import", f"{self.import_ms:.1f} ms"),
                *((kind, ", ".join(names)) for kind, names in self.registered.items() if names),
            ]
        )


def _brought(row: PluginRow) -> str:
    if row.state != "active":
        return row.reason
    return ", ".join(_counted(kind, len(names)) for kind, names in row.registered.items() if names)


def _counted(kind: str, amount: int) -> str:
    words = kind.replace("_", " ")
    return f"{amount} {words.removesuffix('s') if amount == 1 else words}"


@click.command()
@click.argument("name", type=PLUGIN, required=False)
@click.pass_obj
def plugins(session: Session, name: str | None) -> Any:
    """Show the plugins and what they brought.

    A plugin that fails is left out whole; the others go on. Disable one with: set disabled_plugins NAME
    """
    from nanoshell import typed, unknown_name

    rows = [
        PluginRow(
            name=info.name,
            version=info.version,
            provider=info.provider,
            origin=info.origin,
            registered={kind: list(names) for kind, names in info.registered.items()},
            import_ms=round(info.import_ms, 2),
            state=info.state,
            reason=info.reason,
        )
        for info in session.plugins.infos
    ]
    if name is not None:
        by_name = {row.name: row for row in rows}
        if name not in by_name:
            raise unknown_name("plugin", name, by_name)
        return by_name[name]
    return Rows(
        rows,
        [
            ("plugin", lambda row: row.name),
            ("version", lambda row: row.version),
            ("from", lambda row: row.provider if row.origin != "file" else row.origin),
            ("brought", _brought),
            (">import ms", lambda row: f"{row.import_ms:.1f}"),
            ("state", lambda row: row.state),
        ],
        empty="no plugins are loaded",
        footer=f"details with: {typed('plugins NAME')}",
    )
