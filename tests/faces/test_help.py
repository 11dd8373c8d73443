"""Help: what stands in it, that it fits, how it is asked for; the nearest name; exit codes and streams."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pexpect
import pytest

from nanoshell.command.spec import describe
from nanoshell.opening import open_session
from nanoshell.session import Session
from nanoshell.testing import plugins_with
from tests.faces.conftest import environment

Program = Callable[..., Any]


@pytest.fixture(scope="module")
def ours() -> Session:
    return open_session(plugins=plugins_with(), history=False)


def lists(ours: Session) -> Iterator[tuple[str, dict[str, click.Command]]]:
    """Yield every list of commands that help shows: that of all, and that of each group."""
    entries = list(ours.plugins.commands)
    yield "", {", ".join(map(":{}".format, (e.name, *e.options["aliases"]))): e.value for e in entries}
    for entry in entries:
        if isinstance(entry.value, click.Group):
            yield entry.name, dict(entry.value.commands)


def test_one_line_is_enough_for_each_command_at_80_columns(ours: Session) -> None:
    cut = []
    for _path, commands in lists(ours):
        room = 80 - 2 - 2 - max(map(len, commands)) - 2
        for name, command in commands.items():
            whole = command.get_short_help_str(1000)
            if len(whole) > room or whole.endswith("..."):
                cut.append((name, whole, room))
    assert cut == []


def test_help_lists_the_groups_in_their_order(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    page = program("help").out
    assert program("--help").code == 0
    headings = re.findall(r"^(\w+):$", page, re.MULTILINE)
    assert headings[:4] == ["Start", "Data", "Training", "Model"]
    assert max(map(len, page.splitlines())) <= 80
    assert "nanoshell help COMMAND explains one of them." in page
    assert ":help COMMAND (or ?COMMAND)" in program("-c", ":help").out


@pytest.mark.parametrize("line", ["?", "? ", ":", "help", ":?"])
def test_help_is_asked_for_in_many_ways(program: Program, line: str) -> None:
    assert program("-c", line).out == program("-c", ":help").out


def test_a_page_has_usage_defaults_and_examples(program: Program) -> None:
    page = program("-c", "?train").out
    assert page.startswith("Usage: :train [OPTIONS]\n")
    assert "[default: (nano-start)]" in page
    assert len(re.findall(r"^    :train ", page, re.MULTILINE)) >= 2
    assert page == program("-c", ":help train").out == program("-c", ":train --help").out


def test_a_subcommands_page_has_its_own_examples(program: Program) -> None:
    page = program("help", "runs", "show").out
    examples = re.findall(r"^    (nanoshell .*)$", page, re.MULTILINE)
    assert len(examples) >= 2
    assert all(line.startswith("nanoshell runs show") for line in examples)
    assert page == program("runs", "show", "--help").out
    assert "  :runs show latest\n" in program("-c", "? runs show").out


def test_words_of_a_newcomer_need_no_colon(program: Program) -> None:
    for line in ("exit", "quit"):
        result = program("-c", line, "-c", ":hello")
        assert (result.code, result.out) == (0, "")
    said = program("-c", r"\exit")
    assert (said.code, "no model is loaded to chat with" in said.err) == (2, True)


@pytest.mark.parametrize(
    ("line", "near"),
    [
        ("trian", "train"),
        ("pause", "run pause"),
        ("doctr", "plugin doctor"),
        ("stop", "run stop' or 'runs stop"),
        ("help trian", "train"),
        ("help runs shwo", "show"),
        ("runs shwo", "show"),
        ("spec trian", "train"),
        ("train --confg x", "--config"),
        ("train --dtype flaot32", "float32"),
        ("train --config nano-strat", "nano-start"),
        ("train --data nano-strat", "nano-start"),
        ("train --data nano-start --set trainer.lerning_rate=1", "learning_rate"),
        ("train --data nano-start --set trainer.schedule=cosin", "cosine"),
        ("data use nano-strat", "nano-start"),
        ("model info nano-strt", "nano-start"),
        ("tokenizer train --kind chr --data nano-start", "char"),
        ("tokens --tokenizer cl100k hi", "cl100k_base"),
        ("set temprature 1", "temperature"),
        ("set theme terminl", "terminal"),
        ("set keys vim", "vi"),
        ("set device cup", "cpu"),
        ("device cudda", "cuda"),
        ("plugin show sampler", "samplers"),
        ("runs show tny-1", "tiny-1"),
        ("model load tny-1", "tiny-1"),
        ("run set lerning_rate=1", "learning_rate"),
        ("completion install fsh", "fish"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(
    program: Program,
    nanoshell_run: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    near: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = program(*line.split())
    assert (result.code, result.out) == (2, "")
    assert f"did you mean '{near}'?" in result.err


def test_narration_never_mixes_with_data(process: Program, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("birds sing. " * 50)
    result = process("tokenize", str(text), "-o", str(tmp_path / "notes.bin"), "--json")
    assert result.code == 0
    assert len(result.out.splitlines()) == 1
    assert result.out.startswith("[{")
    assert "tokeniz" in result.err


def test_every_option_and_argument_has_a_word_about_it(ours: Session) -> None:
    silent = [
        f"{command.path} {option.spellings[0]}"
        for command in describe(ours).commands
        for option in command.parameters
        if option.kind == "option" and not option.help
    ]
    assert silent == []


@pytest.mark.skipif(sys.platform == "win32", reason="there is no less")
def test_long_help_at_the_prompt_is_shown_by_the_pager(tmp_path: Path) -> None:
    pager = tmp_path / "pager"
    pager.write_text(
        '#!/bin/sh\necho "PAGER HAS $(wc -l) LINES"\nread answer < /dev/tty\necho "GOT $answer"\n'
    )
    pager.chmod(0o755)
    env = environment(PAGER=str(pager), NANOSHELL_HOME=str(tmp_path / "home"))
    child = pexpect.spawn(
        sys.executable, ["-m", "nanoshell"], env=env, encoding="utf-8", timeout=300, dimensions=(24, 80)
    )
    try:
        child.expect_exact("nanoshell> ")
        child.send(":help\r")
        child.expect(r"PAGER HAS +\d+ LINES")
        child.sendintr()  # the pager's, not ours
        child.expect_exact("nanoshell> ")
        child.send("?quit\r")  # short enough for the screen
        child.expect_exact("Leave the shell.")
        child.expect_exact("nanoshell> ")
        child.send("exit\r")
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)
    assert child.exitstatus == 0
