"""What every tokenizer offers to the rest of nanoshell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, runtime_checkable


@runtime_checkable
class Tokenizer(Protocol):
    """Text to ids and back. Ids are plain ints below ``vocab_size``.

    One that makes arrays faster than lists has ``encode_array(text)`` besides: what ``encode`` returns, as a
    numpy array of unsigned 32-bit ids, shape ``(tokens,)``. Large corpora are encoded with it.
    """

    @property
    def name(self) -> str:
        """The name it is registered under."""

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""

    @property
    def special_tokens(self) -> Mapping[str, int]:
        """Spelling to id of the tokens that are never part of ordinary text."""

    @property
    def end_of_text(self) -> int:
        """The id that separates documents and ends an assistant's turn."""

    @property
    def unused_ids(self) -> frozenset[int]:
        """Ids below ``vocab_size`` that stand for no token: never sampled, an error in a ``.bin``."""

    @property
    def fingerprint(self) -> str:
        """A hash of everything that decides how text is split."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of ``text`` as ordinary text: a special token's spelling in it stays text."""

    def encode_special(self, text: str) -> list[int]:
        """Return the ids of ``text`` with the spellings of special tokens read as those tokens."""

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ``ids``; bytes that are no UTF-8 become U+FFFD. Raises `TokenizerError`."""

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes that ``token_id`` stands for. Raises `TokenizerError` for unknown ids."""
