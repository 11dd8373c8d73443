"""Texts from the public internet: Tiny Shakespeare, any URL, any book of Project Gutenberg."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanoshell import hookimpl

if TYPE_CHECKING:
    from nanoshell import RegisterSource

nanoshell_api = 1


@hookimpl
def register_sources(register: RegisterSource) -> None:
    """Register nothing yet."""
