"""Byte pair encoding that a user trained: a small vocabulary, which still takes any text.

Training is the Hugging Face library's (`nanoshell.tokenizer.making`); encoding is tiktoken's, as for
cl100k_base, which needs no merges but a rank for each token. Both give the same ids: wherever the bytes of a
token stand together uncut, the same merges have been applied to them in the same order, so that they become
that token in one way only, and the rank of a merge is the id of the token that it makes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

from nanoshell.errors import TokenizerError
from nanoshell.spelling import typed
from nanoshell.tokenizer.bpe import PATTERN, RankedTokenizer
from nanoshell.tokenizer.special import END_OF_TEXT, FEW_SPECIAL_TOKENS

NUM_BYTES = 256
MAX_TOKEN_BYTES = 4096
"""No token is longer. Each merge can double the last one: a small file could otherwise fill the memory."""


class TrainedBpe(RankedTokenizer):
    """Ids 0 to 255 are the bytes; id ``256 + n`` joins the two ids of ``merges[n]``; special tokens follow.

    Text is cut into pieces as for cl100k_base. Raises `TokenizerError` where a merge names an id that comes
    after it, or makes a token that exists or is longer than `MAX_TOKEN_BYTES`.
    """

    kind = "bpe"

    def __init__(
        self,
        name: str,
        merges: Sequence[tuple[int, int]],
        *,
        special_tokens: Sequence[str] = FEW_SPECIAL_TOKENS,
    ) -> None:
        self.merges = tuple((int(left), int(right)) for left, right in merges)
        if END_OF_TEXT not in special_tokens or len(set(special_tokens)) != len(special_tokens):
            raise TokenizerError(
                f"tokenizer '{name}' needs {END_OF_TEXT}, and every special token once",
                hint=f"make it anew: {typed('tokenizer train')}",
            )
        ranks = _ranks(name, self.merges)
        super().__init__(
            name,
            lambda: ranks,
            len(ranks),
            pattern=PATTERN,
            special_tokens={
                spelling: NUM_BYTES + len(self.merges) + index
                for index, spelling in enumerate(special_tokens)
            },
            end_of_text=END_OF_TEXT,
            source=hashlib.sha256(json.dumps(self.merges).encode()).hexdigest(),
        )

    def __reduce__(self) -> tuple[Callable[..., TrainedBpe], tuple[str, dict[str, Any]]]:
        return TrainedBpe.from_dict, (self.name, self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return what a tokenizer file holds about it."""
        return {
            "kind": self.kind,
            "pattern": PATTERN,
            "merges": [list(pair) for pair in self.merges],
            "special_tokens": list(self.special_tokens),
        }

    @classmethod
    def from_dict(cls, name: str, data: dict[str, Any]) -> TrainedBpe:
        """Return what `to_dict` described.

        Raises `TokenizerError`, and KeyError, TypeError or ValueError for damage.
        """
        if data["pattern"] != PATTERN:  # any other could take for ever, and files come from strangers
            raise TokenizerError(
                f"tokenizer '{name}' cuts text by a pattern that is not ours: {data['pattern']!r}",
                hint=f"make it anew: {typed('tokenizer train')}",
            )
        merges = [(left, right) for left, right in data["merges"]]
        specials = [str(spelling) for spelling in data["special_tokens"]]
        return cls(name, merges, special_tokens=specials)


def _ranks(name: str, merges: Sequence[tuple[int, int]]) -> dict[bytes, int]:
    tokens = [bytes([value]) for value in range(NUM_BYTES)]
    ranks = {token: index for index, token in enumerate(tokens)}
    for number, (left, right) in enumerate(merges):
        if not (0 <= left < len(tokens) and 0 <= right < len(tokens)):
            raise TokenizerError(
                f"merge {number} of tokenizer '{name}' joins {left} and {right}, and ids are 0 to "
                f"{len(tokens) - 1} there",
                hint=f"make it anew: {typed('tokenizer train')}",
            )
        joined = tokens[left] + tokens[right]
        if len(joined) > MAX_TOKEN_BYTES:
            raise TokenizerError(
                f"merge {number} of tokenizer '{name}' makes a token of {len(joined):,} bytes, and "
                f"{MAX_TOKEN_BYTES:,} are the most",
                hint=f"make it anew: {typed('tokenizer train')}",
            )
        if joined in ranks:
            raise TokenizerError(
                f"merge {number} of tokenizer '{name}' makes a token that exists: {ranks[joined]}",
                hint=f"make it anew: {typed('tokenizer train')}",
            )
        ranks[joined] = len(tokens)
        tokens.append(joined)
    return ranks
