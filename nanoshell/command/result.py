"""What a command returns, and what a face may do with it.

A command never prints its result. It returns one of

- ``None``: nothing to show;
- a ``str``: shown as text, ``{"text": …}`` in JSON;
- a dataclass, or a list of dataclasses: shown by its ``__rich__`` where it has one, else as a table; in JSON
  its fields;
- a `Stream`: things that happen while the command runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.console import Console


class Screen(Protocol):
    """The human side of a face: where a `Stream` shows itself."""

    @property
    def out(self) -> Console:
        """Data, on stdout."""

    @property
    def err(self) -> Console:
        """Narration, on stderr."""

    @property
    def live(self) -> bool:
        """Whether a person watches a terminal, so that bars and colours make sense."""

    @property
    def prompt(self) -> bool:
        """Whether this is the interactive prompt (a waiting command would block it)."""

    def write(self, text: str, style: str = "") -> None:
        """Write ``text`` to stdout at once, as it is, without a newline; ``style`` is a rich style."""

    def note(self, text: str) -> None:
        """Say one quiet line on stderr."""


class Stream(Protocol):
    """A result that arrives over time. Exactly one of the three methods is called, once."""

    def show(self, screen: Screen) -> None:
        """Show the events to a person as they come."""

    def lines(self) -> Iterator[Any]:
        """Yield one JSON-able value (dict or dataclass) for each event: ``--json`` prints them as lines."""

    def document(self) -> Any:
        """Return everything as one JSON-able value, or None where ``--json`` should print `lines`."""
