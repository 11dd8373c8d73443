"""Ids to text while they arrive: a token may hold half a character, and half a character is not shown."""

from __future__ import annotations

import codecs

from nanoshell.tokenizer.base import Tokenizer


class StreamingDecoder:
    """Turns ids into text one by one, in whole UTF-8 characters.

    All that `push` and `flush` return, joined, is ``tokenizer.decode`` of the pushed ids: bytes that can no
    longer become a character come out as U+FFFD.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    @property
    def pending(self) -> bool:
        """Whether the beginning of a character is held back."""
        return self._decoder.getstate()[0] != b""

    def push(self, token_id: int) -> str:
        """Return the characters that ``token_id`` completes, '' where it completes none.

        Raises `TokenizerError` for an id that is no token; what was held back stays held back.
        """
        return self._decoder.decode(self._tokenizer.token_bytes(token_id))

    def flush(self) -> str:
        """Return what is left of an unfinished character (U+FFFD, or '') and start anew."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest
