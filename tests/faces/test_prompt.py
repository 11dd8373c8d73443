"""The interactive prompt, typed at through a pipe and drawn on a screen of text."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from nanoshell import paths
from nanoshell.command.render import TerminalScreen
from nanoshell.command.script import run_line
from nanoshell.opening import open_session
from nanoshell.runs.directory import RunDirectory, create_run
from nanoshell.runs.events import EventLog
from nanoshell.runs.process import hold_lock, write_process
from nanoshell.session import Session
from tests.faces.keyboard import CTRL_C, CTRL_D, Keyboard


def test_commands_run_and_ctrl_d_leaves(keyboard: Keyboard, session: Session, capsys: Any) -> None:
    assert keyboard(session, ":hello you\r", ":helo\r", ":boom\r", ":hello again\r", CTRL_D) == 0
    captured = capsys.readouterr()
    assert captured.out == "hello you\nhello again\n"
    assert "did you mean 'hello'?" in captured.err
    assert "see all of them with: :help" in captured.err


def test_a_bare_start_says_what_it_can_do_in_five_lines(
    keyboard: Keyboard, session: Session, capsys: Any
) -> None:
    keyboard(session, CTRL_D)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert any(":demo" in line for line in lines)
    assert max(map(len, lines)) < 80


def test_text_without_a_model_is_offered_the_demo(keyboard: Keyboard, session: Session, capsys: Any) -> None:
    keyboard(session, "Hello there\r", CTRL_D)
    captured = capsys.readouterr()
    assert "no model to answer yet: :demo" in captured.err
    assert "error" not in captured.err
    assert not session.conversation.messages


def test_ctrl_c_clears_a_line_and_on_an_empty_one_says_how_to_leave(
    keyboard: Keyboard, session: Session, capsys: Any
) -> None:
    keyboard(session, ":hello never", CTRL_C, ":hello b\r", CTRL_C, CTRL_D)
    captured = capsys.readouterr()
    assert captured.out == "hello b\n"
    assert captured.err.count("Ctrl-D or :quit leaves, :help lists the commands") == 1


def test_an_open_quote_keeps_the_prompt_alive(keyboard: Keyboard, session: Session, capsys: Any) -> None:
    keyboard(session, ":hello 'a\r", ":hello b\r", CTRL_D)
    captured = capsys.readouterr()
    assert "a quote is not closed" in captured.err
    assert captured.out == "hello b\n"


def test_tab_completes_a_command(keyboard: Keyboard, session: Session, capsys: Any) -> None:
    keyboard.when("Greet someone.", "\t x\r" + CTRL_D)
    keyboard(session, ":hell")
    assert capsys.readouterr().out == "hello x\n"


def test_lines_are_kept_for_the_next_session_for_the_owner_alone(
    keyboard: Keyboard, session: Session, capsys: Any
) -> None:
    keyboard(session, ":hello kept\r", CTRL_D)
    file = paths.data_dir() / "prompt_history"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    file.chmod(0o644)  # as a copy may be
    keyboard(session, "\x1b[A", "\r", CTRL_D)
    assert capsys.readouterr().out == "hello kept\n" * 2
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_without_history_nothing_is_kept(keyboard: Keyboard, plugins_dir: Path) -> None:
    keyboard(open_session(plugins_dir=plugins_dir, history=False), ":hello\r", "text\r", CTRL_D)
    assert not paths.data_dir().exists()


def test_a_history_that_cannot_be_written_ends_nothing(
    keyboard: Keyboard, session: Session, capsys: Any
) -> None:
    (paths.private_folder(paths.data_dir()) / "prompt_history").mkdir()
    keyboard(session, ":hello a\r", ":hello b\r", CTRL_D)
    assert capsys.readouterr().out == "hello a\nhello b\n"


@dataclass
class FakeGeneration:
    """Says ``words``; ``meanwhile`` is called before the last of them."""

    words: list[str]
    meanwhile: Callable[[], None] = lambda: None
    finish_reason: str = ""
    ids: list[int] = field(default_factory=list)
    tokens_per_second: float = 42.0
    text: str = ""

    def interrupt(self) -> None:
        self.finish_reason = "interrupted"

    def __iter__(self) -> Iterator[Any]:
        for number, word in enumerate(self.words):
            if number == len(self.words) - 1:
                self.meanwhile()
            if self.finish_reason:
                return
            self.text += word
            self.ids.append(number)
            yield SimpleNamespace(text=word, id=number)
        self.finish_reason = "stop"


class FakeReply:
    """A reply as the session gives it, without a model."""

    def __init__(self, generation: FakeGeneration, dropped: int = 0) -> None:
        self.generation = generation
        self.tokens = iter(generation)
        self.special_ids = frozenset[int]()
        self.trouble = ""
        self.dropped = dropped

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tokens)

    def close(self) -> None: ...


def answer_with(session: Session, reply: FakeReply) -> None:
    session.model_name = "pretend"
    cast(Any, session).reply = lambda text: reply


def test_a_reply_streams_and_ends_with_its_figures(keyboard: Keyboard, session: Session, capsys: Any) -> None:
    answer_with(session, FakeReply(FakeGeneration(["Par", "is", "."]), dropped=2))
    keyboard(session, "capital?\r", CTRL_D)
    captured = capsys.readouterr()
    assert captured.out == "Paris.\n"
    assert "3 tokens · 42 tokens/s" in captured.err
    assert "the model no longer sees the oldest 2 turns" in captured.err


def test_ctrl_c_during_a_reply_keeps_what_came(keyboard: Keyboard, session: Session, capsys: Any) -> None:
    def interrupt() -> None:
        os.kill(os.getpid(), 2)
        while not generation.finish_reason:  # the main thread answers the keyboard
            time.sleep(0.001)

    generation = FakeGeneration(["Par", "is"], meanwhile=interrupt)
    answer_with(session, FakeReply(generation))
    keyboard(session, "capital?\r", ":hello after\r", CTRL_D)
    captured = capsys.readouterr()
    assert captured.out == "Par\nhello after\n"
    assert "1 token · 42 tokens/s · interrupted" in captured.err
    assert generation.text == "Par"


@dataclass(frozen=True)
class Training:
    """A run whose worker, as far as its directory tells, is this process."""

    run: RunDirectory
    log: EventLog


@pytest.fixture
def training(tmp_path: Path) -> Iterator[Training]:
    run = create_run(tmp_path / "runs", "tiny", {})
    with hold_lock(run):
        write_process(run)
        log = EventLog(run.events_path)
        log.write("state", format=1, state="running", total_steps=600)
        log.write("step", step=120, loss=2.345, **{"tokens/s": 5100.0, "it/s": 8.0})
        yield Training(run, log)


def test_the_toolbar_follows_a_run_and_its_end_is_said_above_the_prompt(
    keyboard: Keyboard, session: Session, training: Training
) -> None:
    session.follow(training.run)
    session.model_name = str(training.run.path)
    session.data = "nano-start"

    def finish() -> None:
        while "120/600" not in keyboard.screen.getvalue():
            time.sleep(0.01)
        training.log.write("step", step=600, loss=0.5)
        training.log.write("state", state="finished")

    threading.Thread(target=finish, daemon=True).start()
    keyboard.when("finished: step 600", CTRL_D)
    assert keyboard(session) == 0
    drawn = keyboard.screen.getvalue()
    assert "tiny-1 120/600 loss 2.345 5.1k tokens/s 1m00s left · data nano-start ·" in drawn
    assert "run tiny-1 finished: step 600, loss 0.500" in drawn
    assert not session.runs_in_progress()


def test_leaving_says_that_a_run_goes_on(
    keyboard: Keyboard, session: Session, training: Training, capsys: Any
) -> None:
    session.follow(training.run)
    keyboard(session, CTRL_D)
    assert "run tiny-1 goes on training: nanoshell runs show tiny-1" in capsys.readouterr().err


def test_the_next_start_takes_up_model_data_and_conversation(
    keyboard: Keyboard, session: Session, plugins_dir: Path, training: Training, capsys: Any
) -> None:
    session.model_name, session.data = str(training.run.path), "nano-start"
    session.remember()
    session.conversation.add("user", "Hello")
    session.conversation.add("assistant", "Good day.")
    session.store.save(session.conversation)

    again = open_session(plugins_dir=plugins_dir)
    keyboard(again, CTRL_D)
    said = capsys.readouterr().err.splitlines()
    assert said[1].startswith("last used: model tiny-1, data nano-start, conversation ")
    assert [message.content for message in again.conversation.messages] == ["Hello", "Good day."]
    assert [run.name for run, _ in again.runs_in_progress()] == ["tiny-1"]


def test_a_model_that_is_gone_is_said_once_and_forgotten(
    keyboard: Keyboard, session: Session, plugins_dir: Path, capsys: Any
) -> None:
    session.model_name, session.data = "/nowhere/tiny-1", "/nowhere/text.txt"
    session.remember()
    for expected in (
        ["the last model is gone: /nowhere/tiny-1", "the last data is gone: /nowhere/text.txt"],
        [],
    ):
        keyboard(open_session(plugins_dir=plugins_dir), CTRL_D)
        lines = capsys.readouterr().err.splitlines()
        assert lines[5:] == expected


def test_what_is_chosen_by_a_relative_path_is_found_from_another_folder(
    keyboard: Keyboard, plugins_dir: Path, training: Training, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("text")
    session = open_session(plugins_dir=plugins_dir)
    session.model_name, session.data = "runs/tiny-1", "text.txt"
    session.remember()
    monkeypatch.chdir("/")
    again = open_session(plugins_dir=plugins_dir)
    keyboard(again, CTRL_D)
    assert (again.model_name, again.data) == (str(training.run.path), str(tmp_path / "text.txt"))


def test_special_tokens_are_set_apart_where_there_are_colours(
    session: Session, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a reply and in a sample; the texts around them have no style."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    reply = FakeReply(FakeGeneration(["Par", "<|endoftext|>", "is"]))
    reply.special_ids = frozenset({1})
    answer_with(session, reply)
    run_line(session, "capital?", TerminalScreen(prompt=True))
    assert "Par\x1b[2;35m<|endoftext|>\x1b[0mis" in capsys.readouterr().out.replace(
        "\x1b[0m\x1b[0m", "\x1b[0m"
    )
