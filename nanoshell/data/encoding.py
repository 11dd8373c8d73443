"""From documents to ids: long texts cut where it changes nothing, many documents at once, in order.

Where a text is cut. Byte pair encoding works inside the pieces that a tokenizer's pattern finds, so a cut
between two pieces leaves the ids as they are. The cuts, first choice first:

1. between a letter or digit and the white space, or the ideographic stop, that follows it: a cut between
   pieces for every pattern of the GPT family;
2. after a newline that something other than white space follows: the same for cl100k_base and those like it;
3. where 4 million characters hold neither, anywhere: there a few ids may differ from the whole text's.

The spellings of special tokens hold no white space, so the first two never cut one in two.
"""

from __future__ import annotations

import itertools
import os
import random
import re
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nanoshell.chat.template import ChatTemplate
from nanoshell.data.source import Document
from nanoshell.data.tokens import TOKEN_DTYPE
from nanoshell.errors import DataError, NanoshellError
from nanoshell.spelling import typed
from nanoshell.tokenizer.base import Tokenizer
from nanoshell.tokenizer.char import UnknownCharacterError

PIECE = 1 << 18
"""Characters that are encoded at once: enough to keep a thread busy, little enough to hold many."""

_LONGEST = 1 << 22
_SEARCHED = 1 << 14
_WORD_END = re.compile(r"(?<=[^\W_])(?=[\s\u3001\u3002\uff01\uff0c\uff0e\uff1f])")
_LINE_END = re.compile(r"(?<=\n)(?=\S)")
_PARALLEL_FROM = 2 << 20
_MOST_WORKERS = 16
_HELD_OUT_SEED = 1337

Item = TypeVar("Item")
Result = TypeVar("Result")
Ids = NDArray[np.uint32]


@dataclass(frozen=True)
class Piece:
    """A document, or a part of one cut where it changes nothing; ``ends`` is its last part.

    ``start`` is how many characters of the document come before it.
    """

    document: Document
    ends: bool
    held_out: bool
    num_bytes: int
    start: int = 0


@dataclass(frozen=True)
class Encoded:
    """The ids of some pieces in order, those held out apart, and how many bytes of text they were."""

    train: Ids
    held_out: Ids
    num_bytes: int


def encode_document(document: Document, tokenizer: Tokenizer, template: ChatTemplate) -> list[int]:
    """Return the ids of a whole ``document``, with the end-of-text id that separates it from the next.

    Raises `DataError` that names where the document stands.
    """
    ids: list[int] = encode_piece(Piece(document, True, False, 0), tokenizer, template).tolist()
    return ids


def encode_piece(piece: Piece, tokenizer: Tokenizer, template: ChatTemplate) -> Ids:
    """Return the ids of ``piece``, shape ``(tokens,)``, with the end-of-text id where the document ends."""
    document = piece.document
    if document.ids is not None:
        return _checked(document.ids, document.origin, tokenizer)
    try:
        if document.messages:
            ids = np.array(template.encode(document.messages, tokenizer), dtype=TOKEN_DTYPE)
        elif document.special:
            ids = np.array(tokenizer.encode_special(document.text), dtype=TOKEN_DTYPE)
        else:
            encode = getattr(tokenizer, "encode_array", tokenizer.encode)
            ids = np.asarray(encode(document.text), dtype=TOKEN_DTYPE)
    except NanoshellError as error:
        if isinstance(error, UnknownCharacterError):
            error = error.further_on(piece.start)
        raise DataError(f"{document.origin}: {error.message}", hint=error.hint) from error
    if piece.ends and (not len(ids) or ids[-1] != tokenizer.end_of_text):
        ids = np.append(ids, np.uint32(tokenizer.end_of_text))
    return ids


def encode_all(
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    template: ChatTemplate,
    *,
    special: bool = False,
    val_fraction: float = 0.0,
    workers: int = 1,
    skip: int = 0,
) -> Generator[Encoded, None, None]:
    """Yield the ids of ``documents`` in their order, some pieces at a time; memory stays bounded.

    ``special`` holds for every text. About ``val_fraction`` of the documents are held out, chosen by
    chance but the same every time. With several ``workers`` the tokenizer is called by as many threads. The
    cuts depend on the documents alone; the first ``skip`` results are left without ids.
    """
    empty = np.empty(0, TOKEN_DTYPE)

    def encode(numbered: tuple[int, list[Piece]]) -> Encoded:
        number, batch = numbered
        num_bytes = sum(piece.num_bytes for piece in batch)
        if number < skip:
            return Encoded(empty, empty, num_bytes)
        sides: tuple[list[Ids], list[Ids]] = ([], [])
        for piece in batch:
            sides[piece.held_out].append(encode_piece(piece, tokenizer, template))
        train, held_out = (np.concatenate(side) if side else empty for side in sides)
        return Encoded(train, held_out, num_bytes)

    return _in_order(encode, enumerate(_batches(_pieces(documents, special, val_fraction))), workers)


