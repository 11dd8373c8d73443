"""The keys of the prompt: several lines, pasting, the editor, vi, and completion that is slow or broken."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prompt_toolkit.application.current import get_app_session

from nanoshell.command.editor import find_editor
from nanoshell.command.invoke import Outcome
from nanoshell.errors import UsageError
from nanoshell.opening import open_session
from nanoshell.repl import loop
from nanoshell.repl.history import MOST_BYTES, PrivateHistory
from nanoshell.session import Session
from tests.faces.keyboard import CTRL_D, Keyboard

ALT_ENTER = "\x1b\r"
PASTE = "\x1b[200~{}\x1b[201~"


@dataclass
class Prompt:
    """Calling it types ``typed`` and then ``then``, and returns the lines that were handed over."""

    keyboard: Keyboard
    session: Session
    lines: list[str]

    def __call__(self, *typed: str, then: str = CTRL_D) -> list[str]:
        self.lines.clear()
        assert self.keyboard(self.session, *typed, then) == 0
        return list(self.lines)


@pytest.fixture
def heard(keyboard: Keyboard, session: Session, monkeypatch: pytest.MonkeyPatch) -> Prompt:
    lines: list[str] = []

    def record(_session: Session, text: str, *_screen: Any, **_options: Any) -> Outcome:
        lines.append(text)
        return Outcome()

    monkeypatch.setattr(loop, "run_line", record)
    return Prompt(keyboard, session, lines)


def test_alt_enter_begins_a_further_line(heard: Prompt, keyboard: Keyboard) -> None:
    assert heard("one" + ALT_ENTER + "two\r", "three\r") == ["one\ntwo", "three"]
    assert "... two" in keyboard.drawn()


def test_three_quotes_go_on_until_they_are_closed(heard: Prompt) -> None:
    assert heard('"""\r  one\r:two\r"""\r', 'x"""\r', '"""a"""\r') == [
        '"""\n  one\n:two\n"""',
        'x"""',
        '"""a"""',
    ]


def test_what_is_pasted_sends_nothing_and_is_one_message(heard: Prompt) -> None:
    pasted = PASTE.format("one\r\n:quit\r\tthree\n\n")
    assert heard(pasted, " more\r") == ["one\n:quit\n\tthree more"]
    assert heard("()\x1b[D", PASTE.format("a\n"), "\r") == ["(a\n)"]


def test_a_message_of_several_lines_comes_back_whole(heard: Prompt) -> None:
    assert heard("one" + ALT_ENTER + "+ two" + ALT_ENTER + "\r", "three\r") == ["one\n+ two\n", "three"]
    assert heard("\x1b[A\x1b[A\r") == ["one\n+ two\n"]


