"""The ``nanoshell`` program: its commands, a stranger's among them, their results, errors and exit codes."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Program = Callable[..., Any]


def test_a_plain_click_command_is_a_subcommand(program: Program) -> None:
    result = program("hello", "you", "--times", "2")
    assert (result.code, result.out, result.err) == (0, "hello you\nhello you\n", "")


def test_what_a_plain_command_writes_is_text_in_json(program: Program) -> None:
    result = program("hello", "--json")
    assert result.code == 0
    assert json.loads(result.out) == {"text": "hello world\n"}


def test_every_leaf_of_a_group_has_json(program: Program) -> None:
    assert json.loads(program("fruit", "echo", "--json").out) == {"text": "pear\n"}
    listed = json.loads(program("fruit", "list", "--json").out)
    assert listed == [{"name": "apple", "weight": 0.25}, {"name": "[melon]", "weight": None}]


def test_values_are_shown_as_a_table_with_markup_left_alone(program: Program) -> None:
    rows = [line.split() for line in program("fruit", "list").out.splitlines()]
    assert rows == [["name", "weight"], ["apple", "0.25"], ["[melon]", "nan"]]


def test_a_json_option_of_the_command_itself_is_left_to_it(program: Program) -> None:
    assert program("own-json", "--json").out == '{"mine": true}\n'
    assert program("own-json").out == "text\n"


def test_a_stream_is_shown_or_written_as_lines_and_closed(program: Program) -> None:
    shown = program("steps")
    assert (shown.out, shown.err) == ("step 0 step 1 step 2 \n", "a note\n")
    written = program("steps", "--json")
    assert [json.loads(line) for line in written.out.splitlines()] == [{"step": n} for n in range(3)]
    assert written.err == "closed\n"


def test_an_alias_works_and_json_after_two_dashes_is_text(program: Program) -> None:
    assert program("hi", "--", "--json").out == "hello --json\n"


def test_a_raw_command_takes_the_words_as_one_text(program: Program) -> None:
    result = program("say", "--json", "it's", "two", "--upper", "words")
    assert json.loads(result.out) == {"text": "IT'S TWO WORDS"}


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("helo",), 2, ["unknown command 'helo'; did you mean 'hello'?", "nanoshell help"]),
        (
            ("hello", "--tims", "3"),
            2,
            ["has no option '--tims'; did you mean '--times'?", "nanoshell help hello"],
        ),
        (("hello", "--times", "x"), 2, ["'x' is not a valid integer", "nanoshell help hello"]),
        (
            ("hello", "a", "b"),
            2,
            ["extra argument (b)", "usage: nanoshell hello [OPTIONS] [WHO]"],
        ),
        (("leave-with",), 2, ["missing argument 'CODE'", "nanoshell help leave-with"]),
        (("fruit", "lst"), 2, ["unknown command 'lst' of fruit; did you mean 'list'?"]),
        (("--modle", "x"), 2, ["has no option '--modle'; did you mean '--model'?"]),
        (
            ("boom",),
            1,
            ["unexpected error in 'boom' of plugin 'stranger': ValueError: bad [red]things", "--debug"],
        ),
        (("leave-with", "3"), 3, []),
        (("sysexit", "7"), 7, []),
        (("sysexit", "farewell"), 1, ["farewell"]),
        (("-c", ":hello", "hello"), 2, ["do not go together with a command"]),
        (("-f", "nowhere.txt"), 2, ["cannot read the script nowhere.txt"]),
    ],
)
def test_a_failure_is_one_message_with_a_code(
    program: Program, args: tuple[str, ...], code: int, said: list[str]
) -> None:
    result = program(*args)
    assert result.code == code
    assert all(part in result.err for part in said)
    assert "Traceback" not in result.err
    assert len(result.err.splitlines()) <= 2


def test_debug_shows_where_it_happened(program: Program) -> None:
    result = program("--debug", "boom")
    assert result.code == 1
    assert 'raise ValueError("bad [red]things")' in result.err


def test_output_before_an_exit_is_kept_in_json(program: Program) -> None:
    result = program("leave-with", "4", "--json")
    assert (result.code, json.loads(result.out)) == (4, {"text": "before\n"})


def test_a_question_without_anyone_to_answer_fails(process: Program) -> None:
    result = process("ask")
    assert result.code == 1
    assert "no one to answer" in result.err
    assert process("ask", stdin="y\n").out == "sure? [y/N]: done\n"


def test_no_is_an_answer_and_no_interruption(process: Program) -> None:
    declined = process("ask", stdin="n\n")
    assert (declined.code, declined.err) == (1, "nothing was done: the answer was no\n")
    at_prompt = process("-c", ":ask", stdin="n\n")
    assert (at_prompt.code, "the answer was no" in at_prompt.err) == (1, True)


@pytest.mark.parametrize(
    "words",
    [("data", "use", "no.txt"), ("data", "use", "no*.txt"), ("chat", "import", "no.jsonl"), ("-f", "no.ns")],
)
def test_a_file_that_is_not_there_is_a_mistake_of_usage(program: Program, words: tuple[str, ...]) -> None:
    assert program(*words).code == 2


def test_json_never_waits_for_an_answer_on_a_terminal(plugins_dir: Path) -> None:
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "nanoshell", "--plugins-dir", str(plugins_dir), "ask", "--json"]
    try:
        done = subprocess.run(command, stdin=terminal, capture_output=True, timeout=300)
    finally:
        os.close(controller)
        os.close(terminal)
    assert done.returncode == 1
    assert b"no one to answer" in done.stderr


def test_help_lists_commands_under_their_headings(program: Program) -> None:
    result = program("--help")
    assert result.code == 0
    assert "hello, hi" in result.out
    assert "Greet someone." in result.out
    assert program("--help", "hello").out == result.out


def test_the_help_of_a_command_has_defaults_and_examples_as_the_program_spells_them(program: Program) -> None:
    page = program("hello", "--help").out
    assert page.startswith("Usage: nanoshell hello [OPTIONS] [WHO]")
    assert "How often.  [default: 1]" in page
    assert "  nanoshell hello you\n" in page
    assert "--json" in page


def test_a_command_of_the_prompt_alone_says_so(program: Program, plugins_dir: Path) -> None:
    (plugins_dir / "more.py").write_text(
        "import click\nfrom nanoshell import hookimpl\n"
        "@click.command()\ndef here(): pass\n"
        "@hookimpl\ndef register_commands(register): register(here, faces=['prompt'])\n"
    )
    result = program("here")
    assert result.code == 2
    assert "works only at the prompt" in result.err
    assert program("-c", ":here").code == 0
    assert "works only on the command line" in program("-c", ":sleep 1").err


def test_a_reader_that_leaves_is_told_nothing(plugins_dir: Path) -> None:
    command = [sys.executable, "-m", "nanoshell", "--plugins-dir", str(plugins_dir), "lines"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline() == b"line 0\n"
        child.stdout.close()
        said = child.stderr.read()
    assert (child.returncode, said) == (141, b"")


def test_interrupting_a_waiting_command_ends_with_130(plugins_dir: Path) -> None:
    command = [sys.executable, "-m", "nanoshell", "--plugins-dir", str(plugins_dir), "sleep", "60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stderr is not None
        assert child.stderr.readline() == b"sleeping\n"
        child.send_signal(signal.SIGINT)
        said = child.stderr.read()
    assert (child.returncode, said) == (130, b"interrupted\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_behind_stdout_is_a_message(plugins_dir: Path) -> None:
    command = [sys.executable, "-m", "nanoshell", "--plugins-dir", str(plugins_dir), "hello"]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=300)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == b"error: No space left on device"
    assert b"Exception ignored" not in done.stderr


def test_closed_streams_are_no_reason_to_fail(plugins_dir: Path) -> None:
    command = f"{sys.executable} -m nanoshell --plugins-dir {plugins_dir} hello <&- >&-"
    assert subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, timeout=300).returncode == 0


def test_letters_beyond_ascii_in_a_plain_locale(process: Program) -> None:
    for changes in ({"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        assert process("hello", "Zoë", "--json", **changes).out == '{"text": "hello Zoë\\n"}\n'


def test_colours_only_where_wanted(process: Program) -> None:
    assert "\x1b" not in process("helo", FORCE_COLOR="").err


STARTED = """
import sys
from nanoshell import hookimpl

@hookimpl
def session_started(session):
    print("a session has started", file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "times"),
    [
        (["hello"], 1),
        (["fruit", "list"], 1),
        (["help", "fruit", "list"], 1),
        (["-c", ":hello", "-c", ":hello"], 1),
        (["--help"], 0),
        (["no-such-command"], 0),
        (["train", "--run", "nowhere"], 0),
    ],
)
def test_plugins_hear_once_that_a_session_has_started(
    program: Program, plugins_dir: Path, arguments: list[str], times: int
) -> None:
    """The process that trains takes no commands, so it tells nobody."""
    (plugins_dir / "started.py").write_text(STARTED)
    assert program(*arguments).err.count("a session has started") == times
