"""Splitting lines: like a POSIX shell, with raw rests left alone, and open words found while typing."""

from __future__ import annotations

import contextlib
import re
import shlex

import click
import pytest
from hypothesis import assume, given, strategies as st

from nanoshell.command import words
from nanoshell.errors import UsageError

LINES = st.text(alphabet="ab '\"\\\t-=é", max_size=24)


@click.command()
@click.option("--times", "-n", type=int)
@click.option("--loud/--quiet")
@click.option("-v", "verbose", count=True)
@click.argument("text")
def raw(times: int, loud: bool, verbose: int, text: str) -> None:
    """A raw command with every sort of option."""


def test_a_colon_makes_a_command_and_its_rest_is_exact() -> None:
    assert words.parse_line(":system  You're  kind ") == words.CommandLine("system", " You're  kind")
    assert words.parse_line("  :train") == words.CommandLine("train", "")
    assert words.parse_line(": train --help") == words.CommandLine("train", "--help")


def test_a_colon_alone_asks_for_help() -> None:
    assert words.parse_line(":") == words.CommandLine("help", "")


def test_other_lines_are_chat_and_a_backslash_keeps_a_first_mark() -> None:
    assert words.parse_line(" Hello: you ") == "Hello: you"
    assert words.parse_line(r"\:not a command") == ":not a command"
    assert words.parse_line(r"\# no comment") == "# no comment"
    assert words.parse_line(r"\alpha") == r"\alpha"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("?", words.CommandLine("help", "")),
        ("?train", words.CommandLine("help", "train")),
        (" ? runs show ", words.CommandLine("help", "runs show")),
        ("really?", "really?"),
        (r"\?what", "?what"),
        ("exit", words.CommandLine("exit", "")),
        (" quit ", words.CommandLine("quit", "")),
        ("help", words.CommandLine("help", "")),
        ("help me", "help me"),
        ("Exit", "Exit"),
        (r"\exit", "exit"),
        (r"\exit now", r"\exit now"),
        ("# a comment", ""),
    ],
)
def test_what_a_newcomer_types_is_understood(line: str, expected: words.CommandLine | str) -> None:
    assert words.parse_line(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('"""one line"""', "one line"),
        ('"""\nfirst\n  second\n"""', "first\n  second"),
        ('"""first\n# :train\n\n"""', "first\n# :train\n"),
        ('"""say \'\'\'hi\'\'\' and """ too\nend"""', "say '''hi''' and \"\"\" too\nend"),
        ('""""""', ""),
        (r'\"""not a block', '"""not a block'),
    ],
)
def test_a_block_is_text_as_it_stands(line: str, expected: str) -> None:
    assert not words.is_open_block(line)
    assert words.parse_line(line) == expected


@pytest.mark.parametrize(
    ("text", "is_open"),
    [
        ('"""', True),
        ('"""first\nsecond', True),
        ('"""first\nsecond"""  ', False),
        ('text """', False),
        (':system """You are', True),
        (':system """You are\nkind."""', False),
        (':system say """', True),
        (':tokens "a quote', False),
    ],
)
def test_it_is_known_whether_a_block_is_open(text: str, is_open: bool) -> None:
    assert words.is_open_block(text) == is_open


def test_a_block_is_an_argument_too() -> None:
    assert words.split('--text """two\n"lines" \\""" more') == ["--text", 'two\n"lines" \\', "more"]
    assert words.split_raw(raw, ' -n 2 """\nYou\'re\nkind.\n"""') == ["-n", "2", "--", "You're\nkind."]


APOSTROPHE = re.compile(r"[^\W\d_]'[^\W\d_]")
"""Where we read a letter, and a POSIX shell a quote."""


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("It's fine", ["It's", "fine"]),
        ("isn't it 'two words' 'twas", None),
        ("don't and won't", ["don't", "and", "won't"]),
        ("--name 'my run'", ["--name", "my run"]),
        ("\"It's\" x='a b'", ["It's", "x=a b"]),
        ("''", [""]),
    ],
)
def test_an_apostrophe_between_letters_is_no_quote(rest: str, expected: list[str] | None) -> None:
    if expected is None:
        with pytest.raises(UsageError, match="a quote is not closed"):
            words.split(rest)
    else:
        assert words.split(rest) == expected


