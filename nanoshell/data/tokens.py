"""The token file: unsigned 32-bit little-endian ids without a header; streamed out, read through a map.

The format is the seed family's ``.bin``. Nothing here holds a file in memory: a scan takes it in blocks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoshell.errors import DataError
from nanoshell.spelling import typed
from nanoshell.tokenizer.base import Tokenizer

TOKEN_BYTES = 4
TOKEN_DTYPE = np.dtype("<u4")
_BLOCK = 1 << 20
_LARGEST_SENSIBLE_ID = 1 << 26

Ids = Sequence[int] | NDArray[np.integer[Any]]


@dataclass(frozen=True)
class TokenStats:
    """What a scan found: tokens, documents (stretches up to an end-of-text id), ids, and the file's hash."""

    num_tokens: int
    num_documents: int
    distinct_ids: int
    largest_id: int
    sha256: str


def open_tokens(path: Path, tokenizer: Tokenizer | None = None) -> np.memmap[Any, np.dtype[np.uint32]]:
    """Return the ids of ``path`` as a read-only map of shape ``(tokens,)``; they are not looked at.

    ``tokenizer`` is only named in messages. Raises `DataError` for a file that is missing, unreadable, empty
    or of a size that is no multiple of four bytes.
    """
    whose = f" of {tokenizer.name}" if tokenizer is not None else ""
    hint = f"a .bin holds 32-bit little-endian ids{whose} and nothing else; {typed('tokenize')} writes one"
    try:
        size = path.stat().st_size
        if size == 0:
            raise DataError(f"{path} is empty: it holds no tokens", hint=hint)
        if size % TOKEN_BYTES:
            raise DataError(
                f"{path} has {size:,} bytes, no multiple of {TOKEN_BYTES}: it is cut off or no token file",
                hint=hint,
            )
        return np.memmap(path, dtype=TOKEN_DTYPE, mode="r")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}", hint=hint) from error


def check_tokens(
    path: Path,
    tokenizer: Tokenizer,
    vocab_size: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> TokenStats:
    """Read all of ``path`` once, check every id, and return what it holds.

    ``vocab_size`` is a model's, where that may be smaller than the tokenizer's; ``progress`` is told bytes.
    Raises `DataError` naming the first id that stands for no token, and its position (in tokens, from 0).
    """
    tokens = open_tokens(path, tokenizer)
    counter = TokenCounter(tokenizer.end_of_text)
    digest = hashlib.sha256()
    unused = np.array(sorted(tokenizer.unused_ids), dtype=TOKEN_DTYPE)
    limit = min(tokenizer.vocab_size, vocab_size or tokenizer.vocab_size)
    for start, block in _blocks(tokens):
        bad = (block >= limit) | np.isin(block, unused)
        if bad.any():
            position = start + int(bad.argmax())
            raise _bad_id(path, tokens, position, tokenizer, vocab_size)
        counter.add(block)
        digest.update(block.data)
        if progress is not None:
            progress(block.nbytes)
    return counter.stats(digest.hexdigest())


def used_ids(path: Path) -> NDArray[np.int64]:
    """Return the distinct ids of ``path``, sorted, shape ``(distinct,)``. Raises `DataError`."""
    counter = TokenCounter(end_of_text=-1)
    for start, block in _blocks(open_tokens(path)):
        largest = int(block.max())
        if largest >= _LARGEST_SENSIBLE_ID:
            raise DataError(
                f"{path}: id {largest:,}, position {start + int(block.argmax()):,} is beyond any vocabulary",
                hint=f"the file holds no 32-bit token ids; tokenize its text again: {typed('tokenize')}",
            )
        counter.add(block)
    return counter.distinct()


class TokenCounter:
    """Counts the tokens, documents and distinct ids of a stream; holds one flag for each possible id."""

    def __init__(self, end_of_text: int) -> None:
        self.num_tokens = 0
        self._ended = 0
        self._end_of_text = end_of_text
        self._last: int | None = None
        self._seen = np.zeros(1 << 17, dtype=np.bool_)

    @property
    def num_documents(self) -> int:
        """Documents so far; a stretch at the end without an end-of-text id is one too."""
        open_end = self._last is not None and self._last != self._end_of_text
        return self._ended + int(open_end)

    def add(self, ids: NDArray[np.uint32]) -> None:
        """Count ``ids``, shape ``(tokens,)``."""
        if len(ids) == 0:
            return
        largest = int(ids.max())
        if largest >= len(self._seen):
            self._seen = np.concatenate([self._seen, np.zeros(largest + 1 - len(self._seen), np.bool_)])
        self._seen[ids] = True
        self._ended += int(np.count_nonzero(ids == self._end_of_text))
        self._last = int(ids[-1])
        self.num_tokens += len(ids)

    def distinct(self) -> NDArray[np.int64]:
        """Return the ids seen, sorted, shape ``(distinct,)``."""
        return np.flatnonzero(self._seen).astype(np.int64)

    def stats(self, sha256: str) -> TokenStats:
        """Return the counts, beside the hash of the bytes that the caller computed."""
        distinct = self.distinct()
        largest = int(distinct[-1]) if len(distinct) else -1
        return TokenStats(self.num_tokens, self.num_documents, len(distinct), largest, sha256)


def _blocks(tokens: np.memmap[Any, np.dtype[np.uint32]]) -> Iterator[tuple[int, NDArray[np.uint32]]]:
    """Yield (position, ids) in blocks that are copies, so that the pages behind them can go."""
    for start in range(0, len(tokens), _BLOCK):
        yield start, np.array(tokens[start : start + _BLOCK])


def _bad_id(
    path: Path,
    tokens: NDArray[np.uint32],
    position: int,
    tokenizer: Tokenizer,
    vocab_size: int | None,
) -> DataError:
    token_id = int(tokens[position])
    where = f"{path}: id {token_id:,} at position {position:,} (byte {position * TOKEN_BYTES:,})"
    if token_id in tokenizer.unused_ids:
        return DataError(
            f"{where} stands for no token of {tokenizer.name}",
            hint=f"the file was written for another vocabulary; tokenize its text again: {typed('tokenize')}",
        )
    if token_id < tokenizer.vocab_size:
        return DataError(
            f"{where} is beyond the model's vocabulary of {vocab_size:,}",
            hint=f"set model.vocab_size to {tokenizer.vocab_size:,}, the vocabulary of {tokenizer.name}",
        )
    hint = f"tokenize the text again, for {tokenizer.name}: {typed('tokenize')}"
    if _looks_16_bit(tokens):
        hint = f"it looks like a file of 16-bit ids, as nanoGPT writes them for GPT-2; {hint}"
    return DataError(
        f"{where} is beyond the vocabulary of {tokenizer.name} ({tokenizer.vocab_size:,})", hint=hint
    )


def _looks_16_bit(tokens: NDArray[np.uint32]) -> bool:
    """Whether the first ids are pairs of GPT-2's: the upper halves are then ids, where ours are 0 or 1."""
    halves = np.array(tokens[:4096]).view("<u2")
    return bool((halves <= 50_256).all() and np.median(halves[1::2]) > 1)
