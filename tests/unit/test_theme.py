"""Themes: every role in sixteen colours, the same with rich and without; no style where none is wanted."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.color import ColorSystem
from rich.style import Style

from nanoshell import theme
from nanoshell.command.render import TerminalScreen
from nanoshell.opening import open_session
from nanoshell.theme import ROLES, THEMES, rich_styles, sgr
from tests.unit.test_command_render import FakeTerminal

EACH_STYLE = sorted({style for styles in THEMES.values() for style in styles.values()})


@pytest.mark.parametrize("name", THEMES)
def test_a_theme_has_a_style_for_each_role_in_sixteen_colours(name: str) -> None:
    assert set(THEMES[name]) == set(ROLES)
    for style in map(Style.parse, rich_styles(name).values()):
        numbers = [colour.number for colour in (style.color, style.bgcolor) if colour is not None]
        assert all(number is not None and number < 16 for number in numbers)
        assert not (name == "mono" and numbers)


@pytest.mark.parametrize("style", EACH_STYLE)
def test_styles_without_rich_are_those_of_rich(style: str) -> None:
    expected = Style.parse(style).render("x", color_system=ColorSystem.STANDARD)
    codes = re.findall(r"\d+", expected.partition("x")[0])
    assert sorted(re.findall(r"\d+", sgr(style))) == sorted(codes)


@pytest.mark.parametrize("name", THEMES)
def test_heat_tells_its_five_levels_apart(name: str) -> None:
    assert len({THEMES[name][f"heat{level}"] for level in range(5)}) == 5


def test_the_theme_of_the_settings_holds_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = FakeTerminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    session, screen = open_session(safe=True), TerminalScreen()
    with theme.chosen_by(lambda: session.settings.text("theme")):
        for name in ("terminal", "mono", "vivid"):
            session.settings.set("theme", name)
            screen.write("a", "nano.command")
            screen.out.print("b", style="nano.command", end="")
    vivid = sgr(THEMES["vivid"]["command"])
    assert terminal.getvalue() == (
        f"\x1b[1;36ma\x1b[0m\x1b[1;36mb\x1b[0m\x1b[1ma\x1b[0m\x1b[1mb\x1b[0m{vivid}a\x1b[0m{vivid}b\x1b[0m"
    )


LINES = [":set theme vivid", ":show", ":tokens 'a b'", ":help train", ":nonsense"]


def outputs(tmp_path: Path, *, on_terminal: bool, **environment: str) -> bytes:
    """Return all that a script writes to stdout and stderr, a terminal or a pipe."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "LINES", "TERM")}
    env = {**inherited, "NANOSHELL_HOME": str(tmp_path), "TERM": "xterm-256color", **environment}
    words = [sys.executable, "-m", "nanoshell", *(word for line in LINES for word in ("-c", line))]
    reader, writer = pty.openpty() if on_terminal else os.pipe()
    child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=writer, stderr=writer, env=env)
    os.close(writer)
    written = b""
    try:
        while block := os.read(reader, 1 << 16):
            written += block
    except OSError:  # how Linux says that a terminal has nobody left who writes
        pass
    os.close(reader)
    assert child.wait(timeout=300) == 2
    return written


@pytest.mark.parametrize(
    ("on_terminal", "environment"),
    [
        (True, {"NO_COLOR": "1"}),
        (True, {"TERM": "dumb"}),
        (False, {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"}),
    ],
)
def test_where_no_style_is_wanted_there_is_no_escape_sequence(
    on_terminal: bool, environment: dict[str, str], tmp_path: Path
) -> None:
    written = outputs(tmp_path, on_terminal=on_terminal, **environment)
    assert b"unknown command 'nonsense'" in written
    assert b"temperature" in written
    assert b"\x1b" not in written


def test_a_terminal_is_shown_styles_and_no_colour_beyond_the_sixteen(tmp_path: Path) -> None:
    written = outputs(tmp_path, on_terminal=True)
    sequences = re.findall(rb"\x1b(.*?)[A-Za-z]", written)
    assert sequences
    assert all(re.fullmatch(rb"\[[0-9;]*", sequence) for sequence in sequences)
    numbers = {int(number) for sequence in sequences for number in re.findall(rb"\d+", sequence)}
    assert numbers.isdisjoint({38, 48})
    assert sgr(THEMES["vivid"]["error"]).encode() + b"error:" in written
