"""Cutting and tokenizing as a stream: the ids are those of the whole text, in order, whatever the cuts."""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st

from nanoshell.chat.template import Message, RoleTemplate
from nanoshell.data import encoding
from nanoshell.data.encoding import cut_text, encode_all, encode_document
from nanoshell.data.source import Document
from nanoshell.errors import DataError
from nanoshell.tokenizer.bpe import cl100k_base

EOT = 100_257
SHAKESPEARE = Path(__file__).parents[2].parent / "shared" / "data" / "tinyshakespeare.txt"

SPACES = ["\n", "\r\n", "\r", "\n\n \n", " ", "  ", "\t", "\x0b", "\x1c", "\x85", "\u2028", "\u3000"]
MARKS = ["。", ".", "!", "_", "—", "\ufeff", "🙂", "<|endoftext|>", "<|user|>", "|>", "=====\n"]
WORDS = ["'s", "'S x", "'ll", "don't", "a", "Zürich", "é", "e\u0301", "北京", "123456", "7", "x1", "²", "Ⅷ"]
AWKWARD = st.sampled_from([*SPACES, *MARKS, *WORDS, "if x:\n    y = 1\n"])
texts = st.one_of(
    st.lists(AWKWARD, max_size=60).map("".join),
    st.text(max_size=80),
    st.text(alphabet=" \n\r\tab1.'", max_size=120),
)


def ids_of(documents: list[Document], **options: object) -> list[int]:
    encoded = encode_all(documents, cl100k_base(), RoleTemplate(), **options)
    return [token for part in encoded for token in part.train.tolist()]


@given(text=texts, size=st.integers(1, 40), parts=st.integers(1, 5))
@settings(max_examples=400)
@example(text="one. \n\n two\n\n  three  \n", size=4, parts=1)
@example(text="a\n \nb \nc", size=1, parts=2)
def test_pieces_encode_as_the_whole_text(text: str, size: int, parts: int) -> None:
    tokenizer = cl100k_base()
    step = max(len(text) // parts, 1)
    pieces = list(cut_text([text[start : start + step] for start in range(0, len(text), step)], size))
    assert "".join(pieces) == text
    assert all(pieces)
    assert [token for piece in pieces for token in tokenizer.encode(piece)] == tokenizer.encode(text)
    special = [token for piece in pieces for token in tokenizer.encode_special(piece)]
    assert special == tokenizer.encode_special(text)


@pytest.mark.parametrize("before", ["L", "N"])
def test_every_letter_and_digit_may_stand_before_a_cut(before: str) -> None:
    """The cut relies on Python and the tokenizer's pattern agreeing about what a letter or a digit is."""
    tokenizer = cl100k_base()
    characters = [chr(code) for code in range(0x3000) if unicodedata.category(chr(code))[0] == before]
    text = " ".join(characters)
    pieces = list(cut_text([text], 1))
    assert len(pieces) > len(characters) * 0.9
    assert [token for piece in pieces for token in tokenizer.encode(piece)] == tokenizer.encode(text)


@pytest.mark.skipif(not SHAKESPEARE.exists(), reason="the text is not here")
def test_a_real_text_in_pieces() -> None:
    tokenizer = cl100k_base()
    text = SHAKESPEARE.read_text(encoding="utf-8")[:300_000]
    whole = tokenizer.encode(text)
    for size in (100, 4096):
        assert [token for piece in cut_text([text], size) for token in tokenizer.encode(piece)] == whole


def test_a_text_without_a_place_to_cut_is_cut_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "_LONGEST", 1000)
    pieces = list(cut_text(["x" * 700] * 5, 100))
    assert "".join(pieces) == "x" * 3500
    assert max(map(len, pieces)) <= 1000


def test_a_cut_is_looked_for_after_the_limit_before_it_is_forced() -> None:
    assert list(cut_text(["x" * 500 + " y"], 100)) == ["x" * 500, " y"]


