"""Several commands in one paste, commands that begin as elsewhere, and a prompt that goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, strategies as st

from nanoshell.repl import loop
from nanoshell.repl.lexer import spans
from nanoshell.repl.news import RunWatch
from nanoshell.repl.several import separate
from nanoshell.session import Session
from tests.faces.keyboard import CTRL_D, Keyboard

PASTE = "\x1b[200~{}\x1b[201~"


def texts(pasted: str) -> list[str]:
    return [line.text for line in separate(pasted)]


@pytest.mark.parametrize(
    ("pasted", "lines"),
    [
        (":a\n:b 1", [":a", ":b 1"]),
        ("# first\n:a\n\n  :b", ["# first", ":a", "  :b"]),
        (":a\nHello?\n:b", [":a", "Hello?", ":b"]),
        ('?a\n:b "x\n:y"\n:c', ["?a", ':b "x\n:y"', ":c"]),
        (':a """x\n:y\n"""\n:c', [':a """x\n:y\n"""', ":c"]),
        (':a\n"""x\n:y\n"""\n:c', [":a", '"""x\n:y\n"""', ":c"]),
        (":a 'x\n:b", [":a 'x", ":b"]),
    ],
)
def test_lines_are_separated_as_in_a_script(pasted: str, lines: list[str]) -> None:
    assert texts(pasted) == lines


@pytest.mark.parametrize("pasted", ["one\n:two", ":a\nb", ":a 'x\n:y'", '"""\n:a\n:b\n"""', "# a\nb", ":a"])
def test_a_message_or_a_command_of_several_lines_stays_one(pasted: str) -> None:
    assert texts(pasted) == [pasted]


@given(st.text(alphabet=":a \n'\"#\\", max_size=40))
def test_nothing_that_was_pasted_is_lost(pasted: str) -> None:
    placed = separate(pasted)
    assert all(pasted[line.start :].startswith(line.text) for line in placed)
    assert "".join("".join(line.text for line in placed).split()) == "".join(pasted.split())


def test_pasted_commands_run_in_turn_after_enter_until_one_fails(
    keyboard: Keyboard, session: Session, capsys: Any
) -> None:
    assert (
        keyboard(
            session,
            PASTE.format(":hello a\n# a comment\n:hello b\n:boom\n:hello c\n:hello d\n"),
            "\r",
            CTRL_D,
        )
        == 0
    )
    captured = capsys.readouterr()
    assert captured.out == "hello a\nhello b\n"
    told = captured.err
    places = [told.index(f"nanoshell> :{name}\n") for name in ("hello a", "hello b", "boom")]
    assert places == sorted(places)
    assert "2 further lines of the paste: not carried out" in told
    assert "nanoshell> :hello c" not in told
    assert "comment" not in told


def test_pasted_commands_are_not_run_before_enter(keyboard: Keyboard, session: Session, capsys: Any) -> None:
    assert keyboard(session, PASTE.format(":hello a\n:hello b\n"), "\x03", CTRL_D) == 0
    assert "hello" not in capsys.readouterr().out


def test_each_pasted_command_has_its_colours(session: Session) -> None:
    from nanoshell.repl.lexer import CommandLexer

    found = CommandLexer(session)._spans(":hello a\n:helo b")
    assert found == [*spans(":hello a", session.plugins.commands), (10, 14, "unknown")]


@pytest.mark.parametrize(
    ("typed", "said"),
    [("/help train", ":help"), ("/bye", ":quit"), ("/?", ":help"), ("/hello", ":hello")],
)
def test_a_slash_is_told_how_commands_begin(
    keyboard: Keyboard, session: Session, capsys: Any, typed: str, said: str
) -> None:
    session.model_name = "anything"
    assert keyboard(session, typed + "\r", CTRL_D) == 0
    captured = capsys.readouterr()
    assert f"commands begin with a colon: {said}; to say it to the model, type \\{typed}" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("typed", "said"), [("\\/help me", "/help me"), ("/usr/bin", "/usr/bin"), ("/no", "/no")]
)
def test_other_slashes_are_said_to_the_model(
    keyboard: Keyboard, session: Session, monkeypatch: pytest.MonkeyPatch, typed: str, said: str
) -> None:
    heard: list[str] = []
    monkeypatch.setattr("nanoshell.command.script._chat", lambda _session, text, _screen: heard.append(text))
    keyboard(session, typed + "\r", CTRL_D)
    assert heard == [said]


def test_clear_is_a_command_of_the_prompt_alone(
    keyboard: Keyboard, session: Session, program: Callable[..., Any], capsys: Any
) -> None:
    assert keyboard(session, ":clear\r", ":cls --json\r", CTRL_D) == 0
    assert capsys.readouterr().out == '{"text": ""}\n'
    assert program("clear").code == 2


def test_a_failure_of_the_prompt_is_told_and_it_goes_on(
    keyboard: Keyboard, session: Session, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    times = iter(range(10))

    def tell(_watch: RunWatch, **_options: Any) -> None:
        if next(times) in (0, 1):
            raise RuntimeError("the log is odd")

    monkeypatch.setattr(RunWatch, "tell", tell)
    assert keyboard(session, ":hello\r", CTRL_D) == 0
    captured = capsys.readouterr()
    assert captured.out == "hello world\n"
    assert captured.err.count("the log is odd") == 2


def test_a_prompt_that_always_fails_ends(
    keyboard: Keyboard, session: Session, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def tell(_watch: RunWatch, **_options: Any) -> None:
        raise RuntimeError("the log is odd")

    monkeypatch.setattr(RunWatch, "tell", tell)
    assert keyboard(session) == 1
    assert capsys.readouterr().err.count("the log is odd") == loop.MOST_FAILURES


def test_a_long_paste_is_separated_no_more() -> None:
    pasted = ":a 'x\n" * 3000
    assert texts(pasted) == [pasted]
