"""Lines without a prompt: ``-c``, ``-f`` and standard input stop at the first failure, with its code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Program = Callable[..., Any]


@pytest.fixture
def script(tmp_path: Path) -> Callable[[bytes], str]:
    """Write a script file and return its path."""

    def write(content: bytes) -> str:
        path = tmp_path / "lines.ns"
        path.write_bytes(content)
        return str(path)

    return write


def test_lines_given_one_by_one(program: Program) -> None:
    result = program("-c", ":hello a", "-c", ":hi b\n\n# a comment\n:fruit echo", "-c", ":say it's  fine")
    assert result.code == 0
    assert result.out.startswith("hello a\nhello b\npear\n")
    assert "it's  fine" in result.out


def test_a_script_has_comments_blank_lines_quotes_and_json(program: Program, script: Any) -> None:
    path = script(
        b"\xef\xbb\xbf# first\n\n  :hello 'two words'\r\n:steps --json\n:say --json --upper Zo\xc3\xab\n"
    )
    result = program("-f", path)
    assert result.code == 0
    greeting, *rest = result.out.splitlines()
    assert greeting == "hello two words"
    assert [json.loads(line) for line in rest] == [{"step": 0}, {"step": 1}, {"step": 2}, {"text": "ZOË"}]


@pytest.mark.parametrize(
    ("lines", "code", "said"),
    [
        (b":hello\n:helo\n:hello c\n", 2, "{}:2: unknown command 'helo'; did you mean 'hello'?"),
        (b":hello\n:hello 'a\n", 2, "{}:2: a quote is not closed in: 'a"),
        (b":hello\n\n:boom\n", 1, "{}:3: unexpected error in 'boom'"),
        (b":hello\n:leave-with 5\n:hello c\n", 5, ""),
        (b":hello\n\xff\n", 1, "{}:2: this line is not UTF-8"),
        (b":hello\nhello\n", 2, "{}:2: no model is loaded to chat with"),
    ],
)
def test_a_script_stops_at_the_first_failure_and_says_where(
    program: Program, script: Any, lines: bytes, code: int, said: str
) -> None:
    path = script(lines)
    result = program("-f", path)
    assert result.code == code
    assert result.out.startswith("hello world\n")
    assert "hello c" not in result.out
    assert said.format(path) in result.err


def test_text_without_a_model_names_the_command_that_was_perhaps_meant(program: Program) -> None:
    assert "for the command type :hello" in program("-c", "hello you").err
    assert "for the command" not in program("-c", "Good morning").err


def test_the_number_of_a_dash_c_is_told(program: Program) -> None:
    assert (
        "error: -c 2: unknown command 'nothing-like-it'"
        in program("-c", ":hello", "-c", ":nothing-like-it").err
    )


def test_piped_lines_are_carried_out_and_no_command_eats_them(process: Program) -> None:
    result = process(stdin=":hello a\n:ask\ny\n")
    assert result.code == 1
    assert result.out.startswith("hello a\nsure? [y/N]: ")
    assert "standard input:2: " in result.err
    assert "no one to answer" in result.err


def test_piped_lines_end_well_with_their_end(process: Program) -> None:
    assert process(stdin="").code == 0
    result = process("-f", "-", stdin=":hello a")
    assert (result.code, result.out) == (0, "hello a\n")


def test_a_colon_lists_the_commands_as_the_prompt_spells_them(program: Program) -> None:
    result = program("-c", ":hello --help")
    assert result.out.startswith("Usage: :hello [OPTIONS] [WHO]")
    assert "  :hello you\n" in result.out
    assert ":hello, :hi" in program("-c", ":--help").out


def test_leaving_ends_every_script_that_was_named(program: Program, tmp_path: Path) -> None:
    first, second = tmp_path / "first.ns", tmp_path / "second.ns"
    first.write_text(":hello a\n:quit\n:hello b\n")
    second.write_text(":hello c\n")
    result = program("-f", str(first), "-f", str(second))
    assert (result.code, result.out) == (0, "hello a\n")
    assert program("-f", str(second), "-f", str(first)).out == "hello c\nhello a\n"
