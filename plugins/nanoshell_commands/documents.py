"""The first documents of a source, as text, as messages, or as the tokens that a model reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nanoshell_commands.layout import cell, turn
from nanoshell_commands.tokens import Piece, Split

if TYPE_CHECKING:
    from rich.text import Text

    from nanoshell import ChatTemplate, DataSource, Document, Screen, Tokenizer

_SHOWN_CHARACTERS = 600
_SHOWN_TOKENS = 120
_KEPT = 20_000
_BLOCK = 4096

Part = tuple[str, bool]
"""A stretch of a text, and whether it is a special token."""


@dataclass(frozen=True)
class MessageLine:
    """A message of a conversation."""

    role: str
    content: str


@dataclass(frozen=True)
class DocumentLine:
    """A document: ``text`` or ``messages``; ``cut`` says that it goes on. ``origin`` is where it stands.

    ``ids`` and ``tokens``, with their texts, are there where tokens were asked for.
    """

    origin: str
    text: str | None
    messages: list[MessageLine] | None
    cut: bool
    ids: list[int] | None = None
    tokens: list[str] | None = None


@dataclass(frozen=True)
class Whole:
    """A document whose parts are joined; ``ids`` are those of a token file. Beyond `_KEPT` it is ``cut``."""

    document: Document
    ids: tuple[int, ...] | None = None
    cut: bool = False


class DocumentView:
    """The first documents of a source: messages under their roles, text as it is; in JSON one line each."""

    def __init__(self, documents: Sequence[Whole], tokenizer: Tokenizer, split: Splitter | None) -> None:
        self._documents = documents
        self._tokenizer = tokenizer
        self._split = split

    def show(self, screen: Screen) -> None:
        for whole in self._documents:
            screen.out.print(cell(whole.document.origin, "nano.quiet"))
            if self._split is not None:
                screen.out.print(self._split(whole, _SHOWN_TOKENS))
            elif whole.document.messages:
                for message in whole.document.messages:
                    screen.out.print(turn(message.role, _shortened(message.content)))
            else:
                screen.out.print(_styled(self._parts(whole), whole.cut))
            screen.out.print()

    def lines(self) -> Iterator[DocumentLine]:
        for whole in self._documents:
            document = whole.document
            messages = [MessageLine(each.role, each.content) for each in document.messages]
            line = DocumentLine(
                document.origin,
                None if messages else "".join(text for text, _ in self._parts(whole)),
                messages or None,
                whole.cut,
            )
            if self._split is not None:
                split = self._split(whole, None)
                line = replace(line, ids=split.ids, tokens=[piece.text for piece in split.tokens])
            yield line

    def document(self) -> None:
        return None

    def _parts(self, whole: Whole) -> list[Part]:
        """Return the text of a document with its special tokens apart."""
        if whole.ids is None:
            return [(whole.document.text, False)]
        special = frozenset(self._tokenizer.special_tokens.values())
        parts: list[Part] = []
        ordinary: list[int] = []
        for token in whole.ids:
            if token in special:
                parts += [(self._tokenizer.decode(ordinary), False), (self._tokenizer.decode([token]), True)]
                ordinary = []
            else:
                ordinary.append(token)
        return [*parts, (self._tokenizer.decode(ordinary), False)]


class Splitter:
    """Makes the tokens of a document, as a corpus has them, into what `tokens` shows."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate, *, special: bool) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._special = special

    def __call__(self, whole: Whole, most: int | None) -> Split:
        """Return the first ``most`` tokens of ``whole``. Raises `DataError`."""
        from nanoshell import encode_document

        tokenizer, document = self._tokenizer, whole.document
        if whole.ids is None:
            special = document.special or self._special
            ids = encode_document(replace(document, special=special), tokenizer, self._template)
            ids = ids[:-1] if whole.cut else ids  # the end of the text is not the end of the document
        else:
            ids = [*whole.ids] if whole.cut else [*whole.ids, tokenizer.end_of_text]
        ids = ids[:most]
        data = [tokenizer.token_bytes(token) for token in ids]
        pieces = [
            Piece(token, part.decode("utf-8", "replace")) for token, part in zip(ids, data, strict=True)
        ]
        text = tokenizer.decode(ids)
        return Split(ids, pieces, text, data, frozenset(tokenizer.special_tokens.values()))


def first_documents(source: DataSource, tokenizer: Tokenizer) -> Iterator[Whole]:
    """Yield the documents of ``source``, whole: parts are joined, and a ``.bin`` is cut at its ends of text.

    Of a document of any size no more is kept than a reader will look at.
    """
    path = source.token_file()
    if path is not None:
        yield from _of_token_file(path, tokenizer)
        return
    text, cut = "", False
    ids: list[int] = []
    for document in source.documents():
        if document.messages:
            yield Whole(document)
            continue
        if document.ids is not None:
            more = document.ids[: _KEPT + 1].tolist()
            ids, cut = (ids + more)[:_KEPT], cut or len(ids) + len(document.ids) > _KEPT
        elif len(text) < _KEPT:
            text += document.text
        if not document.continues:
            cut = cut or len(text) > _KEPT
            yield _joined(document, text[:_KEPT], ids, cut)
            text, ids, cut = "", [], False
    if text or ids:
        yield _joined(document, text[:_KEPT], ids, cut)


def _joined(document: Document, text: str, ids: list[int], cut: bool) -> Whole:
    return Whole(replace(document, text=text, ids=None, continues=False), tuple(ids) if ids else None, cut)


def _of_token_file(path: Path, tokenizer: Tokenizer) -> Iterator[Whole]:
    from nanoshell import Document, open_tokens

    tokens = open_tokens(path, tokenizer)
    ids: list[int] = []
    cut = False
    for start in range(0, len(tokens), _BLOCK):
        for position, token in enumerate(tokens[start : start + _BLOCK].tolist(), start):
            if token == tokenizer.end_of_text:
                yield Whole(Document(origin=f"{path}, up to token {position:,}"), tuple(ids), cut)
                ids, cut = [], False
            elif len(ids) < _KEPT:
                ids.append(token)
            else:
                cut = True
    if ids:
        yield Whole(Document(origin=f"{path}, up to its end"), tuple(ids), True)


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + " …"


def _styled(parts: Sequence[Part], cut: bool) -> Text:
    """Return the beginning of a text, its special tokens in their own style."""
    shown, left = cell(""), _SHOWN_CHARACTERS
    for text, special in parts:
        shown.append_text(cell(text[:left], "nano.special" if special else ""))
        cut = cut or len(text) > left
        left = max(left - len(text), 0)
    return shown.append_text(cell(" …", "nano.quiet")) if cut else shown
