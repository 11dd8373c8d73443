"""What the commands about plugins share: which plugins a name means, and how one is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanoshell_commands.layout import pairs

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nanoshell import PluginInfo, Session


@dataclass(frozen=True)
class PluginRow:
    """A plugin: where it came from, what it registered by kind, its state, and how long its import took.

    Where it was not loaded, ``registered`` is empty and ``import_ms`` null.
    """

    name: str
    version: str
    provider: str
    origin: str
    registered: dict[str, list[str]]
    import_ms: float | None
    state: str
    reason: str

    def __rich__(self) -> RenderableType:
        return pairs(
            [
                ("name", self.name),
                ("version", self.version or None),
                ("from", f"{self.provider} ({self.origin})"),
                ("state", f"{self.state}: {self.reason}" if self.reason else self.state),
                ("import", None if self.import_ms is None else f"{self.import_ms:.1f} ms"),
                *((kind.replace("_", " "), ", ".join(names)) for kind, names in self.registered.items()),
            ]
        )


def row(info: PluginInfo) -> PluginRow:
    """Return ``info`` as it is shown."""
    loaded = info.state in ("active", "quarantined")
    return PluginRow(
        name=info.name,
        version=info.version,
        provider=info.provider,
        origin=info.origin,
        registered={kind: list(names) for kind, names in info.registered.items() if names} if loaded else {},
        import_ms=round(info.import_ms, 2) if loaded and info.import_ms else None,
        state=info.state,
        reason=info.reason,
    )


def brought(registered: dict[str, list[str]]) -> str:
    """Return what a plugin registered in numbers: ``2 samplers, 1 command``."""
    return ", ".join(_counted(kind, len(names)) for kind, names in registered.items() if names)


def _counted(kind: str, amount: int) -> str:
    words = kind.replace("_", " ")
    return f"{amount} {words.removesuffix('s') if amount == 1 else words}"


def meant(session: Session, name: str) -> list[PluginInfo]:
    """Return the plugins that ``name`` means: one by its name, else those of a package or distribution.

    Raises `UnknownNameError` with the nearest, and `UsageError` where several have the name.
    """
    from nanoshell import UsageError, unknown_name

    infos = session.plugins.infos
    found = [info for info in infos if info.name == name] or [info for info in infos if info.called([name])]
    if not found:
        raise unknown_name("plugin", name, [info.name for info in infos])
    if len(found) > 1 and (found[0].name == found[1].name or found[0].origin == "built-in"):
        listed = ", ".join(f"{info.name} ({info.provider})" for info in found)
        raise UsageError(
            f"'{name}' means {len(found)} plugins: {listed}",
            hint="name the distribution" if found[0].name == found[1].name else "name one of them",
        )
    return found


def plugins_folder(session: Session) -> str | None:
    """Return the folder of ``--plugins-dir``, where there is one."""
    arguments = session.plugins.arguments
    return arguments[arguments.index("--plugins-dir") + 1] if "--plugins-dir" in arguments else None
