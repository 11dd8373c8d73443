"""Plugins that are broken in every way, in a real terminal: after each the prompt takes the next line."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_terminal import Terminal

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")

PLUGINS = {
    "a_import": "import no_such_library",
    "b_register": """
from nanoshell import hookimpl

@hookimpl
def register_commands(register):
    register("no command")
""",
    "c_rude": """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGWINCH, signal.SIG_IGN)
sys.stdout = None
os.chdir("/")
print("printed while loading", file=sys.stderr)
from nanoshell import hookimpl

@hookimpl
def session_started(session):
    raise SystemExit(3)
""",
    "d_commands": """
import sys
import click
from nanoshell import hookimpl

class Untold(Exception):
    def __str__(self):
        raise ValueError("not even this")

class Half:
    def show(self, screen):
        screen.write("half of it")
        raise KeyError("the rest")
    def lines(self):
        yield 1
    def document(self):
        return None

class Odd:
    def __rich__(self):
        raise ValueError("cannot be shown")

def deep():
    return deep()

def own():
    raise type("Own", (BaseException,), {})("mine")

def untold():
    raise Untold

def generator():
    raise GeneratorExit

def interrupt():
    raise KeyboardInterrupt

def streams():
    sys.stdin = sys.stdout = sys.stderr = None

def gone():
    import os, tempfile
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)

WAYS = {
    "deep": deep, "own": own, "untold": untold, "generator": generator, "interrupt": interrupt,
    "streams": streams, "gone": gone, "exit": lambda: sys.exit(3), "half": Half, "odd": Odd,
}

@click.command()
@click.argument("way", type=click.Choice(list(WAYS)))
def fail(way):
    "Fail in one of many ways."
    return WAYS[way]()

def complete(error):
    def shell_complete(ctx, param, incomplete):
        raise error
    return shell_complete

@click.command()
@click.argument("word")
def fine(word):
    "Say that all is fine."
    return f"{word} is fine"

@hookimpl
def register_commands(register):
    register(fail)
    register(fine)
    errors = {"error": ValueError("no"), "exit": SystemExit(3), "ctrl-c": KeyboardInterrupt()}
    for name, error in errors.items():
        word = click.Argument(["word"], shell_complete=complete(error))
        register(click.Command(f"tab-{name}", params=[word], callback=print, help="Complete badly."))
""",
}


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """A terminal in which ``nanoshell`` has started with `PLUGINS`."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    for name, code in PLUGINS.items():
        (folder / f"{name}.py").write_text(code)
    program = shlex.join([sys.executable, "-m", "nanoshell", "--plugins-dir", "plugins"])
    env = {k: v for k, v in os.environ.items() if k not in ("TMUX", "COLUMNS", "LINES")}
    command = f"cd {shlex.quote(str(tmp_path))}; {program}; echo left with $?; cat"
    window = Terminal(tmp_path / "tmux", command, env)
    try:
        yield window
    finally:
        window.close()


def test_the_prompt_outlives_every_broken_plugin(terminal: Terminal) -> None:
    start = terminal.wait_for("no model · no data")
    told = " ".join(start.split())
    assert "No module named 'no_such_library' (a_import.py:1); to do without it: nanoshell plugin" in told
    assert "plugin 'b_register' (plugins/b_register.py) is left out: register_commands was handed" in told
    assert "changed the handler of SIGINT, the handler of SIGWINCH, sys.stdout, the current folder" in told
    assert "failed in 'session_started', which is off from now on: SystemExit: 3" in told

    for way, said in {
        "deep": "error: unexpected error in 'fail' of plugin 'd_commands': RecursionError",
        "own": "error: unexpected error in 'fail' of plugin 'd_commands': Own: mine",
        "untold": "error: unexpected error in 'fail' of plugin 'd_commands': Untold",
        "generator": "error: unexpected error in 'fail' of plugin 'd_commands': GeneratorExit",
        "half": "\nhalf of it\nerror: unexpected error in 'fail' of plugin 'd_commands': KeyError",
        "odd": "error: unexpected error in 'fail' of plugin 'd_commands': ValueError",
        "interrupt": "\ninterrupted\n",
        "streams": "",
        "exit": "",
        "gone": "",
    }.items():
        terminal.type("C-l", f":fail {way}", "Enter")
        terminal.wait_for(said or f"nanoshell> :fail {way}\n")
        terminal.type(f":fine after-{way}", "Enter")
        terminal.wait_for(f"\nafter-{way} is fine\n")

    for name in ("error", "exit", "ctrl-c"):
        terminal.type("C-l", f":tab-{name} ", "Tab", "x", "Enter")
        terminal.type(f":fine tab-{name}", "Enter")
        assert "Traceback" not in terminal.wait_for(f"\ntab-{name} is fine\n")

    terminal.type("C-c")  # the handler that one of them had taken away
    terminal.wait_for("Ctrl-D")
    terminal.type("C-d")
    terminal.wait_for("left with 0")
