"""The streaming decoder: nothing is lost, shown before its character is whole, or held back after."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings, strategies as st

from nanoshell.errors import TokenizerError
from nanoshell.tokenizer.bpe import cl100k_base
from nanoshell.tokenizer.special import UNUSED_IDS, VOCAB_SIZE
from nanoshell.tokenizer.streaming import StreamingDecoder

any_id = st.integers(0, VOCAB_SIZE - 1).filter(lambda token_id: token_id not in UNUSED_IDS)
# The ids below 256 are single bytes, so lists of them reach every way in which UTF-8 can be invalid.
any_ids = st.lists(st.one_of(any_id, st.integers(0, 255)), max_size=40)


def stream(ids: list[int]) -> list[str]:
    decoder = StreamingDecoder(cl100k_base())
    return [*(decoder.push(token_id) for token_id in ids), decoder.flush()]


@settings(deadline=None)
@given(any_ids)
def test_the_parts_join_to_what_decode_returns(ids: list[int]) -> None:
    assert "".join(stream(ids)) == cl100k_base().decode(ids)


@settings(deadline=None)
@given(st.binary(max_size=12))
@example(b"\xf0\x9f\x98")
@example(b"\xe2\x28\xa1")
@example(b"\xed\xa0\x80")
@example(b"\xc3\xc3\xa9\xff")
def test_invalid_bytes_come_out_as_replacement_characters(raw: bytes) -> None:
    tokenizer = cl100k_base()
    by_byte = {tokenizer.token_bytes(token_id): token_id for token_id in range(256)}
    ids = [by_byte[bytes([value])] for value in raw]
    assert "".join(stream(ids)) == raw.decode("utf-8", errors="replace")


@settings(deadline=None)
@given(st.text(max_size=30))
@example("한국어 日本語 👩‍👩‍👧‍👦 é")
def test_whole_characters_as_soon_as_they_are_whole(text: str) -> None:
    """Against counting bytes: after each token, all characters whose last byte has come, and no other."""
    tokenizer = cl100k_base()
    decoder = StreamingDecoder(tokenizer)
    ends = [len(text[: index + 1].encode()) for index in range(len(text))]
    num_bytes = 0
    shown = ""
    for token_id in tokenizer.encode(text):
        num_bytes += len(tokenizer.token_bytes(token_id))
        shown += decoder.push(token_id)
        assert shown == text[: sum(end <= num_bytes for end in ends)]
    assert shown == text
    assert decoder.flush() == ""


def test_a_character_over_several_tokens_appears_once() -> None:
    ids = cl100k_base().encode("🦜")
    assert len(ids) > 1
    assert stream(ids) == [*[""] * (len(ids) - 1), "🦜", ""]


def test_flush_starts_anew_and_unknown_ids_change_nothing() -> None:
    tokenizer = cl100k_base()
    decoder = StreamingDecoder(tokenizer)
    first, *rest = tokenizer.encode("🦜")
    assert decoder.push(first) == ""
    with pytest.raises(TokenizerError):
        decoder.push(100_256)
    assert "".join(map(decoder.push, rest)) == "🦜"
    decoder.push(first)
    assert decoder.flush() == "\ufffd"
    assert decoder.flush() == ""
    assert "".join(map(decoder.push, tokenizer.encode("plain"))) == "plain"
