"""Lines of a reply broken between words while the words still come, against the same text at once."""

from __future__ import annotations

import io
import sys
import textwrap

import pytest
from hypothesis import given, strategies as st
from rich.cells import cell_len

from nanoshell.command.flow import WordWrap
from nanoshell.command.render import TerminalScreen


def flowed(pieces: list[str], width: int) -> str:
    wrap = WordWrap(lambda: width)
    written = [text for piece in pieces for text, _ in wrap.push(piece)]
    return "".join(written + [text for text, _ in wrap.flush()])


def cut(text: str, lengths: list[int]) -> list[str]:
    pieces = []
    for length in lengths:
        pieces.append(text[:length])
        text = text[length:]
    return [*pieces, text]


WORDS = st.lists(st.text("abcdé", min_size=1, max_size=9), min_size=1, max_size=30)
LENGTHS = st.lists(st.integers(1, 7), max_size=60)


@given(WORDS, LENGTHS, st.integers(20, 60))
def test_short_words_are_laid_out_as_textwrap_does(words: list[str], lengths: list[int], width: int) -> None:
    text = " ".join(words)
    assert flowed(cut(text, lengths), width).split("\n") == textwrap.wrap(text, width)


@given(st.text("ab 日本。\n\t́👩", max_size=200), LENGTHS, st.integers(4, 40))
def test_nothing_is_lost_and_no_line_is_too_long(text: str, lengths: list[int], width: int) -> None:
    shown = flowed(cut(text, lengths), width)
    assert "".join(shown.split()) == "".join(text.split())
    assert all(cell_len(line.rstrip(" ")) <= width for line in shown.split("\n"))


def test_scripts_without_spaces_break_between_letters_and_not_before_a_stop() -> None:
    assert flowed(["日本語日本語。", "次"], 12) == "日本語日本\n語。次"


def test_a_mark_stays_on_its_letter() -> None:
    assert (
        flowed(["aaaaaaaaa cafe", "\N{COMBINING ACUTE ACCENT} b"], 14)
        == "aaaaaaaaa cafe\N{COMBINING ACUTE ACCENT}\nb"
    )


def test_letters_show_as_they_come_but_at_the_edge() -> None:
    wrap = WordWrap(lambda: 40)
    assert wrap.push("Sev") == [("Sev", "")]
    assert wrap.push("eral") == [("eral", "")]
    assert wrap.push(" words and then") == [(" words and", "")]
    assert wrap.push(" some edg") == [(" then some", "")]
    assert wrap.push("es") == []  # whether it has room is not known yet
    assert wrap.push(" now") == [(" edges", "")]


def test_a_word_longer_than_a_line_is_cut() -> None:
    assert flowed(["see ", "x" * 25], 10) == f"see\n{'x' * 10}\n{'x' * 10}\n{'x' * 5}"


def test_styles_stay_with_their_letters() -> None:
    wrap = WordWrap(lambda: 12)
    assert wrap.push("a") + wrap.push("<|x|>", "nano.special") + wrap.push("b ") == [
        ("a", ""),
        ("<|x|>", "nano.special"),
        ("b", ""),
    ]


def test_a_terminal_that_becomes_narrower_or_wider_meanwhile() -> None:
    width = 40
    wrap = WordWrap(lambda: width)
    shown = "".join(text for text, _ in wrap.push("one two three four five six "))
    width = 20
    shown += "".join(text for text, _ in wrap.push("seven eight nine ten eleven "))
    width = 60
    shown += "".join(text for text, _ in wrap.push("twelve thirteen fourteen ") + wrap.flush())
    assert shown.split("\n")[1:2] == ["seven eight nine ten"]
    said = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
    assert " ".join(shown.split()) == said


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm"}, "a \x1b[2;35m<|user|>\x1b[0m b\nx"),
        ({"TERM": "xterm", "NO_COLOR": "1"}, "a <|user|> b\nx"),
        ({"TERM": "dumb"}, "a <|user|> b\nx"),
    ],
)
def test_special_tokens_are_dimmed_where_there_are_colours(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    terminal = FakeTerminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    screen = TerminalScreen()
    screen.flow("a ")
    screen.flow("<|user|>", "nano.special")
    screen.flow(" b")
    screen.write("\nx")  # what waited for its end comes first
    assert terminal.getvalue() == expected