def test_the_newest_lines_of_a_long_history_are_read(tmp_path: Path) -> None:
    history = PrivateHistory(tmp_path / "history")
    for number in range(MOST_BYTES // 1000 + 100):
        history.store_string(f"{number}\n" + "x" * 950)
    found = list(PrivateHistory(tmp_path / "history").load_history_strings())
    assert found[0].startswith(f"{MOST_BYTES // 1000 + 99}\n")
    assert 900 < len(found) < MOST_BYTES // 1000 + 100
    assert all(len(entry.splitlines()) == 2 for entry in found)


def test_the_suggestion_and_the_search_come_from_earlier_lines(heard: Prompt, keyboard: Keyboard) -> None:
    heard("the sun is bright\r", "other\r")
    assert heard("\x12sun\r\r") == ["the sun is bright"]  # Ctrl-R
    keyboard.screen.truncate(0)
    keyboard.when("is bright", "\x1b[C\r" + CTRL_D)  # the grey rest of the line; → takes it
    assert heard("the s", then="") == ["the sun is bright"]


def write_editor(tmp_path: Path, script: str) -> str:
    editor = tmp_path / "editor.sh"
    editor.write_text(f"#!/bin/sh\n{script}\n")
    editor.chmod(0o700)
    return str(editor)


@pytest.mark.parametrize("keys", ["\x18\x05", "\x07"])  # Ctrl-X Ctrl-E, Ctrl-G
def test_the_editor_gets_the_line_and_gives_it_back(
    heard: Prompt, keyboard: Keyboard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: str
) -> None:
    script = f'ls -l "$2" > {tmp_path}/seen; cat "$2" >> {tmp_path}/seen; printf \'new\\ntext\\n\' > "$2"'
    monkeypatch.setenv("VISUAL", write_editor(tmp_path, script) + " --wait")
    keyboard.when("... text", "!\r" + CTRL_D)
    assert heard("old" + keys, then="") == ["new\ntext!"]
    seen = (tmp_path / "seen").read_text()
    assert seen.startswith("-rw-------")
    assert seen.endswith("old")


@pytest.mark.parametrize(
    ("editor", "said"),
    [("exit 3", "ended with code 3; the line stays as it was"), (None, "is not there: no-such-editor")],
)
def test_an_editor_that_fails_leaves_the_line_alone(
    heard: Prompt,
    keyboard: Keyboard,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    editor: str | None,
    said: str,
) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", write_editor(tmp_path, editor) if editor else "no-such-editor")
    keyboard.when("the line stays" if editor else "name another", "!\r" + CTRL_D)
    assert heard("old\x18\x05", then="") == ["old!"]
    assert said in keyboard.drawn().replace("\r\n", " ")


def test_ctrl_c_in_the_editor_is_the_editors(
    heard: Prompt, keyboard: Keyboard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"trap '' INT; kill -INT {os.getpid()}; printf 'saved\\nall the same\\n' > \"$1\""
    monkeypatch.setenv("VISUAL", write_editor(tmp_path, script))
    keyboard.when("... all the same", "!\r" + CTRL_D)
    assert heard("old\x07", then="") == ["saved\nall the same!"]


def test_where_no_editor_is_known_that_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("VISUAL", "EDITOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="no editor is installed"):
        find_editor()


def test_vi_keys_take_effect_at_the_next_line(keyboard: Keyboard, session: Session, capsys: Any) -> None:
    keyboard.when("[ins] nanoshell> ", "you\x1b")
    keyboard.when("nav", "0i:hello \r:set keys emacs\r:hello again\r" + CTRL_D)
    assert keyboard(session, ":set keys vi\r") == 0
    said = capsys.readouterr().out
    assert "hello you\n" in said
    assert said.endswith("hello again\n")
    assert session.settings.text("keys") == "emacs"


SLOW = """
import click, threading
from nanoshell import hookimpl

ASKED, ANSWER = threading.Event(), threading.Event()

def slow(ctx, param, incomplete):
    ASKED.set()
    ANSWER.wait()
    return ["slowly"]

def exits(ctx, param, incomplete):
    raise SystemExit(3)

def raises(ctx, param, incomplete):
    raise ValueError("a bug")

@click.command()
@click.option("--slow", shell_complete=slow)
@click.option("--exits", shell_complete=exits)
@click.option("--raises", shell_complete=raises)
def pick(slow, exits, raises):
    click.echo(f"picked {slow} {exits or raises}")

@hookimpl
def register_commands(register):
    register(pick)
"""


@pytest.fixture
def slow(plugins_dir: Path) -> Iterator[tuple[Session, threading.Event, threading.Event]]:
    (plugins_dir / "slow.py").write_text(SLOW)
    session = open_session(plugins_dir=plugins_dir)
    module = sys.modules["nanoshell_plugins_dir_slow"]
    yield session, module.ASKED, module.ANSWER
    module.ANSWER.set()


def test_a_completer_that_never_answers_holds_nothing_up(
    keyboard: Keyboard, slow: tuple[Session, threading.Event, threading.Event], capsys: Any
) -> None:
    session, asked, _ = slow
    keyboard.once(asked.is_set, "x\r:hell")  # the completions of another command come all the same
    keyboard.when("Greet someone.", "o\r" + CTRL_D)
    assert keyboard(session, ":pick --slow ") == 0
    assert capsys.readouterr().out == "picked x None\nhello world\n"


def test_the_menu_of_a_slow_completer_comes_later_and_tab_waits_for_it(
    keyboard: Keyboard, slow: tuple[Session, threading.Event, threading.Event], capsys: Any
) -> None:
    session, asked, answer = slow
    editing = get_app_session()

    def asked_and_answered() -> bool:
        if not asked.is_set() or answer.is_set():
            return answer.is_set()
        keyboard.pipe.send_text("\t")
        answer.set()
        return False

    def taken() -> bool:
        app = editing.app
        return asked_and_answered() and app is not None and app.current_buffer.text.endswith("slowly")

    keyboard.once(taken, "\r" + CTRL_D)
    keyboard(session, ":pick --slow ")
    assert capsys.readouterr().out == "picked slowly None\n"


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("option", ["--exits", "--raises"])
def test_a_completer_that_fails_ends_nothing(
    keyboard: Keyboard, slow: tuple[Session, threading.Event, threading.Event], capsys: Any, option: str
) -> None:
    assert keyboard(slow[0], f":pick {option} \t", "x\r", CTRL_D) == 0
    captured = capsys.readouterr()
    assert captured.out == "picked None x\n"
    assert "ValueError" not in captured.err + keyboard.drawn()


def test_a_terminal_that_cannot_draw_has_its_own_editing(
    heard: Prompt, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("sys.stdin", io.StringIO('hi\n"""one\ntwo"""\n'))
    assert loop.run_prompt(heard.session) == 0
    assert heard.lines == ["hi", '"""one\ntwo"""']
    captured = capsys.readouterr()
    assert captured.out == "nanoshell> nanoshell> ... nanoshell> \n"
    assert "\x1b" not in captured.out + captured.err