def choose_workers(requested: int | None, num_bytes: int | None) -> int:
    """Return how many threads pay for ``num_bytes`` of text: one for little, else one for each processor."""
    if requested is not None:
        return max(requested, 1)
    if num_bytes is not None and num_bytes < _PARALLEL_FROM:
        return 1
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, _MOST_WORKERS)


def cut_text(parts: Iterable[str], size: int = PIECE) -> Iterator[str]:
    """Yield the text of ``parts`` in pieces of about ``size`` characters that encode as the whole would."""
    buffer, start = "", 0
    for part in parts:
        buffer, start = buffer[start:] + part, 0
        while len(buffer) - start > size:
            cut = _good_cut(buffer, start, start + size)
            if cut is None and len(buffer) - start > _LONGEST:
                cut = start + _LONGEST
            if cut is None:
                break
            yield buffer[start:cut]
            start = cut
    if start < len(buffer):
        yield buffer[start:]


def _good_cut(text: str, start: int, end: int) -> int | None:
    """Return a good place to cut shortly before ``end``, or failing that after it; None if there is none."""
    for pattern in (_WORD_END, _LINE_END):
        # The character at ``end`` is there, and ``endpos`` would hide it from the look-ahead.
        for first in (end - _SEARCHED, start):
            places = pattern.finditer(text, max(first, start) + 1, end + 1)
            last = deque(places, maxlen=1)
            if last:
                return last[0].start()
    later = [match.start() for pattern in (_WORD_END, _LINE_END) if (match := pattern.search(text, end))]
    return min(later, default=None)


def _pieces(documents: Iterable[Document], special: bool, val_fraction: float) -> Iterator[Piece]:
    chance = random.Random(_HELD_OUT_SEED)
    for parts in _whole_documents(documents):
        held_out = chance.random() < val_fraction
        first = next(parts)
        if first.ids is not None or first.messages:
            for part in itertools.chain([first], parts):
                yield Piece(part, not part.continues, held_out, _size(part))
            continue
        document = replace(first, special=special or first.special, continues=False)
        start = 0
        previous: str | None = None
        for text in cut_text(part.text for part in itertools.chain([first], parts)):
            if previous is not None:
                yield _text_piece(document, previous, start, False, held_out)
                start += len(previous)
            previous = text
        if previous is not None:
            yield _text_piece(document, previous, start, True, held_out)


def _text_piece(document: Document, text: str, start: int, ends: bool, held_out: bool) -> Piece:
    piece = replace(document, text=text)
    return Piece(piece, ends, held_out, _size(piece), start)


def _whole_documents(documents: Iterable[Document]) -> Iterator[Iterator[Document]]:
    """Yield, for each document, an iterator over its parts, which must be used up before the next."""
    stream = iter(documents)
    for first in stream:
        yield _parts(first, stream)


def _parts(first: Document, stream: Iterator[Document]) -> Iterator[Document]:
    part: Document | None = first
    while part is not None:
        yield part
        part = next(stream, None) if part.continues else None


def _size(document: Document) -> int:
    if document.ids is not None:
        return len(document.ids) * TOKEN_DTYPE.itemsize
    texts = [message.content for message in document.messages] or [document.text]
    return sum(len(text) if text.isascii() else len(text.encode("utf-8", "replace")) for text in texts)


def _batches(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Yield pieces together until they hold enough to be worth a thread's while."""
    batch: list[Piece] = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += piece.num_bytes + 64
        if size >= PIECE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _in_order(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Generator[Result, None, None]:
    """Yield ``function`` of each item, in order, computed by ``workers`` threads a little ahead."""
    if workers == 1:
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="tokenize")
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _checked(ids: NDArray[np.integer[Any]], origin: str, tokenizer: Tokenizer) -> Ids:
    unused = np.array(sorted(tokenizer.unused_ids), dtype=np.int64)
    bad = (ids < 0) | (ids >= tokenizer.vocab_size) | np.isin(ids, unused)
    if bad.any():
        position = int(bad.argmax())
        raise DataError(
            f"{origin}: id {int(ids[position]):,}, {position:,} tokens further on, is no token of "
            f"{tokenizer.name}",
            hint=f"tokenize the text again, for {tokenizer.name}: {typed('tokenize')}",
        )
    return np.ascontiguousarray(ids, dtype=TOKEN_DTYPE)