@given(text=texts.filter(bool), parts=st.integers(1, 6), workers=st.sampled_from([1, 3]))
@settings(max_examples=60)
def test_a_document_in_parts_is_one_document(text: str, parts: int, workers: int) -> None:
    step = max(len(text) // parts, 1)
    cut = [text[start : start + step] for start in range(0, len(text), step)]
    documents = [Document(text=part, continues=index < len(cut) - 1) for index, part in enumerate(cut)]
    whole = cl100k_base().encode(text)
    assert ids_of([*documents, *documents], workers=workers) == [*whole, EOT, *whole, EOT]


def test_documents_keep_their_order_with_many_threads() -> None:
    words = [f"Document number {number} of many, {'la ' * (number % 50)}." for number in range(20_000)]
    documents = [Document(text=word) for word in words]
    expected = [token for word in words for token in [*cl100k_base().encode(word), EOT]]
    assert ids_of(documents, workers=4) == expected == ids_of(documents, workers=1)


def test_a_source_is_read_only_a_little_ahead() -> None:
    """Memory stays bounded: what is not yet written is not read."""
    read = 0

    def documents() -> Iterator[Document]:
        nonlocal read
        for _ in range(200):
            read += 1
            yield Document(text="word " * (encoding.PIECE // 5 + 1))

    encoded = encode_all(documents(), cl100k_base(), RoleTemplate(), workers=2)
    next(encoded)
    assert read <= 16
    encoded.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("tokenize")]


def test_conversations_and_their_end() -> None:
    tokenizer = cl100k_base()
    turns = (Message("user", "Hi <|endoftext|>"), Message("assistant", "Hello"))
    ids = encode_document(Document(messages=turns), tokenizer, RoleTemplate())
    assert ids == RoleTemplate().encode(turns, tokenizer)
    assert ids.count(EOT) == 1
    question = encode_document(Document(messages=turns[:1]), tokenizer, RoleTemplate())
    assert question[-1] == EOT, "a document that ends with a question ends too"


def test_special_tokens_are_read_only_when_asked_for() -> None:
    tokenizer, template = cl100k_base(), RoleTemplate()
    text = "<|user|>Hi<|assistant|>Hello<|endoftext|>"
    plain = encode_document(Document(text=text), tokenizer, template)
    assert not set(plain[:-1]) & set(tokenizer.special_tokens.values())
    special = encode_document(Document(text=text, special=True), tokenizer, template)
    assert special == [100_278, *tokenizer.encode("Hi"), 100_279, *tokenizer.encode("Hello"), EOT]
    assert ids_of([Document(text=text)], special=True) == special
    messages = Document(messages=(Message("user", text),))
    assert ids_of([messages], special=True) == encode_document(messages, tokenizer, template)


def test_empty_documents_leave_no_trace() -> None:
    documents = [Document(text=""), Document(text="a"), Document(text="", continues=True), Document(text="")]
    assert ids_of(documents) == [*cl100k_base().encode("a"), EOT]


def test_ready_ids_are_taken_as_they_are() -> None:
    ids = np.array([1, EOT, 2, 3])
    assert ids_of([Document(ids=ids, continues=True), Document(ids=ids)]) == [1, EOT, 2, 3] * 2


@pytest.mark.parametrize("bad", [-1, 100_256, 100_331])
def test_ready_ids_are_checked(bad: int) -> None:
    with pytest.raises(DataError, match=rf"shard\.bin: id {bad:,}, 2 tokens further on"):
        ids_of([Document(ids=np.array([1, 2, bad]), origin="shard.bin")])


def test_an_error_names_the_document() -> None:
    class Picky(RoleTemplate):
        def encode(self, *arguments: object, **options: object) -> list[int]:
            raise DataError("no such turn", hint="mend it")

    with pytest.raises(DataError, match=r"qa\.jsonl:7: no such turn"):
        encode_document(
            Document(messages=(Message("user", "?"),), origin="qa.jsonl:7"), cl100k_base(), Picky()
        )
