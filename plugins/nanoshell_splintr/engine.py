"""cl100k_base whose encoding is splintr's; all else is nanoshell's own."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from nanoshell import TokenizerError, cl100k_base

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nanoshell import Tokenizer

VOCABULARY = "cl100k_base"
_PROBES = ("The quick brown fox\n\n  jumps 1234 times, don't", "naïve 你好 \U0001f30d <|endoftext|>")


class SplintrTokenizer:
    """Text to ids by ``engine``, a tokenizer of splintr; ``twin`` gives the same ids, and all the rest.

    Several threads may encode at once. Raises `TokenizerError` where the two do not agree: the installed
    splintr has then another vocabulary than the one that models were trained with.
    """

    def __init__(self, engine: Any, twin: Tokenizer) -> None:
        self._engine = engine
        self._twin = twin
        specials = twin.special_tokens
        self._special = re.compile("|".join(re.escape(text) for text in sorted(specials, reverse=True)))
        wrong = [text for text in _PROBES if self.encode(text) != twin.encode(text)]
        wrong += [text for text, number in specials.items() if self.encode_special(text) != [number]]
        if wrong:
            raise TokenizerError(
                f"the installed splintr reads {wrong[0]!r} otherwise than {twin.name} does",
                hint="install the version that nanoshell asks for: pip install 'nanoshell[splintr]'",
            )

    @property
    def name(self) -> str:
        """That of the twin, so that what was made with one is found again by the other."""
        return self._twin.name

    @property
    def vocab_size(self) -> int:
        return self._twin.vocab_size

    @property
    def special_tokens(self) -> Mapping[str, int]:
        return self._twin.special_tokens

    @property
    def end_of_text(self) -> int:
        return self._twin.end_of_text

    @property
    def unused_ids(self) -> frozenset[int]:
        return self._twin.unused_ids

    @property
    def fingerprint(self) -> str:
        """That of the twin: the ids are the same."""
        return self._twin.fingerprint

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.vocab_size} ids)"

    def encode(self, text: str) -> list[int]:
        """Return the ids of ``text`` as ordinary text. Lone surrogates are read as U+FFFD."""
        ids: list[int] = self._engine.encode_ordinary(_without_surrogates(text))
        return ids

    def encode_array(self, text: str) -> NDArray[np.uint32]:
        """Return what `encode` returns as an array, shape ``(tokens,)``: no object is made for an id."""
        import numpy as np

        text = _without_surrogates(text)
        # The engine writes into a buffer only where it reads specials too: for a text that spells none.
        if "<|" in text and self._special.search(text):
            return np.array(self._engine.encode_ordinary(text), dtype="<u4")
        return np.frombuffer(self._engine.encode_flat(text), dtype="<u4")

    def encode_special(self, text: str) -> list[int]:
        """Return the ids of ``text`` with the spellings of special tokens read as those tokens."""
        ids: list[int] = self._engine.encode_with_special(_without_surrogates(text))
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ``ids``. Raises `TokenizerError`."""
        return self._twin.decode(ids)

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes that ``token_id`` stands for. Raises `TokenizerError`."""
        return self._twin.token_bytes(token_id)


@functools.cache
def splintr_tokenizer() -> SplintrTokenizer:
    """Return the tokenizer, made once in a process. Raises `TokenizerError` without the package."""
    try:
        import splintr
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError)
        raise TokenizerError(
            "tokenizer 'splintr' needs the package splintr-rs, which "
            + ("is not installed" if missing else f"cannot be imported: {error}"),
            hint="pip install 'nanoshell[splintr]', or use cl100k_base: its ids are the same",
        ) from error
    return SplintrTokenizer(splintr.Tokenizer.from_pretrained(VOCABULARY), cl100k_base())


def _without_surrogates(text: str) -> str:
    """Return ``text`` as cl100k_base reads it: UTF-8 has no surrogates, a pair of them is its character."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
