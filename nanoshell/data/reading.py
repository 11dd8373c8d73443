"""Documents out of files: text in parts, JSON lines, token ids in blocks. Nothing is held whole but one line.

Text is UTF-8; a byte order mark at the start is dropped. Line endings are kept as they are: what the file
holds is what the model learns, so a file with CRLF teaches CRLF.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from nanoshell.data.shapes import document_of
from nanoshell.data.source import Document
from nanoshell.errors import DataError

_PART_BYTES = 1 << 20
_BLOCK = 1 << 20


def read_documents(path: Path, label: str) -> Iterator[Document]:
    """Yield the documents of the file ``path``, which messages call ``label``. Raises `DataError`.

    The suffix of ``label`` says what it holds: a document a line in a ``.jsonl``, ids in a ``.bin``, else
    one text.
    """
    suffix = PurePosixPath(label).suffix.lower()
    readers = {".jsonl": read_lines, ".bin": read_ids}
    try:
        yield from readers.get(suffix, read_text)(path, label)
    except OSError as error:
        raise DataError(
            f"cannot read {label}: {error.strerror or error}", hint="check the file and your permissions"
        ) from error


def read_text(path: Path, label: str) -> Iterator[Document]:
    """Yield the text of ``path`` as one document, in parts of about a megabyte."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    position = 0
    previous: str | None = None
    with path.open("rb") as file:
        while True:
            data = file.read(_PART_BYTES)
            pending = len(decoder.getstate()[0])
            try:
                text = decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                offset = position - pending + error.start
                raise not_utf8(label, offset, error.object[error.start], _head(path)) from error
            if position == 0:
                text = text.removeprefix("\ufeff")
            position += len(data)
            if text or not data:
                if previous is not None:
                    yield Document(text=previous, origin=label, continues=bool(text))
                previous = text
            if not data:
                break


def read_lines(path: Path, label: str) -> Iterator[Document]:
    """Yield a document for each line of ``path`` that holds something."""
    position = 0
    with path.open("rb") as file:
        for number, data in enumerate(file, 1):
            origin = f"{label}:{number}"
            try:
                line = data.decode("utf-8").removeprefix("\ufeff" if number == 1 else "").strip()
            except UnicodeDecodeError as error:
                raise not_utf8(origin, position + error.start, data[error.start], _head(path)) from error
            position += len(data)
            if line:
                yield document_of(_parse(line, origin), origin)


def read_ids(path: Path, label: str) -> Iterator[Document]:
    """Yield the ids of ``path`` in blocks."""
    import numpy as np

    from nanoshell.data.tokens import open_tokens

    tokens = open_tokens(path)
    for start in range(0, len(tokens), _BLOCK):
        origin = f"{label}, from token {start:,}"
        yield Document(ids=np.array(tokens[start : start + _BLOCK]), origin=origin, continues=True)


def not_utf8(where: str, offset: int, byte: int, head: bytes) -> DataError:
    """Return the error for a ``byte`` that is no part of UTF-8 text; ``head`` is how the file begins."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        hint = "it looks like UTF-16: convert it with `iconv -f UTF-16 -t UTF-8 FILE > NEW`"
    elif b"\0" in head:
        hint = "it looks like no text at all; name the text files one by one, or move this one away"
    else:
        hint = "convert it, from Latin-1 for example with `iconv -f LATIN1 -t UTF-8 FILE > NEW`"
    return DataError(f"{where} is not UTF-8 text: byte 0x{byte:02x} at offset {offset:,}", hint=hint)


def _parse(line: str, origin: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError):
            reason = f"{error.msg} (column {error.colno})"
        else:
            reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        hint = "each line holds one JSON object; correct or remove this line"
        if line[0] == "[" or line == "{":
            hint = "it looks like one JSON document over many lines: `jq -c '.[]' FILE > NEW`"
        raise DataError(f"{origin}: broken JSON: {reason}", hint=hint) from error


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(512)
