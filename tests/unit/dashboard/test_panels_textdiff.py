"""Differences of texts word by word, texts made harmless, and samples by prompt and place."""

from __future__ import annotations

import difflib
import itertools
import unicodedata

import pytest
from hypothesis import given, strategies as st

from nanoshell.dashboard.course import SampleText
from nanoshell.dashboard.panels.samplebook import SampleBook, nearest
from nanoshell.dashboard.panels.textdiff import LONGEST, Piece, compare, shown, words

TEXTS = st.text(alphabet="ab ,.\n", max_size=40) | st.text(
    alphabet="ab 世界é\u0301\u200d\U0001f469\ufe0fא\r\n", max_size=40
)


def sample(step: int, prompt: str = "p", text: str = "t", time: float = 0.0) -> SampleText:
    return SampleText(step, 0, prompt, text, 1, "length", time)


@given(TEXTS, TEXTS)
def test_pieces_join_to_the_texts_and_what_is_unmarked_is_equal(before: str, after: str) -> None:
    left, right = compare(before, after)
    assert "".join(piece.text for piece in left) == before
    assert "".join(piece.text for piece in right) == after

    def common(pieces: list[Piece]) -> str:
        return "".join("".join(piece.text.split()) for piece in pieces if not piece.changed)

    assert common(left) == common(right)
    assert all(one.changed != other.changed for one, other in itertools.pairwise(left))


def test_changed_words_are_marked() -> None:
    left, right = compare("The cat sat on a mat.", "The dog sat on a red mat.")
    assert [piece.text for piece in left if piece.changed] == ["cat "]
    assert [piece.text for piece in right if piece.changed] == ["dog ", "red "]


def test_a_letter_of_chinese_is_a_word_and_an_accent_is_none() -> None:
    left, right = compare("世界很大", "世界不大")
    assert [piece.text for piece in left if piece.changed] == ["很"]
    assert [piece.text for piece in right if piece.changed] == ["不"]
    assert words("cafe\u0301 ok") == ["cafe\u0301 ", "ok"]


@given(st.text(max_size=60))
def test_words_join_to_their_text_and_none_begins_with_an_accent(text: str) -> None:
    found = words(text)
    assert "".join(found) == text
    assert not any(unicodedata.category(word[0]).startswith("M") for word in found[1:])


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_two_texts_can_be_compared_and_drawn(before: str, after: str) -> None:
    left, right = compare(before, after)
    assert "".join(piece.text for piece in left) == before
    assert "".join(piece.text for piece in right) == after
    for piece in [*left, *right]:
        assert all(mark == "\n" or mark.isprintable() for mark in shown(piece.text))


@given(TEXTS)
def test_a_text_is_like_itself(text: str) -> None:
    assert not any(piece.changed for pieces in compare(text, text) for piece in pieces)


def test_white_space_alone_is_no_difference() -> None:
    left, right = compare("one two\nthree", "one  two three")
    assert not any(piece.changed for piece in [*left, *right])


def test_equal_texts_have_no_difference_and_strangers_nothing_in_common() -> None:
    assert compare("same words", "same words")[0] == [Piece("same words", False)]
    assert compare("", "new") == ([], [Piece("new", True)])
    assert all(piece.changed for piece in compare("one", "two")[1])


def test_very_long_texts_are_compared_at_their_ends() -> None:
    words = [f"w{at}" for at in range(2 * LONGEST)]
    other = list(words)
    other[LONGEST] = "changed"
    left, right = compare(" ".join(words), " ".join(other))
    assert [piece.text for piece in left if piece.changed] == [f"w{LONGEST} "]
    assert [piece.text for piece in right if piece.changed] == ["changed "]


def test_fewest_words_are_marked_as_difflib_finds_them() -> None:
    before, after = "a b c d e f", "a x c d y f"
    ratio = difflib.SequenceMatcher(None, before.split(), after.split()).ratio()
    left, _ = compare(before, after)
    kept = sum(len(piece.text.split()) for piece in left if not piece.changed)
    assert ratio == pytest.approx(2 * kept / (len(before.split()) + len(after.split())))


def test_control_characters_are_not_drawn() -> None:
    made = shown("a\x1b[31mb\x07c\td\r\ne‮f")
    assert "\x1b" not in made
    assert "\x07" not in made
    assert "\t" not in made
    assert "\r" not in made
    assert made.split("\n")[1] == "ef"
    assert shown("naïve — ok", ascii_only=True).isascii()


def test_samples_are_grouped_by_prompt_and_ordered_by_step() -> None:
    book = SampleBook([sample(20, "b"), sample(10, "a"), sample(30, "a"), sample(10, "b")])
    assert book.prompts == ["b", "a"]
    assert [one.step for one in book.of("b")] == [10, 20]
    assert book.of("c") == ()
    assert book.next_prompt("b", 1) == "a"
    assert book.next_prompt("a", 1) == "b"
    assert book.next_prompt("b", -1) == "a"
    assert SampleBook().next_prompt("x", 1) == ""


@given(st.lists(st.integers(0, 30).map(float), min_size=1, max_size=8).map(sorted), st.floats(-5, 35))
def test_the_nearest_is_the_latest_of_the_nearest(positions: list[float], position: float) -> None:
    found = nearest(positions, position)
    least = min(abs(one - position) for one in positions)
    assert found == max(at for at, one in enumerate(positions) if abs(one - position) == least)


def test_nothing_is_nearest_to_nothing() -> None:
    with pytest.raises(ValueError, match="no positions"):
        nearest([], 1.0)
