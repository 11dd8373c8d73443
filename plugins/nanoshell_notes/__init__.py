"""A journal of runs: what you thought about one, written down beside its figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanoshell import hookimpl

if TYPE_CHECKING:
    from nanoshell import RegisterCommand

nanoshell_api = 1


@hookimpl
def register_commands(register: RegisterCommand) -> None:
    """Register nothing yet."""
