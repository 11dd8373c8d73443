"""Results and narration as text: tables for values, nothing that steers a terminal, plain lines in a pipe."""

from __future__ import annotations

import io
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from nanoshell.command import narrate
from nanoshell.command.render import TerminalScreen, harmless, show


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@dataclass
class Row:
    name: str
    num_bytes: int
    done: bool = True
    where: Path = Path("a")
    _secret: str = "no"


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        (None, []),
        (7, []),
        ("text", ["text"]),
        ("two\nlines\n", ["two", "lines"]),
        ({"a": 1, "b": [1, 2]}, ["a 1", "b 1, 2"]),
        (Row("x", 3), ["name x", "num bytes 3", "done yes", "where a"]),
        (
            [Row("[x]", 3), Row("y", 12, done=False)],
            ["name num bytes done where", "[x] 3 yes a", "y 12 no a"],
        ),
        ([1, "two"], ["1", "two"]),
        ([], []),
        (iter(["a", {"b": 0.123456}]), ["a", "b 0.1235"]),
    ],
)
def test_values_as_text(value: Any, lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    show(value, TerminalScreen())
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line] == lines


def test_a_long_cell_in_a_pipe_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    show([Row("x" * 150, 3)], TerminalScreen())
    assert len(capsys.readouterr().out.splitlines()) == 2


@given(st.text())
def test_harmless_text_has_no_control_but_newline_and_tab(text: str) -> None:
    clean = harmless(text)
    assert all(char in "\n\t" or not (ord(char) < 32 or 127 <= ord(char) < 160) for char in clean)
    assert harmless(clean) == clean


def test_text_of_a_model_cannot_steer_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = FakeTerminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    screen = TerminalScreen()
    screen.write("\x1b]0;owned\x07")
    screen.write("\x1b[2J", style="bold")
    assert "\x1b]" not in terminal.getvalue()
    assert "\x1b[2J" not in terminal.getvalue()


def test_text_in_a_pipe_is_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    TerminalScreen().write("\x1b[0m\r\n", style="bold")
    assert capsys.readouterr().out == "\x1b[0m\r\n"


def test_progress_in_a_pipe_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    moments = iter([0.0, 1.0, 6.0, 6.0, 7.0, 20.0, 20.0])
    monkeypatch.setattr(narrate.time, "monotonic", lambda: next(moments))
    with narrate.ScreenNarrator(TerminalScreen()).progress("reading", 4000, "lines") as advance:
        for _ in range(4):
            advance(1000)
    assert capsys.readouterr() == ("", "reading …\nreading: 2,000 lines (50%)\nreading: 4,000 lines (100%)\n")


def test_bytes_have_one_unit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    moments = iter([0.0, 6.0, 6.0])
    with monkeypatch.context() as patch:
        patch.setattr(narrate.time, "monotonic", lambda: next(moments))
        with narrate.ScreenNarrator(TerminalScreen()).progress("reading", 66_900_000, "B") as advance:
            advance(55_049_188)
    assert capsys.readouterr().err == "reading …\nreading: 55.0 MB (82%)\n"

    terminal = FakeTerminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with narrate.ScreenNarrator(TerminalScreen()).progress("reading", 66_900_000, "B") as advance:
        advance(32_200_000)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    assert "32.2/66.9 MB" in shown
    assert "MB B" not in shown


def test_progress_on_a_terminal_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = FakeTerminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    screen = TerminalScreen()
    assert screen.live
    with narrate.ScreenNarrator(screen).progress("reading", 10, "lines") as advance:
        advance(10)
    assert "reading" in terminal.getvalue()
    assert terminal.getvalue().endswith("\x1b[2K")
    monkeypatch.setenv("TERM", "dumb")
    assert not screen.live


def test_what_is_said_on_a_terminal_is_broken_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    from nanoshell.command.explain import report
    from nanoshell.errors import UsageError

    text = "known: " + ", ".join(f"a_name_of_a_setting_{number}" for number in range(9))
    monkeypatch.setenv("COLUMNS", "40")
    piped = io.StringIO()
    monkeypatch.setattr(sys, "stderr", piped)
    report(UsageError("no", hint=text))
    TerminalScreen().note(text)
    assert piped.getvalue() == f"error: no\n  {text}\n{text}\n"
    monkeypatch.setenv("TERM", "dumb")  # no colours
    terminal = FakeTerminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    report(UsageError("no", hint=text))
    TerminalScreen().note(text)
    lines = terminal.getvalue().splitlines()
    assert len(lines) > 10
    assert all(len(line) <= 40 for line in lines)
    assert terminal.getvalue().split() == piped.getvalue().split()
    assert all(line.startswith("  ") for line in lines[1 : lines.index("known: a_name_of_a_setting_0,")])


def test_a_table_in_a_pipe_ends_its_lines_with_words(capsys: pytest.CaptureFixture[str]) -> None:
    show([Row("x", 3), Row("a longer name", 3, where=Path("a/longer/path"))], TerminalScreen())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert [line for line in lines if line.endswith(" ")] == []
