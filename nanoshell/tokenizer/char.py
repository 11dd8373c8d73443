"""One id for each character: the smallest vocabulary, and the one whose every step can be followed by eye."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nanoshell.errors import TokenizerError
from nanoshell.spelling import typed
from nanoshell.tokenizer.special import END_OF_TEXT, FEW_SPECIAL_TOKENS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NO_ID = 0xFFFF_FFFF


class UnknownCharacterError(TokenizerError):
    """A text holds ``character``, at ``position`` (in characters, from 0), for which there is no id."""

    def __init__(self, character: str, position: int, tokenizer: str, known: int) -> None:
        spelled = f"'{character}' (U+{ord(character):04X})" if character.isprintable() else _code(character)
        super().__init__(
            f"character {spelled} at position {position:,} is none of the {known} of tokenizer '{tokenizer}'",
            hint="a character tokenizer knows the characters of the text that it was made from: write without"
            " this one, or train with a tokenizer that takes any text, as bpe:1024 does",
        )
        self.character = character
        self.position = position
        self._tokenizer = tokenizer
        self._known = known

    def further_on(self, characters: int) -> UnknownCharacterError:
        """Return the error for the same text with so many ``characters`` before it."""
        return UnknownCharacterError(self.character, self.position + characters, self._tokenizer, self._known)


def _code(character: str) -> str:
    return f"U+{ord(character):04X}"


class CharTokenizer:
    """Ids 0, 1, … for the characters of ``characters`` in their order; ``special_tokens`` follow.

    What it encodes, it decodes to the same text. A character that it has no id for is an error, never a
    stand-in: an id for everything unknown would lose the text, and ids for single bytes would make a
    vocabulary of 65 characters five times as large. Raises `TokenizerError` where a character or special
    token comes twice, or ``<|endoftext|>`` is missing.
    """

    kind = "char"

    def __init__(
        self, name: str, characters: str, special_tokens: Sequence[str] = FEW_SPECIAL_TOKENS
    ) -> None:
        self.name = name
        self.characters = characters
        self._ids = {character: index for index, character in enumerate(characters)}
        if not characters or len(self._ids) != len(characters):
            problem = "has a character twice" if characters else "has no characters"
            raise TokenizerError(
                f"tokenizer '{name}' {problem}", hint=f"make it anew: {typed('tokenizer train')}"
            )
        if END_OF_TEXT not in special_tokens or len(set(special_tokens)) != len(special_tokens):
            raise TokenizerError(
                f"tokenizer '{name}' needs {END_OF_TEXT}, and every special token once",
                hint=f"make it anew: {typed('tokenizer train')}",
            )
        specials = {spelling: len(characters) + index for index, spelling in enumerate(special_tokens)}
        self.special_tokens = MappingProxyType(specials)
        self.end_of_text = specials[END_OF_TEXT]
        self.vocab_size = len(characters) + len(specials)
        self.unused_ids: frozenset[int] = frozenset()
        definition = json.dumps([self.kind, characters, list(special_tokens)])
        self.fingerprint = hashlib.sha256(definition.encode()).hexdigest()
        self._spellings: list[str] = [*characters, *special_tokens]
        self._special_pattern = re.compile(
            "(" + "|".join(re.escape(spelling) for spelling in sorted(specials, reverse=True)) + ")"
        )

    def __reduce__(self) -> tuple[Callable[..., CharTokenizer], tuple[str, dict[str, Any]]]:
        return CharTokenizer.from_dict, (self.name, self.to_dict())

    def __repr__(self) -> str:
        return f"CharTokenizer({self.name!r}, {self.vocab_size} ids)"

    def encode(self, text: str) -> list[int]:
        """Return one id for each character of ``text``. Raises `UnknownCharacterError`.

        UTF-8 has no lone surrogates: they are read as U+FFFD, and a pair as its character.
        """
        try:
            return list(map(self._ids.__getitem__, text))
        except KeyError:
            mended = without_surrogates(text)
            if mended != text:
                return self.encode(mended)
            raise self._unknown(text) from None

    def encode_array(self, text: str) -> NDArray[np.uint32]:
        """Return what `encode` returns, as an array of shape ``(characters,)``, at the speed of memory."""
        import numpy as np

        try:
            codes = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
        except UnicodeEncodeError:
            return self.encode_array(without_surrogates(text))
        ids: NDArray[np.uint32] = self._table[np.minimum(codes, len(self._table) - 1)]
        if ids.size and int(ids.max()) == _NO_ID:
            raise self._unknown(text)
        return ids

    def encode_special(self, text: str) -> list[int]:
        """Return the ids of ``text`` with the spellings of special tokens read as those tokens."""
        ids: list[int] = []
        position = 0
        for index, part in enumerate(self._special_pattern.split(text)):
            try:
                ids += [self.special_tokens[part]] if index % 2 else self.encode(part)
            except UnknownCharacterError as error:
                raise error.further_on(position) from None
            position += len(part)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ``ids``, special tokens as spelled.

        Raises `TokenizerError` that names the first unknown id and its position.
        """
        spellings = []
        for position, token_id in enumerate(ids):
            if not 0 <= token_id < self.vocab_size:
                raise self._no_token(token_id, f" at position {position}")
            spellings.append(self._spellings[token_id])
        return "".join(spellings)

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes that ``token_id`` stands for. Raises `TokenizerError` for unknown ids."""
        if not 0 <= token_id < self.vocab_size:
            raise self._no_token(token_id, "")
        return self._spellings[token_id].encode()

    def to_dict(self) -> dict[str, Any]:
        """Return what a tokenizer file holds about it."""
        return {"kind": self.kind, "characters": self.characters, "special_tokens": list(self.special_tokens)}

    @classmethod
    def from_dict(cls, name: str, data: dict[str, Any]) -> CharTokenizer:
        """Return what `to_dict` described. Raises `TokenizerError`, and KeyError or TypeError for damage."""
        return cls(name, "".join(data["characters"]), [str(spelling) for spelling in data["special_tokens"]])

    @cached_property
    def _table(self) -> NDArray[np.uint32]:
        """Code point to id; the last entry stands for all code points beyond, which have none."""
        import numpy as np

        table = np.full(max(map(ord, self.characters)) + 2, _NO_ID, dtype=np.uint32)
        table[[ord(character) for character in self.characters]] = np.arange(len(self.characters))
        return table

    def _unknown(self, text: str) -> UnknownCharacterError:
        position = next(index for index, character in enumerate(text) if character not in self._ids)
        return UnknownCharacterError(text[position], position, self.name, len(self.characters))

    def _no_token(self, token_id: int, where: str) -> TokenizerError:
        return TokenizerError(
            f"id {token_id}{where} is not in the vocabulary of {self.name}",
            hint=f"its ids are 0 to {self.vocab_size - 1}; were these ids made with another tokenizer?",
        )


def without_surrogates(text: str) -> str:
    """Return ``text`` with pairs of surrogates as their characters, and lone ones as U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
