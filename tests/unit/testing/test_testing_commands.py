"""`check_command` passes a plain command, and names the rule that each broken one breaks."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import click
import pytest

from nanoshell import hookimpl
from nanoshell.testing import Shell, check_command
from nanoshell.testing.commands import RULES
from tests.unit.testing.broken import assert_told


def plugin(command: click.Command, **options: Any) -> types.ModuleType:
    """Return a plugin that brings ``command``, with examples that work unless ``options`` say others."""
    made = types.ModuleType("made")

    @hookimpl
    def register_commands(register: Any) -> None:
        register(command, **{"examples": ["double 3", "double --times 4 -- -1"], **options})

    made.register_commands = register_commands  # type: ignore[attr-defined]
    return made


def double(body: Callable[..., Any] = lambda n, times: f"{n * times}", **changes: Any) -> click.Command:
    attributes: dict[str, Any] = {
        "callback": body,
        "help": "Give a multiple of a number.\n\nTwice as much, if nothing else is said.",
        "params": [
            click.Argument(["n"], type=int),
            click.Option(["--times"], type=int, default=2, help="How many times."),
        ],
        **changes,
    }
    return click.Command("double", **attributes)


def chatty(n: int, times: int) -> list[int]:
    context = click.get_current_context()
    if context.meta.get("nanoshell.json"):
        raise click.ClickException("no JSON from me")
    return [n]


class OwnJson:
    """Prints more than its JSON: a stream that speaks on stdout."""

    def show(self, screen: Any) -> None:
        screen.write("6\n")

    def document(self) -> None:
        return None

    def lines(self) -> Any:
        print("here they come")
        yield {"n": 6}


def group_with(member: click.Command) -> click.Group:
    group = click.Group("double", help="Work with numbers.")
    group.add_command(member)
    return group


SILENT = click.Command("three", callback=lambda: "3", help="")
FINE = click.Command("three", callback=lambda: "3", help="Say three.")

BROKEN: list[tuple[str, click.Command, dict[str, Any]]] = [
    ("help", double(help=None), {}),
    ("help", group_with(SILENT), {"examples": ["double three"]}),
    ("short help", double(help="Take a number " * 5), {}),
    ("options", double(params=[click.Argument(["n"], type=int), click.Option(["--times"])]), {}),
    ("examples", double(), {"examples": []}),
    ("examples", double(), {"examples": ["triple 3"]}),
    ("parses", double(), {"examples": ["double three"]}),
    ("parses", double(), {"examples": ["double 3 --often 4"]}),
    ("parses", group_with(FINE), {"examples": ["double four"]}),
    ("runs", double(lambda n, times: 1 / 0), {}),
    ("runs", double(chatty), {}),
    ("json", double(lambda n, times: OwnJson()), {}),
]


@pytest.fixture
def opened(nanoshell_session: Callable[..., Shell]) -> Callable[..., Shell]:
    return lambda command, **options: nanoshell_session(plugin(command, **options))


def test_a_command_that_keeps_every_rule(opened: Callable[..., Shell]) -> None:
    check_command(opened(double()), "double")
    check_command(opened(double(), aliases=["twice"], examples=["twice 3"]), "double")
    check_command(opened(group_with(FINE), examples=["double three"]), "double")


def test_examples_may_be_left_out(opened: Callable[..., Shell]) -> None:
    shell = opened(double(lambda n, times: 1 / 0))
    check_command(shell, "double", run=False)
    check_command(shell, "double", leave_out=["double 3", "double --times 4 -- -1"])


@pytest.mark.parametrize(("rule", "command", "options"), BROKEN)
def test_a_broken_command_is_told(
    rule: str, command: click.Command, options: dict[str, Any], opened: Callable[..., Shell]
) -> None:
    assert_told(lambda: check_command(opened(command, **options), "double"), rule, RULES)


def test_every_rule_is_broken_once() -> None:
    assert {rule for rule, *_ in BROKEN} == set(RULES)
