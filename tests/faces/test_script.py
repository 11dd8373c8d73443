"""Lines without a prompt: ``-c``, ``-f`` and standard input stop at the first failure, with its code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
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


def test_a_block_is_one_line_that_begins_where_it_is_opened(program: Program, script: Any) -> None:
    path = script(b':say --json """\nfirst\n# no comment\n  :second\n"""\n:hello\n:helo\n')
    result = program("-f", path)
    assert json.loads(result.out.splitlines()[0]) == {"text": "first\n# no comment\n  :second"}
    assert (result.code, f"{path}:7: unknown command 'helo'" in result.err) == (2, True)


def test_a_text_in_a_block_is_said_and_told_by_its_first_line(program: Program, script: Any) -> None:
    path = script(b'\n"""\n:hello\n"""\n')
    result = program("-f", path)
    assert (result.code, result.out) == (2, "")
    assert f"{path}:2: no model is loaded to chat with" in result.err


@pytest.mark.parametrize("source", ["file", "argument", "stdin"])
def test_a_block_that_is_never_closed_is_named(process: Program, script: Any, source: str) -> None:
    text = ':hello\n"""\nand so on\n:hello c\n'
    if source == "file":
        path = script(text.encode())
        result, where = process("-f", path), f"{path}:2"
    elif source == "argument":
        result, where = process("-c", text), "-c 1"
    else:
        result, where = process(stdin=text), "standard input:2"
    assert (result.code, result.out) == (2, "hello world\n")
    assert f'{where}: the """ that begins here is never closed' in result.err


@pytest.mark.skipif(sys.platform == "win32", reason="there are no scripts with a first line of their own")
def test_a_script_may_name_nanoshell_in_its_first_line(
    script: Any, plugins_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "nanoshell"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m nanoshell --plugins-dir {plugins_dir} "$@"\n')
    path = Path(script(b"#!/usr/bin/env -S nanoshell -f\n# a shebang is a comment\n:hello you\n"))
    for file in (program, path):
        file.chmod(0o755)
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    done = subprocess.run([path], env=environment, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "hello you\n")


def test_a_command_that_closes_the_streams_closes_nothing(plugins_dir: Path) -> None:
    """In a process of its own: they are the shell's, which writes on."""
    lines = [word for line in (":closes", ":closes --json", ":hello you", ":helo") for word in ("-c", line)]
    command = [sys.executable, "-m", "nanoshell", "--plugins-dir", str(plugins_dir), *lines]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stdout == 'said\n{"text": "said\\n"}\nhello you\n'
    assert "did you mean 'hello'" in done.stderr
