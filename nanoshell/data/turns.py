"""Which tokens of a corpus are the assistant's: those after its role token, up to and with the turn's end.

The specials of the whole file decide, not those of a window: a window may begin in the middle of a turn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoshell.chat.template import role_ids
from nanoshell.errors import DataError
from nanoshell.tokenizer.base import Tokenizer
from nanoshell.tokenizer.special import ASSISTANT

_BLOCK = 1 << 22


class Turns:
    """The assistant's turns in ``tokens`` (tokens,), found in one pass; 16 bytes for each are kept.

    A turn begins after ``<|assistant|>`` and ends with the next end of text or role token, whichever it is:
    that token is the turn's last, since a reply stops there. Raises `DataError` where ``tokenizer`` has no
    such token or ``tokens`` hold no turn.
    """

    def __init__(self, tokens: NDArray[Any], tokenizer: Tokenizer) -> None:
        assistant = tokenizer.special_tokens.get(ASSISTANT)
        if assistant is None:
            raise DataError(
                f"trainer.loss_on is assistant, and tokenizer '{tokenizer.name}' has no {ASSISTANT} token",
                hint="train on all tokens (trainer.loss_on: all), or use a tokenizer with role tokens",
            )
        ends = np.array(sorted({tokenizer.end_of_text, *role_ids(tokenizer)}), dtype=np.int64)
        self._edges = _edges(tokens, assistant, ends)
        if not len(self._edges):
            raise DataError(
                f"trainer.loss_on is assistant, and the data holds no turn of the assistant ({ASSISTANT})",
                hint="name data with messages, read role tokens in its text (--special), "
                "or train on all tokens: trainer.loss_on: all",
            )
        self._sizes = np.cumsum(self._edges[1::2] - self._edges[::2])

    @property
    def num_tokens(self) -> int:
        """How many tokens are the assistant's."""
        return int(self._sizes[-1])

    def contain(self, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of ``positions`` in the file, of any shape, hold a token of the assistant's."""
        edges_before = np.searchsorted(self._edges, positions, side="right")
        return (edges_before & 1).astype(np.bool_)

    def count(self, spans: NDArray[np.int64]) -> int:
        """Return how many of the assistant's tokens lie in ``spans`` of the file, (spans, 2)."""
        before = self._before(spans)
        return int((before[:, 1] - before[:, 0]).sum())

    def spread(self, count: int) -> NDArray[np.int64]:
        """Return the positions of up to ``count`` of the assistant's tokens, evenly spread over all."""
        chosen = np.unique(np.linspace(0, self.num_tokens - 1, count).astype(np.int64))
        turn = np.searchsorted(self._sizes, chosen, side="right")
        return np.asarray(self._edges[1::2][turn] - (self._sizes[turn] - chosen))

    def _before(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many of the assistant's tokens stand before each of ``positions``."""
        starts, ends = self._edges[::2], self._edges[1::2]
        turn = np.searchsorted(ends, positions, side="left")  # the first turn that ends there or later
        done = np.concatenate([[0], self._sizes])[turn]
        inside = positions - np.append(starts, np.iinfo(np.int64).max)[turn]
        return np.asarray(done + np.maximum(inside, 0))


def _edges(tokens: NDArray[Any], assistant: int, ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where turns of the assistant begin and end (one past the last token), in turn, rising."""
    found = [np.empty((0, 2), np.int64)]
    for start in range(0, len(tokens), _BLOCK):
        block = np.asarray(tokens[start : start + _BLOCK])
        places = np.flatnonzero(np.isin(block, ends))
        found.append(np.stack([places + start, block[places] == assistant], axis=1).astype(np.int64))
    marks = np.concatenate(found)
    opens = marks[:, 1].astype(np.bool_)
    if not opens.any():
        return np.empty(0, np.int64)
    # A mark changes the state where the mark before it said otherwise; before the first nobody speaks.
    changes = np.flatnonzero(np.diff(opens, prepend=False))
    edges = marks[changes, 0] + 1
    edges = edges if len(edges) % 2 == 0 else np.append(edges, len(tokens))
    return edges if edges[-1] > edges[-2] else edges[:-2]  # a role token at the very end opens nothing
