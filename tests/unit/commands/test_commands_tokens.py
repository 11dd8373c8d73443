"""``tokens`` and ``tokenize``: the contract of the JSON, and what a person sees."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from nanoshell_commands.tokens import visible


def test_json_is_the_contract_and_nothing_else(nanoshell) -> None:
    said = nanoshell("tokens", "--json", "--", "Hello world")
    assert said.code == 0
    assert said.err == ""
    assert said.json == {
        "ids": [9906, 1917],
        "tokens": [{"id": 9906, "text": "Hello"}, {"id": 1917, "text": " world"}],
    }


def test_text_after_two_dashes_may_look_like_an_option(nanoshell) -> None:
    said = nanoshell("tokens", "--json", "--", "--special")
    assert "".join(token["text"] for token in said.json["tokens"]) == "--special"


def test_words_are_joined_by_a_space(nanoshell) -> None:
    assert nanoshell("tokens", "--json", "Hello", "world").json["ids"] == [9906, 1917]


def test_a_special_spelling_is_text_unless_asked_for(nanoshell) -> None:
    plain = nanoshell("tokens", "--json", "--", "<|endoftext|>").json
    assert 100257 not in plain["ids"]
    assert "".join(token["text"] for token in plain["tokens"]) == "<|endoftext|>"
    special = nanoshell("tokens", "--json", "--special", "--", "Hi<|endoftext|>").json
    assert special["tokens"][-1] == {"id": 100257, "text": "<|endoftext|>"}


def test_standard_input_is_read_as_it_is(nanoshell) -> None:
    said = nanoshell("tokens", "--json", "-", stdin=b"Hello world\n")
    assert "".join(token["text"] for token in said.json["tokens"]) == "Hello world\n"


def test_standard_input_that_is_not_utf8_is_refused_with_the_place(nanoshell) -> None:
    said = nanoshell("tokens", "-", stdin=b"abc\xff")
    assert said.code == 1
    assert said.out == ""
    assert "0xff at offset 3" in said.err
    assert "Traceback" not in said.err


def test_a_person_sees_ids_beneath_pieces_and_the_bytes_of_split_characters(nanoshell) -> None:
    said = nanoshell("tokens", "Hi 🦙\n")
    pieces, ids, summary = said.out.splitlines()
    assert pieces.startswith("Hi ")
    assert "·<f0 9f> <a6> <99> ↵" in pieces
    for found in re.finditer(r"\d+", ids):
        assert pieces[found.start()] != " "
        assert found.start() == 0 or pieces[found.start() - 1] == " "
    assert summary == "5 tokens, 5 characters, 8 bytes"


@pytest.mark.parametrize(
    ("piece", "shown"),
    [
        (b" world", "·world"),
        (b"\n\n", "↵↵"),
        (b"\t", "→"),
        (b"\xe2\x82", "<e2 82>"),
        (b"a\xe2\x82", "a<e2 82>"),
        ("é".encode(), "é"),
        (b"\x1b[31m", "<1b>[31m"),
    ],
)
def test_what_has_no_shape_is_made_visible(piece: bytes, shown: str) -> None:
    assert visible(piece) == shown


@given(st.binary(max_size=40))
def test_no_bytes_reach_the_terminal_as_controls(piece: bytes) -> None:
    assert visible(piece).isprintable()


def test_tokenize_writes_ids_as_u32_little_endian(nanoshell, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Hello world")
    said = nanoshell("tokenize", "a.txt", "-o", "out.bin", "--json")
    assert said.code == 0
    assert struct.unpack("<3I", (tmp_path / "out.bin").read_bytes()) == (9906, 1917, 100257)
    (row,) = said.json
    assert (row["tokens"], row["documents"], row["bytes"]) == (3, 1, 12)


def test_tokenize_holds_out_documents_in_a_second_file(nanoshell, tmp_path: Path) -> None:
    said = nanoshell("tokenize", "nano-start:qa", "-o", "qa.bin", "--val-fraction", "0.2", "--json")
    train, held_out = said.json
    assert (train["documents"] + held_out["documents"], held_out["documents"] > 0) == (143, True)
    assert Path(held_out["path"]).name == "qa.val.bin"


def test_a_failed_tokenize_leaves_nothing(nanoshell, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"text": "fine"}\n{"text": \n')
    said = nanoshell("tokenize", "bad.jsonl", "-o", "out.bin")
    assert said.code == 1
    assert "2" in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["bad.jsonl"]
