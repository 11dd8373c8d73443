"""The dashboard in a real terminal: however it ends, the terminal is as it was, and the shell goes on."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nanoshell.testing import FakeRun
from tests.e2e.test_terminal import PATIENCE_SECONDS, Terminal, last_line

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")

PLUGIN = """
from nanoshell import hookimpl

def explosive():
    from nanoshell import Panel
    from nanoshell.dashboard.actions import Action

    class Explosive(Panel):
        panel_id = title = "explosive"
        actions = (Action("explode", "Explode", ("z",)),)

        def render(self):
            return "it can explode"

        def action_explode(self):
            self.app.call_later(self.app.query_one, "Desk")  # no code of this panel is on the way

    return Explosive()

@hookimpl
def register_panels(register):
    register("explosive", explosive)
"""


class Window(Terminal):
    """A terminal with a shell, in which the program is started as a user does."""

    def told(self, form: str) -> str:
        """Return what tmux says of the window."""
        done = subprocess.run(
            [*self._tmux, "display-message", "-p", form], check=True, capture_output=True, timeout=300
        )
        return done.stdout.decode().strip()

    def history(self) -> str:
        """Return the whole scrollback with the screen."""
        done = subprocess.run(
            [*self._tmux, "capture-pane", "-p", "-S", "-"], check=True, capture_output=True, timeout=300
        )
        return done.stdout.decode()

    def program(self) -> int:
        """Return the process id of what the shell of this window has started."""
        shell = self.told("#{pane_pid}")
        done = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", shell], capture_output=True, text=True, timeout=300
        )
        return int(done.stdout.split()[0])

    def resize(self, columns: int, lines: int) -> None:
        size = ["-x", str(columns), "-y", str(lines)]
        subprocess.run([*self._tmux, "resize-window", *size], check=True, timeout=300)

    def wait_until(self, holds: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            if time.monotonic() > end:
                pytest.fail(f"it never came to hold; the screen is\n{self.screen()}")
            time.sleep(0.05)

    def is_open(self) -> bool:
        return self.told("#{alternate_on} #{mouse_any_flag}") == "1 1" and "? Keys" in self.screen()

    def is_clean(self) -> bool:
        return self.told("#{alternate_on} #{mouse_any_flag} #{cursor_flag}") == "0 0 1"

    def open_dashboard(self) -> None:
        self.type(":dashboard", "Enter")
        self.wait_until(self.is_open)

    def prompt(self) -> None:
        """Wait for a prompt at which what is typed appears, once."""
        self.wait_until(lambda: self.is_clean() and last_line(self.screen()).startswith(" no model"))
        self.type("typed")
        self.wait_for("nanoshell> typed")
        self.type("C-u")
        self.wait_until(lambda: "> typed" not in self.screen())

    def shell(self, word: str) -> None:
        """See that the shell echoes what is typed, and runs it."""
        self.wait_until(self.is_clean)
        self.type(f"echo {word}$((1+1))", "Enter")
        screen = self.wait_for(f"\n{word}2\n")
        assert f"$ echo {word}$((1+1))" in screen


@pytest.fixture
def window(tmp_path: Path, nanoshell_home: Path) -> Iterator[Window]:
    """A shell in a folder with a run, and with something in its scrollback."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "explosives.py").write_text(PLUGIN)
    env = {k: v for k, v in os.environ.items() if k not in ("TMUX", "COLUMNS", "LINES")}
    env |= {"NANOSHELL_HOME": str(nanoshell_home), "PS1": "$ "}
    program = shlex.join([sys.executable, "-m", "nanoshell", "--plugins-dir", "plugins"])
    (tmp_path / "rc").write_text(f"PS1='$ '\nn() {{ {program} \"$@\"; }}\ncd {shlex.quote(str(tmp_path))}\n")
    opened = Window(tmp_path / "tmux", f"bash --noprofile --rcfile {tmp_path / 'rc'} -i", env)
    with FakeRun(tmp_path / "runs") as run:
        run.step(30)
        try:
            opened.type("seq -s, 1 5", "Enter")
            opened.wait_for("\n1,2,3,4,5\n")
            yield opened
        finally:
            opened.close()


def at_prompt(window: Window) -> None:
    window.type("n", "Enter")
    window.wait_until(lambda: last_line(window.screen()).startswith(" no model"))


def test_it_opens_and_ends_any_number_of_times_without_a_trace(window: Window) -> None:
    at_prompt(window)
    before = window.history()
    for _time in range(3):
        window.open_dashboard()
        window.wait_for("fake-1")
        window.type("q")
        window.prompt()
    after = window.history()
    assert "1,2,3,4,5" in after
    assert after.count(":dashboard") == 3
    assert "fake-1" not in after
    assert len(after.split("\n")) <= len(before.split("\n")) + 3
    window.type("C-d")
    window.shell("left")


