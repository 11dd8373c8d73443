"""A stranger's plugin of plain click commands, and ways to run the program with it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nanoshell.cli import run
from nanoshell.opening import open_session
from nanoshell.session import Session
from tests.faces.keyboard import Keyboard, attached_keyboard

STRANGER = '''
import dataclasses, sys, time
import click
from nanoshell import hookimpl


@click.command()
@click.argument("who", default="world")
@click.option("--times", type=int, default=1, help="How often.")
def hello(who, times):
    """Greet someone."""
    for _ in range(times):
        click.echo(f"hello {who}")


@click.command()
def boom():
    """Fail in a way that nobody foresaw."""
    raise ValueError("bad [red]things")


@click.command()
def ask():
    """Ask before doing."""
    click.confirm("sure?", abort=True)
    click.echo("done")


@click.command()
@click.argument("code", type=int)
@click.pass_context
def leave_with(ctx, code):
    """End with a code."""
    click.echo("before")
    ctx.exit(code)


@click.command()
@click.argument("word")
def sysexit(word):
    """End as scripts do."""
    sys.exit(int(word) if word.isdigit() else word)


@click.command()
@click.argument("text", required=False)
@click.option("--upper", is_flag=True)
def say(text, upper):
    """Return the rest of the line."""
    return {"text": text.upper() if text and upper else text}


@dataclasses.dataclass
class Fruit:
    name: str
    weight: float


@click.group()
def fruit():
    """Fruit of all sorts."""


@fruit.command("list")
def list_():
    """List them."""
    return [Fruit("apple", 0.25), Fruit("[melon]", float("nan"))]


@fruit.command("echo")
def echo():
    """Write one."""
    click.echo("pear")


@click.command("own-json")
@click.option("--json", "as_json", is_flag=True)
def own_json(as_json):
    """Has a --json of its own."""
    click.echo('{"mine": true}' if as_json else "text")


@click.command()
def closes():
    """Close what is not its own."""
    with sys.stdout as out:
        click.echo("said", file=out)
    sys.stdin.close()
    sys.stderr.close()
    sys.stdout.buffer.close()


class Steps:
    def show(self, screen):
        for step in range(3):
            screen.write(f"step {step} ")
        screen.write("\\n")
        screen.note("a note")

    def lines(self):
        try:
            for step in range(3):
                yield {"step": step}
        finally:
            print("closed", file=sys.stderr)

    def document(self):
        return None


@click.command()
def steps():
    """Happen over time."""
    return Steps()


@click.command()
@click.argument("seconds", type=float)
def sleep(seconds):
    """Wait."""
    click.echo("sleeping", err=True)
    time.sleep(seconds)


@click.command()
def lines():
    """Write more than a pipe holds."""
    for number in range(100_000):
        click.echo(f"line {number}")


@hookimpl
def register_commands(register):
    register(hello, aliases=["hi"], examples=["hello you"])
    register(say, raw=True)
    register(sleep, faces=["cli"])
    register(sysexit, faces=["prompt", "cli"])
    for command in (boom, ask, leave_with, fruit, own_json, steps, lines, closes):
        register(command)
'''


@pytest.fixture
def plugins_dir(tmp_path: Path) -> Path:
    """A folder with one plugin file, `STRANGER`."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "stranger.py").write_text(STRANGER)
    return folder


@dataclass(frozen=True)
class Result:
    """How the program ended and what it wrote."""

    code: int
    out: str
    err: str


@pytest.fixture
def program(plugins_dir: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run the program in this process, with the stranger's plugin."""

    def call(*args: str) -> Result:
        capsys.readouterr()
        code = run(["--plugins-dir", str(plugins_dir), *args])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


def environment(**changes: str) -> dict[str, str]:
    """The environment of a child: this one, without a width or a terminal of this one's, and ``changes``."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "TERM")}
    return {**inherited, "TERM": "xterm", **changes}


@pytest.fixture
def process(plugins_dir: Path) -> Callable[..., Result]:
    """Run the program in a process of its own, with the stranger's plugin."""

    def call(*args: str, stdin: str | bytes = "", **env: str) -> Result:
        command = [sys.executable, "-m", "nanoshell", "--plugins-dir", str(plugins_dir), *args]
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(command, input=data, capture_output=True, env=environment(**env), timeout=300)
        return Result(done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8"))

    return call


@pytest.fixture
def session(plugins_dir: Path) -> Session:
    """A session with the stranger's plugin."""
    return open_session(plugins_dir=plugins_dir)


@pytest.fixture
def keyboard() -> Iterator[Keyboard]:
    """What types at the prompt of this test."""
    with attached_keyboard() as keyboard:
        yield keyboard
