"""What a real terminal shows while models write, runs train and plugins talk: tmux looks at it."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nanoshell.chat.history import ConversationStore
from tests.e2e.test_terminal import Terminal, last_line

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")

PLUGIN = """
import ctypes, logging, sys, threading, warnings
from pathlib import Path
import click
from nanoshell import hookimpl

log = logging.getLogger("noise")
log.addHandler(logging.StreamHandler(sys.stderr))

@click.command()
@click.pass_obj
def noise(session):
    "Talk from a thread, when a line is being typed."
    def talk():
        while not Path("typing").exists():
            pass
        log.warning("logged")
        warnings.warn("warned")
        sys.stderr.write("\\x1b[2J\\x1b[3;3Hmoved away\\n")
        session.narrator.note("narrated")
        with session.narrator.progress("counting", 2, "things") as advance:
            advance(2)
        print("half", end="", flush=True)
        print("\\rwhole line")
    threading.Thread(target=talk, daemon=True).start()

@click.command()
def slow():
    "Take a while."
    Path("begun").touch()
    while not Path("typing").exists():
        pass
    return "done"

class Stuck:
    def __init__(self, value):
        self.steps = 0
    def __call__(self, logits, history):
        self.steps += 1
        if self.steps == 4:
            Path("stuck").touch()
            ctypes.CDLL(None).sleep(600)
        certain = logits.new_full(logits.shape, -float("inf"))
        certain[..., ord("a")] = 0.0  # no token ends the reply before
        return certain

@hookimpl
def register_commands(register):
    register(noise)
    register(slow)

@hookimpl
def register_samplers(register):
    register("stuck", Stuck, order=1, default=0, neutral=0, minimum=0, maximum=1)
"""


@pytest.fixture
def open_terminal(tmp_path: Path, nanoshell_home: Path) -> Iterator[Callable[..., Terminal]]:
    """Return a function that opens the prompt, with `PLUGIN` and some options, in a terminal of its own."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "noises.py").write_text(PLUGIN)
    opened: list[Terminal] = []

    def open_it(*options: str) -> Terminal:
        words = [sys.executable, "-m", "nanoshell", "--plugins-dir", str(tmp_path / "plugins"), *options]
        env = {k: v for k, v in os.environ.items() if k not in ("TMUX", "COLUMNS", "LINES")}
        env["NANOSHELL_HOME"] = str(nanoshell_home)
        command = f"cd {shlex.quote(str(tmp_path))}; {shlex.join(words)}; echo left with $?; cat"
        opened.append(Terminal(tmp_path / "tmux", command, env))
        return opened[-1]

    yield open_it
    for terminal in opened:
        terminal.close()


def test_what_threads_say_appears_above_the_line_that_is_typed(
    open_terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    terminal = open_terminal()
    terminal.wait_for("no model · no data")
    terminal.type(":noise", "Enter")
    terminal.wait_for(
        lambda screen: screen.count("no model · no data") == 1 and ":noise\nnanoshell>" in screen
    )
    terminal.type("an unfinished")
    terminal.wait_for("nanoshell> an unfinished")
    (tmp_path / "typing").touch()
    screen = terminal.wait_for("whole line")
    terminal.type(" thought")
    screen = terminal.wait_for("nanoshell> an unfinished thought")
    lines = [line.rstrip() for line in screen.splitlines() if line.strip()]
    prompt = lines.index("nanoshell> an unfinished thought")
    above = lines[:prompt]
    start = above.index("logged")
    assert "UserWarning: warned" in " ".join(above[start:])
    assert above[above.index("moved away") :] == [
        "moved away",
        "narrated",
        "counting …",
        "whole line",
    ]
    assert sum("nanoshell> an unfinished" in line for line in lines) == 1
    assert lines[prompt + 1 :] == [last_line(screen)]


def test_what_is_typed_ahead_stands_behind_the_next_prompt(
    open_terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    terminal = open_terminal()
    terminal.wait_for("no model · no data")
    terminal.type(":slow", "Enter")
    terminal.wait_for(lambda _screen: (tmp_path / "begun").exists())
    terminal.type("an unfinished")
    terminal.wait_for("an unfinished")
    (tmp_path / "typing").touch()
    terminal.wait_for("nanoshell> an unfinished")
    terminal.type(" thought")
    screen = terminal.wait_for("nanoshell> an unfinished thought")
    assert "done" in screen


def test_a_second_ctrl_c_gives_the_prompt_back_although_the_step_hangs(
    open_terminal: Callable[..., Terminal], tmp_path: Path, nanoshell_home: Path, nanoshell_model: Path
) -> None:
    terminal = open_terminal("--model", str(nanoshell_model))
    terminal.wait_for("nanoshell>")
    terminal.type(":set stuck 1", "Enter")
    terminal.type("Hello there", "Enter")
    terminal.wait_for(lambda _screen: (tmp_path / "stuck").exists())
    terminal.type("C-c")
    terminal.wait_for("Ctrl-C again")
    terminal.type("C-c")
    screen = terminal.wait_for("its step did not end")
    assert "3 tokens" in screen
    assert "· interrupted" in screen
    terminal.type(":set stuck 0", "Enter")
    terminal.type("And now?", "Enter")
    terminal.wait_for(lambda screen: screen.count(" tokens/s") == 2)
    terminal.type(":quit", "Enter")
    terminal.wait_for("left with 0")
    with_replies = ConversationStore(nanoshell_home / "data" / "conversations.db").last()
    assert with_replies is not None
    assert [(message.role, message.interrupted) for message in with_replies.messages] == [
        ("user", False),
        ("assistant", True),
        ("user", False),
        ("assistant", False),
    ]
