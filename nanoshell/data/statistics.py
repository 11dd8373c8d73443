"""What a token file holds, counted in one pass and constant memory: lengths of documents, tokens, roles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nanoshell.chat.template import ROLES
from nanoshell.data.tokens import open_tokens
from nanoshell.tokenizer.base import Tokenizer

_BLOCK = 1 << 20
_EXACT_LENGTHS = 1 << 16
_BINS = 1 << np.arange(40, dtype=np.int64)
"""Bin 0 holds the empty documents, bin n those of 2^(n - 1) to 2^n - 1 tokens."""


@dataclass(frozen=True)
class TokenCount:
    """A token, its text (bytes that are no whole character show as U+FFFD), and how often it occurs."""

    id: int
    text: str
    count: int
    share: float


@dataclass(frozen=True)
class LengthBin:
    """How many documents have ``first`` to ``last`` tokens."""

    first: int
    last: int
    documents: int


@dataclass(frozen=True)
class Lengths:
    """The lengths of documents in tokens, their end-of-text id not counted.

    ``median`` is None where it is beyond 65,535; ``histogram`` goes by powers of two, from the shortest.
    """

    shortest: int
    median: float | None
    mean: float
    longest: int
    histogram: tuple[LengthBin, ...]


@dataclass(frozen=True)
class RoleCount:
    """How many messages a role has, and how many tokens they are without their role token."""

    role: str
    messages: int
    tokens: int


@dataclass(frozen=True)
class CorpusStatistics:
    """What a token file holds.

    A document ends with the end-of-text id, and so does each turn of the assistant: a conversation of three
    replies counts as three. Characters and bytes are those of the text, without special tokens;
    ``vocabulary`` is how many ids stand for a token at all.
    """

    tokens: int
    documents: int
    distinct_ids: int
    vocabulary: int
    text_bytes: int
    characters: int
    bytes_per_token: float | None
    characters_per_token: float | None
    special_tokens: int
    lengths: Lengths
    commonest: tuple[TokenCount, ...]
    roles: tuple[RoleCount, ...]


def corpus_statistics(
    path: Path, tokenizer: Tokenizer, *, top: int = 10, progress: Callable[[int], None] | None = None
) -> CorpusStatistics:
    """Return what the checked token file ``path`` holds, with its ``top`` commonest tokens.

    ``progress`` is told the bytes read. Raises `DataError` where the file cannot be read.
    """
    tokens = open_tokens(path, tokenizer)
    counts = np.zeros(tokenizer.vocab_size, dtype=np.int64)
    lengths, roles = _Lengths(tokenizer.end_of_text), _Roles(tokenizer)
    for start in range(0, len(tokens), _BLOCK):
        block = np.array(tokens[start : start + _BLOCK]).astype(np.int64)
        counts += np.bincount(block, minlength=len(counts))
        lengths.add(block)
        roles.add(block)
        if progress is not None:
            progress(len(block) * tokens.dtype.itemsize)
    used = np.flatnonzero(counts)
    special = set(tokenizer.special_tokens.values())
    ordinary = [(int(counts[i]), tokenizer.token_bytes(i)) for i in used.tolist() if i not in special]
    num_ordinary = sum(count for count, _ in ordinary)
    num_bytes = sum(count * len(piece) for count, piece in ordinary)
    characters = sum(count * _characters(piece) for count, piece in ordinary)
    return CorpusStatistics(
        tokens=len(tokens),
        documents=lengths.documents(),
        distinct_ids=len(used),
        vocabulary=tokenizer.vocab_size - len(tokenizer.unused_ids),
        text_bytes=num_bytes,
        characters=characters,
        bytes_per_token=num_bytes / num_ordinary if num_ordinary else None,
        characters_per_token=characters / num_ordinary if num_ordinary else None,
        special_tokens=len(tokens) - num_ordinary,
        lengths=lengths.figures(),
        commonest=_commonest(counts, tokenizer, top),
        roles=roles.figures(),
    )


def _commonest(counts: NDArray[np.int64], tokenizer: Tokenizer, top: int) -> tuple[TokenCount, ...]:
    """Return the ids that occur most, of equal ones the smaller first."""
    order = np.lexsort((np.arange(len(counts)), -counts))[:top]
    total = max(int(counts.sum()), 1)
    return tuple(
        TokenCount(
            index,
            tokenizer.token_bytes(index).decode("utf-8", "replace"),
            int(counts[index]),
            int(counts[index]) / total,
        )
        for index in order.tolist()
        if counts[index]
    )


def _characters(piece: bytes) -> int:
    """Return how many characters of UTF-8 begin in ``piece``: over all tokens of a text, all of them."""
    return sum(byte & 0xC0 != 0x80 for byte in piece)


class _Lengths:
    """The lengths of the documents of a stream of ids."""

    def __init__(self, end_of_text: int) -> None:
        self._end = end_of_text
        self._open: int | None = None
        self._exact = np.zeros(_EXACT_LENGTHS, dtype=np.int64)
        self._bins = np.zeros(len(_BINS) + 1, dtype=np.int64)
        self._total = 0
        self._shortest, self._longest = np.iinfo(np.int64).max, 0

    def add(self, ids: NDArray[np.int64]) -> None:
        """Take further ids, shape ``(tokens,)``."""
        ends = np.flatnonzero(ids == self._end)
        if len(ends):
            found = np.diff(ends, prepend=-1) - 1
            found[0] += self._open or 0
            self._count(found)
            self._open = None
        left = len(ids) - (int(ends[-1]) + 1 if len(ends) else 0)
        if left:
            self._open = (self._open or 0) + left

    def _count(self, found: NDArray[np.int64]) -> None:
        self._exact += np.bincount(np.minimum(found, _EXACT_LENGTHS - 1), minlength=_EXACT_LENGTHS)
        self._bins += np.bincount(np.searchsorted(_BINS, found, side="right"), minlength=len(self._bins))
        self._total += int(found.sum())
        self._shortest = min(self._shortest, int(found.min()))
        self._longest = max(self._longest, int(found.max()))

    def documents(self) -> int:
        """Return the number of documents; a stretch at the end without an end-of-text id is one too."""
        self._close()
        return int(self._bins.sum())

    def figures(self) -> Lengths:
        """Return what is known of the lengths, all zero where there is no document."""
        self._close()
        count = int(self._bins.sum())
        if not count:
            return Lengths(0, None, 0.0, 0, ())
        bins = np.flatnonzero(self._bins)
        histogram = tuple(
            LengthBin(int(_BINS[n - 1]) if n else 0, int(_BINS[n]) - 1, int(self._bins[n]))
            for n in range(int(bins[0]), int(bins[-1]) + 1)
        )
        return Lengths(self._shortest, self._median(count), self._total / count, self._longest, histogram)

    def _close(self) -> None:
        if self._open is not None:
            self._count(np.array([self._open], dtype=np.int64))
            self._open = None

    def _median(self, count: int) -> float | None:
        below = np.cumsum(self._exact)
        middle = [int(np.searchsorted(below, rank, side="right")) for rank in ((count - 1) // 2, count // 2)]
        return None if middle[1] >= _EXACT_LENGTHS - 1 else sum(middle) / 2


class _Roles:
    """The messages of a stream of ids, by role: from a role's token to the next one, or to an end of text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        spelled = {role: tokenizer.special_tokens.get(f"<|{role}|>") for role in ROLES}
        self._ids = {role: index for role, index in spelled.items() if index is not None}
        self._marks = np.array(sorted({*self._ids.values(), tokenizer.end_of_text}), dtype=np.int64)
        self._speaking = tokenizer.end_of_text
        self._messages = dict.fromkeys(self._marks.tolist(), 0)
        self._tokens = dict.fromkeys(self._marks.tolist(), 0)

    def add(self, ids: NDArray[np.int64]) -> None:
        """Take further ids, shape ``(tokens,)``."""
        places = np.flatnonzero(np.isin(ids, self._marks))
        spoken = np.diff(np.concatenate([[-1], places, [len(ids)]])) - 1
        who = np.concatenate([[self._speaking], ids[places]])
        for mark in self._marks.tolist():
            self._tokens[mark] += int(spoken[who == mark].sum())
            self._messages[mark] += int(np.count_nonzero(who[1:] == mark))
        self._speaking = int(who[-1])

    def figures(self) -> tuple[RoleCount, ...]:
        """Return the roles that have a message."""
        return tuple(
            RoleCount(role, self._messages[index], self._tokens[index])
            for role, index in self._ids.items()
            if self._messages[index]
        )