def test_an_exception_is_told_by_name_at_a_prompt_that_lives(window: Window) -> None:
    at_prompt(window)
    window.open_dashboard()
    window.type("9")
    window.wait_for("it can explode")
    window.type("z")
    screen = window.wait_for("NoMatches: No nodes")
    assert "Traceback" not in screen
    window.prompt()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_it_leaves_a_clean_terminal_and_its_code(
    window: Window, number: signal.Signals
) -> None:
    at_prompt(window)
    window.open_dashboard()
    os.kill(window.program(), number)
    window.wait_until(window.is_clean)
    window.type("echo code $?", "Enter")
    window.wait_for(f"\ncode {128 + number}\n")
    window.shell("alive")
    assert "1,2,3,4,5" in window.history()


def test_an_interrupt_from_outside_comes_back_to_the_prompt(window: Window) -> None:
    at_prompt(window)
    window.open_dashboard()
    os.kill(window.program(), signal.SIGINT)
    window.wait_for("\ninterrupted\n")
    window.prompt()


def test_suspending_inside_and_afterwards(window: Window) -> None:
    at_prompt(window)
    for _time in range(2):
        window.open_dashboard()
        window.type("C-z")
        window.wait_for("Stopped")
        window.shell("meanwhile")
        window.type("clear; fg", "Enter")
        window.wait_until(window.is_open)
        window.wait_until(lambda: "1 Charts" in (screen := window.screen()) and "? Keys" in screen)
        window.type("q")
        window.prompt()
        window.type("C-z")
        window.wait_for("Stopped")
        window.shell("after")
        window.type("clear; fg", "Enter")
        window.prompt()


def test_it_follows_the_size_of_the_terminal_inside_and_afterwards(window: Window) -> None:
    at_prompt(window)
    window.open_dashboard()
    window.resize(120, 40)
    window.wait_until(lambda: "? Keys" in window.screen().split("\n")[39])
    window.resize(40, 10)
    window.wait_until(lambda: "? Keys" in window.screen().split("\n")[9])
    window.resize(80, 24)
    window.type("q")
    window.prompt()
    window.resize(60, 20)
    window.prompt()


def test_it_opens_from_the_shell_reads_only_and_needs_a_terminal(window: Window) -> None:
    window.type("n dash --read-only fake-1; echo ended with $?", "Enter")
    window.wait_until(window.is_open)
    screen = window.wait_for("fake-1")
    assert "Pause" not in screen
    assert "Chat" not in screen
    window.type("q")
    window.wait_for("\nended with 0\n")
    window.shell("well")
    window.type("clear; n dashboard | cat", "Enter")
    window.wait_for("the dashboard needs a terminal, and standard output is not one")
    window.type("clear; n dashboard moon; echo ended with $?", "Enter")
    window.wait_for("\nended with 2\n")
    assert window.is_clean()


def test_without_the_mouse_every_view_is_reached_and_it_is_never_taken(window: Window) -> None:
    window.type("n dashboard --no-mouse .; echo ended with $?", "Enter")
    window.wait_for("? Keys")
    for key, words in (("3", " state "), ("?", "─ Keys"), ("1", "Loss")):
        window.type(key)
        window.wait_for(words)
        if key == "?":
            window.type("Escape")  # with the next key at once it would be Alt
            window.wait_until(lambda: "─ Keys" not in window.screen())
        assert window.told("#{alternate_on} #{mouse_any_flag}") == "1 0"
    window.type("q")
    window.wait_for("\nended with 0\n")
    window.shell("well")


def test_an_interrupt_at_an_awkward_moment_leaves_a_prompt_that_lives(window: Window) -> None:
    at_prompt(window)

    def is_back() -> bool:
        if window.is_open():  # the interrupt came too early for it, and is harmless at a prompt
            window.type("C-c")
        lines = [line.rstrip() for line in window.screen().splitlines() if line.strip()]
        return window.is_clean() and lines[-2:-1] == ["nanoshell>"] and lines[-1].startswith(" no model")

    def is_taken() -> bool:
        return window.told("#{alternate_on}") == "1"

    def is_left() -> bool:
        return not last_line(window.screen()).startswith(" no model")

    for moment in (is_left, is_taken, window.is_open):  # it is imported, it opens, its panels read
        window.type(":dashboard", "Enter")
        window.wait_until(moment)
        window.type("C-c")
        window.wait_until(is_back)
        window.prompt()
    window.open_dashboard()
    window.type("C-c", "C-c")  # the second while it closes
    window.prompt()
    history = window.history()
    assert "Traceback" not in history
    assert "Warning" not in history
    window.type("C-d")
    window.shell("left")


def test_a_browser_is_served_from_the_prompt_until_it_is_interrupted(window: Window) -> None:
    pytest.importorskip("textual_serve")
    at_prompt(window)
    said = ""
    while "and only reads" not in said:  # a port that was free may be taken a moment later
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        window.type(f":dashboard --web --port {port}", "Enter")
        ends = (f"http://127.0.0.1:{port} and only reads", f"cannot listen at 127.0.0.1:{port}")
        said = window.wait_for(lambda screen, ends=ends: any(end in screen for end in ends))  # type: ignore[misc]
    window.type("C-c")
    window.prompt()
    assert "Traceback" not in window.history()
