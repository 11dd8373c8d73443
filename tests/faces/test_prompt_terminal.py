"""The prompt in real terminals that can do little: without cursor, without colours, and put to sleep."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pexpect

from tests.faces.conftest import environment
from tests.faces.keyboard import CTRL_C, CTRL_D, WHERE_THE_CURSOR_IS

CTRL_Z = "\x1a"
BACKSPACE = "\x7f"


def spawn(plugins_dir: Path, command: str, **env: str) -> pexpect.spawn[str]:
    """Start ``command``, in which ``{nanoshell}`` stands for the program, in a terminal of 80 × 24."""
    program = shlex.join([sys.executable, "-m", "nanoshell", "--plugins-dir", str(plugins_dir)])
    words = shlex.split(command.format(nanoshell=program))
    return pexpect.spawn(
        words[0], words[1:], env=environment(**env), dimensions=(24, 80), encoding="utf-8", timeout=300
    )


def written(child: pexpect.spawn[str]) -> str:
    """Return the last of what ``child`` wrote, whose end is awaited."""
    child.expect(pexpect.EOF)
    child.close()
    return str(child.before)


def test_a_terminal_without_a_cursor_gets_plain_lines(plugins_dir: Path) -> None:
    child = spawn(plugins_dir, "{nanoshell}", TERM="dumb")
    child.expect("nanoshell> ")
    assert "\x1b" not in str(child.before)
    child.send(f":hello yox{BACKSPACE}u\r")
    child.expect("\nhello you\r\nnanoshell> ")
    child.send("never")
    child.send(CTRL_C)
    child.expect("Ctrl-D or :quit leaves.*nanoshell> ")
    assert "\x1b" not in str(child.before)
    child.send(CTRL_D)
    assert written(child) == "\r\n"
    assert child.exitstatus == 0


def test_no_color_leaves_marks_that_are_no_colours(plugins_dir: Path) -> None:
    child = spawn(plugins_dir, "{nanoshell}", NO_COLOR="1")
    child.expect("nanoshell> ")
    seen = str(child.before)
    child.send(f"{WHERE_THE_CURSOR_IS}:helo you\r{WHERE_THE_CURSOR_IS}")
    child.expect("did you mean")
    seen += str(child.before)
    child.send(f":quit\r{WHERE_THE_CURSOR_IS}")
    seen += written(child)
    styles = {code for found in re.findall(r"\x1b\[([0-9;]*)m", seen) for code in found.split(";")}
    assert "4" in styles  # underlined: an unknown command
    assert not {code for code in styles if re.fullmatch(r"[349]\d|10\d", code)}


def test_the_prompt_can_be_put_to_sleep_and_woken(plugins_dir: Path) -> None:
    child = spawn(plugins_dir, "bash --norc -i", PS1="shell$ ")
    program = shlex.join([sys.executable, "-m", "nanoshell", "--plugins-dir", str(plugins_dir)])
    child.expect_exact("shell$ ")
    child.sendline(program)
    child.expect("nanoshell> ")
    child.send(f"{WHERE_THE_CURSOR_IS}:hello a")
    child.send(CTRL_Z)
    child.expect("Stopped")
    child.sendline("echo $((6*7)); fg")
    child.expect("42\r\n")
    child.expect("hello")
    child.send(f"{WHERE_THE_CURSOR_IS}gain\r")
    child.expect("hello again\r\n")
    child.send(f"{WHERE_THE_CURSOR_IS}:quit\r")
    child.expect_exact("shell$ ")
    child.sendline("exit")
    written(child)


PRESSED = "#!/bin/sh\ntrap '' INT; kill -INT 0; printf '%s\\n' \"$TEXT\" > \"$1\"\n"
"""An editor in which Ctrl-C was pressed: the terminal sends it to everybody who is attached."""


def test_ctrl_c_in_an_editor_loses_neither_the_line_nor_the_settings(plugins_dir: Path) -> None:
    (plugins_dir / "editor.sh").write_text(PRESSED)
    (plugins_dir / "editor.sh").chmod(0o700)
    editor = {"VISUAL": str(plugins_dir / "editor.sh"), "TEXT": "top_k = 7"}
    child = spawn(plugins_dir, "{nanoshell}", **editor)
    child.expect("nanoshell> ")
    child.send(f"{WHERE_THE_CURSOR_IS}:config edit\r{WHERE_THE_CURSOR_IS}")
    child.expect("top_k = 7\r\n")
    child.send("old\x07")
    child.expect("top_k = 7")
    child.send(f"{WHERE_THE_CURSOR_IS}\x01:say \r{WHERE_THE_CURSOR_IS}")  # Ctrl-A
    child.expect(r"text\S*\s+top_k = 7")
    child.send(CTRL_D)
    assert "interrupted" not in written(child)
    assert child.exitstatus == 0


def test_a_reply_behind_an_ampersand_is_not_stopped_by_the_terminal(plugins_dir: Path) -> None:
    (plugins_dir / "aside.py").write_text(ASIDE)
    child = spawn(plugins_dir, "bash --norc -i", PS1="shell$ ")
    program = shlex.join([sys.executable, "-m", "nanoshell", "--plugins-dir", str(plugins_dir)])
    child.expect_exact("shell$ ")
    child.sendline(f"{program} count & wait; jobs")
    child.expect_exact("counted 3")
    child.sendline("exit")
    assert "Stopped" not in str(child.before) + written(child)


ASIDE = """
import click
from nanoshell import Aside, hookimpl

@click.command()
def count():
    "Count aside, as replies are written."
    with Aside(iter(range(3)), lambda: None) as aside:
        return f"counted {len(list(aside))}"

@hookimpl
def register_commands(register):
    register(count)
"""