def test_an_open_quote_is_a_usage_error_that_shows_the_line() -> None:
    with pytest.raises(UsageError, match="not closed in: say 'hello"):
        words.split("say 'hello")


@given(LINES)
def test_complete_words_are_those_of_the_shell(line: str) -> None:
    assume(not APOSTROPHE.search(line) and words.FENCE not in line)
    try:
        expected = shlex.split(line)
    except ValueError:
        return
    complete, word, start = words.open_word(line + " ")
    assert (complete, word, start) == (expected, "", len(line) + 1)


@given(LINES)
def test_the_open_word_starts_where_a_completion_must_replace_it(line: str) -> None:
    assume(not APOSTROPHE.search(line) and words.FENCE not in line)
    complete, word, start = words.open_word(line)
    assert 0 <= start <= len(line)
    again, nothing, _ = words.open_word(line[:start])
    assert (again, nothing) == (complete, "")
    with contextlib.suppress(ValueError):  # a quote or an escape is open, which is why the function exists
        assert shlex.split(line[start:]) == ([word] if start < len(line) else [])


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ('You\'re "kind"', ["--", 'You\'re "kind"']),
        ("--times 3 two  words", ["--times", "3", "--", "two  words"]),
        ("-n 3 x", ["-n", "3", "--", "x"]),
        ("--times='3' x", ["--times='3'", "--", "x"]),
        ('--times "3" x y', ["--times", "3", "--", "x y"]),
        ("--loud --quiet -v x", ["--loud", "--quiet", "-v", "--", "x"]),
        ("--unknown stays text", ["--", "--unknown stays text"]),
        ("-5 degrees", ["--", "-5 degrees"]),
        ("-- --times 3", ["--", "--times 3"]),
        ("text --times 3", ["--", "text --times 3"]),
        ("--help", ["--help"]),
        ("", []),
        ("--", []),
    ],
)
def test_raw_commands_take_leading_options_and_one_text(rest: str, expected: list[str]) -> None:
    assert words.split_raw(raw, rest) == expected


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["two", "words", "--times", "3"], ["--times", "3", "--", "two words"]),
        (["--", "--times", "3"], ["--", "--times 3"]),
        (["-", "x"], ["--", "- x"]),
        (["--nonsense", "x"], ["--nonsense", "--", "x"]),
        (["--loud"], ["--loud"]),
        ([], []),
    ],
)
def test_words_split_by_a_shell_are_joined_again(args: list[str], expected: list[str]) -> None:
    assert words.join_words(raw, args) == expected


def test_an_open_quote_before_a_long_text_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    reading = words._read
    monkeypatch.setattr(words, "_read", lambda text: (read.append(len(text)), reading(text))[1])
    raw = click.Command("raw", params=[click.Option(["-n"]), click.Argument(["text"])])
    with pytest.raises(UsageError, match="a quote is not closed"):
        words.split_raw(raw, "-n 'open " + "word " * 200)
    assert len(read) <= 2


@given(LINES)
def test_joining_what_was_split_raw_changes_nothing(rest: str) -> None:
    try:
        args = words.split_raw(raw, rest)
    except UsageError:
        return
    assert words.join_words(raw, args) == args


@pytest.mark.parametrize(
    ("args", "kept"),
    [
        (["window", "-1"], ["--", "window", "-1"]),
        (["-.5e-3", "--times", "-2", "--loud"], ["--times", "-2", "--loud", "--", "-.5e-3"]),
        (["-n", "-1", "text"], ["-n", "-1", "text"]),
        (["--", "-1"], ["--", "-1"]),
        (["-1x", "--lod"], ["-1x", "--lod"]),
    ],
)
def test_a_negative_number_is_a_value_and_no_option(args: list[str], kept: list[str]) -> None:
    assert words.keep_numbers(raw, args) == kept


def test_an_option_that_is_a_number_stays_one() -> None:
    @click.command()
    @click.option("-1", "one", is_flag=True)
    @click.option("--pair", nargs=2)
    @click.argument("numbers", nargs=-1)
    def command(one: bool, pair: tuple[str, str], numbers: tuple[str, ...]) -> None:
        pass

    assert words.keep_numbers(command, ["-1", "-2"]) == ["-1", "--", "-2"]
    assert words.keep_numbers(command, ["--pair", "-3", "-4", "-5"]) == ["--pair", "-3", "-4", "--", "-5"]
