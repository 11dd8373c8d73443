"""What a command returns, and what a face may do with it.

A command never prints its result. It returns one of

- ``None``: nothing to show;
- a ``str``: shown as text, ``{"text": …}`` in JSON;
- a dataclass, or a list of dataclasses: shown by its ``__rich__`` where it has one, else as a table; in JSON
  its fields, or what its ``to_json()`` returns where it has that method;
- a ``dict`` or a list of anything: shown as a table or line by line; in JSON as it is;
- a `Stream`: things that happen while the command runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import click

from nanoshell.spelling import typed as typed

if TYPE_CHECKING:
    from rich.console import Console

JSON_WANTED = "nanoshell.json"
STAY = "nanoshell.stay"
INVOKED = "nanoshell.invoked"
AnyCallable = TypeVar("AnyCallable", bound=Callable[..., Any])


class Screen(Protocol):
    """The human side of a face: where a `Stream` shows itself."""

    @property
    def out(self) -> Console:
        """Data, on stdout. Markup is off: text is shown as it is; hand over `rich.text.Text` for styles."""

    @property
    def err(self) -> Console:
        """Narration, on stderr. Markup is off here too."""

    @property
    def live(self) -> bool:
        """Whether a person watches a terminal, so that bars and colours make sense."""

    @property
    def prompt(self) -> bool:
        """Whether this is the interactive prompt (a waiting command would block it)."""

    def write(self, text: str, style: str = "") -> None:
        """Write ``text`` to stdout at once, as it is, without a newline.

        ``style`` is a role of the theme (``nano.special``) or a style as rich writes it (``bold``).
        """

    def flow(self, text: str, style: str = "") -> None:
        """Write ``text`` that comes piece by piece to stdout, without a newline.

        A terminal's lines are broken between words, for which a word at the edge may wait for its end; it is
        written at the latest before anything else is. Elsewhere this is `write`.
        """

    def note(self, text: str) -> None:
        """Say one quiet line on stderr."""


@runtime_checkable
class Stream(Protocol):
    """A result that arrives over time: `show` it to people; for ``--json`` `document`, after None `lines`."""

    def show(self, screen: Screen) -> None:
        """Show the events to a person as they come."""

    def lines(self) -> Iterator[Any]:
        """Yield one JSON-able value (dict or dataclass) for each event: ``--json`` prints them as lines."""

    def document(self) -> Any:
        """Return everything as one JSON-able value, or None where ``--json`` should print `lines`."""


class LeaveShell(Exception):
    """Raised by a command to end the shell: the prompt leaves, a script stops, both well."""


def stay_at_prompt() -> None:
    """Ask the ``nanoshell`` program to go on at the prompt when the running command has ended well.

    It does so on a terminal only, and not with ``--json``; elsewhere and at the prompt this changes nothing.
    """
    click.get_current_context().meta[STAY] = True


def want_json(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    """Note in ``ctx`` that the result is to be printed as JSON (the callback of every ``--json``)."""
    if value:
        ctx.meta[JSON_WANTED] = True


def json_option(*aliases: str) -> Callable[[AnyCallable], AnyCallable]:
    """Return a decorator that gives a command ``--json`` under further spellings too (``--headless``).

    Every command has ``--json`` without asking; this is only for those that want another name for it.
    """
    return click.option(
        "--json",
        *aliases,
        "json_wanted",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=want_json,
        help="Print the result as JSON on stdout.",
    )
