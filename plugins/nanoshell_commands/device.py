"""``device``: what this machine can compute on, and choosing it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from nanoshell import DEVICE, human_bytes
from nanoshell_commands.layout import Rows

if TYPE_CHECKING:
    from nanoshell import Backend, Session

EXAMPLES = ("device", "device cpu")


@dataclass(frozen=True)
class DeviceRow:
    """A backend: whether it can be used here (else ``reason``), what it is, dtype, memory in bytes."""

    name: str
    chosen: bool
    available: bool
    description: str
    reason: str
    dtype: str | None = None
    memory_used: int | None = None
    memory_total: int | None = None


@click.command()
@click.argument("name", type=DEVICE, required=False)
@click.pass_obj
def device(session: Session, name: str | None) -> Rows[DeviceRow]:
    """Show the devices of this machine, or choose one.

    NAME holds for models and runs, now and later; auto takes the fastest that is there.
    """
    from nanoshell import choose_backend, typed

    if name is not None:
        choose_backend(name, session.plugins.backends)
        session.settings.set("device", name)
    setting = session.settings.text("device")
    chosen = session.backend().name
    rows = [_row(entry.name, entry.provider, entry.value, chosen) for entry in session.plugins.backends]
    return Rows(
        rows,
        [
            ("", lambda row: "*" if row.chosen else ""),
            ("device", lambda row: row.name),
            ("what it is", lambda row: row.description if row.available else row.reason),
            ("dtype", lambda row: row.dtype),
            (">memory used", lambda row: human_bytes(row.memory_used)),
            (">of", lambda row: human_bytes(row.memory_total)),
        ],
        empty="no plugin brings a device",
        footer=f"* what 'device {setting}' takes; choose with: {typed('device NAME')}",
    )


def _row(name: str, provider: str, make: Callable[[], Backend], chosen: str) -> DeviceRow:
    """Return what the backend says of itself; one that fails is a device that cannot be used."""
    try:
        return _described(make(), name, chosen)
    except Exception as error:  # a plugin's code may raise anything
        reason = f"plugin '{provider}' failed ({type(error).__name__}: {error})"
        return DeviceRow(name, False, False, "", reason)


def _described(backend: Backend, name: str, chosen: str) -> DeviceRow:
    reason = backend.unavailable_reason()
    if reason is not None:
        return DeviceRow(name, False, False, "", reason)
    memory = backend.memory()
    return DeviceRow(
        name,
        name == chosen,
        True,
        backend.describe(),
        "",
        dtype=backend.default_dtype(),
        memory_used=memory.used,
        memory_total=memory.total,
    )
