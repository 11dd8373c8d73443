"""The prompt in a real terminal of 80 × 24: tmux types the keys and says what is on the screen."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")

PATIENCE_SECONDS = 90.0

PLUGIN = """
import time
import click
from nanoshell import hookimpl, stay_at_prompt

@click.command()
@click.option("--greeting", type=click.Choice(["hello", "howdy"]), default="hello", help="The word.")
@click.argument("who")
def greet(greeting, who):
    "Say hello to someone."
    click.echo(f"<{greeting} {who}>")

@click.command()
def wait():
    "Take a long time."
    click.echo("waiting")
    time.sleep(600)

@click.command()
@click.pass_obj
def stay(session):
    "Choose something and stay."
    stay_at_prompt()
    session.data = "nano-start"
    return "now stay"

@hookimpl
def register_commands(register):
    register(greet)
    register(wait)
    register(stay)
"""


class Terminal:
    """A tmux server of its own with one window, in which a command runs."""

    def __init__(self, socket: Path, command: str, env: dict[str, str]) -> None:
        self._tmux = ["tmux", "-S", str(socket), "-f", os.devnull]
        size = ["-x", "80", "-y", "24"]
        subprocess.run([*self._tmux, "new-session", "-d", *size, command], check=True, env=env, timeout=300)

    def type(self, *keys: str) -> None:
        """Type ``keys``: text as it is, or names of tmux such as ``Tab`` and ``C-c``."""
        subprocess.run([*self._tmux, "send-keys", *keys], check=True, timeout=300)

    def screen(self) -> str:
        """Return the 24 lines that are shown."""
        shown = subprocess.run(
            [*self._tmux, "capture-pane", "-p"], check=True, capture_output=True, timeout=300
        )
        return shown.stdout.decode()

    def wait_for(self, expected: str | Callable[[str], bool]) -> str:
        """Return the screen once it shows ``expected``."""
        shows = (lambda screen: expected in screen) if isinstance(expected, str) else expected
        end = time.monotonic() + PATIENCE_SECONDS
        while not shows(screen := self.screen()):
            if time.monotonic() > end:
                pytest.fail(f"never shown: {expected!r}; the screen is\n{screen}")
            time.sleep(0.05)
        return screen

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=False, capture_output=True, timeout=300)


@pytest.fixture
def terminal(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Terminal]:
    """A terminal that has just started ``nanoshell`` with `PLUGIN` and, perhaps, a command."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "greetings.py").write_text(PLUGIN)
    words = ["-m", "nanoshell", "--plugins-dir", str(tmp_path / "plugins"), *getattr(request, "param", ())]
    program = shlex.join([sys.executable, *words])
    env = {k: v for k, v in os.environ.items() if k not in ("TMUX", "COLUMNS", "LINES")}
    window = Terminal(
        tmp_path / "tmux", f"cd {shlex.quote(str(tmp_path))}; {program}; echo left with $?; cat", env
    )
    try:
        yield window
    finally:
        window.close()


def last_line(screen: str) -> str:
    return next((line for line in reversed(screen.splitlines()) if line.strip()), "")


def test_a_session_at_the_terminal(terminal: Terminal) -> None:
    start = terminal.wait_for("no model · no data")
    assert sum(":" in line for line in start.splitlines()[:5]) == 5
    assert last_line(start).startswith(" no model")

    terminal.type(":gree")
    terminal.wait_for("Say hello to someone.")
    terminal.type("Tab", " --gr")
    terminal.wait_for("The word.")
    terminal.type("Tab", " ho")
    terminal.wait_for("howdy")
    terminal.type("Tab", " 'two words'", "Enter")
    terminal.wait_for("\n<howdy two words>\n")

    terminal.type(":gret you", "Enter")
    terminal.wait_for("error: unknown command 'gret'; did you mean 'greet'?")

    terminal.type("Are you there?", "Enter")
    terminal.wait_for("there is no model to answer yet: :demo")

    terminal.type(":wait", "Enter")
    terminal.wait_for("\nwaiting\n")
    terminal.type("C-c")
    terminal.wait_for("\ninterrupted\n")

    terminal.wait_for(lambda screen: "no model · no data" in last_line(screen))
    terminal.type("C-c")
    terminal.wait_for("Ctrl-D or :quit leaves")
    terminal.wait_for(lambda screen: "no model · no data" in last_line(screen))
    terminal.type("C-d")
    terminal.wait_for("left with 0")


def test_a_narrow_terminal_still_has_a_prompt_and_a_toolbar(terminal: Terminal) -> None:
    terminal.wait_for("no model · no data")
    subprocess.run([*terminal._tmux, "resize-window", "-x", "20", "-y", "8"], check=True, timeout=300)
    terminal.type(":greet you", "Enter")
    terminal.wait_for("<hello you>")
    terminal.wait_for(lambda screen: last_line(screen).startswith(" no model"))


@pytest.mark.parametrize("terminal", [["stay"]], indirect=True)
def test_a_command_may_lead_to_the_prompt_with_what_it_chose(terminal: Terminal) -> None:
    screen = terminal.wait_for(lambda screen: "no model · data nano-start" in last_line(screen))
    assert screen.startswith("now stay\n")
    terminal.type(":quit", "Enter")
    terminal.wait_for("left with 0")


@pytest.mark.parametrize("terminal", [["stay", "--json"]], indirect=True)
def test_with_json_it_does_not(terminal: Terminal) -> None:
    terminal.wait_for("left with 0")


TINY = """
model: {name: tiny, hidden_size: 16, num_layers: 1, num_heads: 2, intermediate_size: 32, max_seq_len: 32}
trainer: {batch_size: 2, num_epochs: 100000, softmax: sampled, sampled_negatives: 64, learning_rate: 0.01}
"""


def test_a_run_of_one_terminal_is_seen_and_steered_from_another(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)

    def elsewhere(*words: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "nanoshell", *words, "--json"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    terminal.wait_for("no model · no data")
    terminal.type(":train --config tiny.yaml --data nano-start:chat", "Enter")
    terminal.wait_for("tiny-1 trains in the background")
    assert elsewhere("run", "set", "learning_rate=1e-4", "eval_interval=0")["before"]["learning_rate"] == 0.01
    terminal.wait_for("set learning_rate 0.0001 (was 0.01)")
    step = elsewhere("run", "pause")["step"]
    terminal.wait_for(lambda screen: f" tiny-1 paused {step}/" in last_line(screen))
    assert elsewhere("run", "sample", "Hello", "--tokens", "3")["samples"][0]["prompt"] == "Hello"

    terminal.type(":run resume", "Enter")
    terminal.wait_for(f"\ntiny-1, step {step:,}: resumed\n")
    stopped = elsewhere("run", "stop")
    terminal.wait_for(f"run tiny-1 stopped: step {stopped['step']:,}")
