"""The colours of the line that is typed: what each part is taken for, and that nothing is called for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from prompt_toolkit.document import Document

from nanoshell.opening import open_session
from nanoshell.repl.lexer import CommandLexer, spans
from nanoshell.repl.style import prompt_style, translated
from nanoshell.session import Session
from nanoshell.testing import plugins_with
from nanoshell.theme import ROLES, THEMES

PLUGIN = '''
import click
from nanoshell import hookimpl


class Secretive(click.Group):
    def get_command(self, ctx, name):
        raise AssertionError("a command is looked at, not called")


@click.group()
@click.option("--deep", nargs=2)
def tree(deep):
    """A tree."""


@tree.command("leaf")
@click.argument("text", nargs=-1)
@click.option("-n", type=int)
@click.option("--special/--plain")
def leaf(text, n, special):
    """A leaf."""


@click.group(cls=Secretive)
def secretive():
    """Tells nothing."""


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1)
def anything(words):
    """Takes anything."""


@hookimpl
def register_commands(register):
    for command in (tree, secretive, anything):
        register(command)
'''


@pytest.fixture
def session(plugins_dir: Path) -> Session:
    (plugins_dir / "trees.py").write_text(PLUGIN)
    return open_session(plugins_dir=plugins_dir)


def roles(session: Session, text: str) -> list[tuple[str, str]]:
    """Return the parts of ``text`` that have a role, and that role."""
    get_line = CommandLexer(session).lex_document(Document(text))
    lines = [get_line(number) for number in range(text.count("\n") + 1)]
    assert "\n".join("".join(part[1] for part in line) for line in lines) == text
    parts = [(part[1], part[0].removeprefix("class:nano.")) for line in lines for part in line]
    return [(piece, role) for piece, role in parts if role and piece]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hello :there --you", []),
        ("quit", [("quit", "command")]),
        ("  :hi you", [(":hi", "command"), ("you", "value")]),
        (
            ":hello you --times 3",
            [(":hello", "command"), ("you", "value"), ("--times", "option"), ("3", "value")],
        ),
        (":hello --times=3", [(":hello", "command"), ("--times", "option"), ("3", "value")]),
        (":hello -5", [(":hello", "command"), ("-5", "value")]),
        (":helo you", [("helo", "unknown")]),
        (":helo", [("helo", "unknown")]),
        (":hel", []),  # it may become hello
        (":hel ", [("hel", "unknown")]),
        (":sleep 3", [("sleep", "unknown")]),  # a command of the program alone
        (":hello --tims 3", [(":hello", "command"), ("--tims", "unknown"), ("3", "value")]),
        (":hello --tim", [(":hello", "command")]),
        (":hello --json", [(":hello", "command"), ("--json", "option")]),
        (":hello -- --times", [(":hello", "command"), ("--", "option"), ("--times", "value")]),
        (":hello '--times 3", [(":hello", "command"), ("'--times 3", "value")]),
        (
            ":say --upper --what <|endoftext|> 'is",
            [(":say", "command"), ("--upper", "option")],
        ),
        (
            ":tree --deep a b leaf -n4 --plain x",
            [
                (":tree", "command"),
                ("--deep", "option"),
                ("a", "value"),
                ("b", "value"),
                ("leaf", "command"),
                ("-n", "option"),
                ("4", "value"),
                ("--plain", "option"),
                ("x", "value"),
            ],
        ),
        (":tree laef", [(":tree", "command"), ("laef", "unknown")]),
        (":tree le", [(":tree", "command")]),
        (":secretive anything", [(":secretive", "command")]),
        (":anything --goes here", [(":anything", "command"), ("here", "value")]),
        (
            ":tree leaf 'Hi<|endoftext|> <|nothing|>'",
            [
                (":tree", "command"),
                ("leaf", "command"),
                ("'Hi", "value"),
                ("<|endoftext|>", "special"),
                (" <|nothing|>'", "value"),
            ],
        ),
        (
            ":tree leaf 'two\nlines'",
            [(":tree", "command"), ("leaf", "command"), ("'two", "value"), ("lines'", "value")],
        ),
        ('"""two\nlines"""', [('"""', "quiet"), ('"""', "quiet")]),
        ('"""', [('"""', "quiet")]),
        ("?tree", [("?", "command"), ("tree", "value")]),
        ("?teee", [("?", "command"), ("teee", "unknown")]),
        (":", [(":", "command")]),
        ("# note", [("# note", "quiet")]),
    ],
)
def test_parts_have_the_roles_that_they_play(
    session: Session, text: str, expected: list[tuple[str, str]]
) -> None:
    assert roles(session, text) == expected


@pytest.mark.parametrize("group", ["run", "runs", "model", "chat", "plugin", "data", "tokenizer"])
def test_subcommands_that_no_group_of_ours_has_are_told(group: str) -> None:
    own = plugins_with().commands
    assert list(spans(f":{group} shwo", own))[-1] == (len(group) + 2, len(group) + 6, "unknown")
    assert all(role != "unknown" for *_, role in spans(":run eval", own))


def test_a_command_that_cannot_be_read_is_plain_text(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session.plugins.commands.get("hello"), "params", None)
    assert roles(session, ":hello --times 3") == []


def test_every_theme_has_a_style_for_every_role() -> None:
    for name in THEMES:
        style = prompt_style(name)
        for role in ROLES:
            style.get_attrs_for_style_str(f"class:nano.{role}")
    attributes = prompt_style("terminal").get_attrs_for_style_str("class:nano.unknown")
    assert (attributes.color, attributes.underline) == ("ansired", True)
    assert prompt_style("there is none") is not None


def test_styles_are_translated() -> None:
    assert translated("bold bright_cyan on white not dim") == "bold fg:ansibrightcyan bg:ansigray nodim"
    assert translated("something else") == ""
