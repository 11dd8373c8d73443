"""The source ``gutenberg``: books of Project Gutenberg by their numbers, their text alone."""

from __future__ import annotations

import os
import re
from pathlib import Path

from nanoshell import DataError, checked_url
from nanoshell_text.source import InternetText, Place

MIRRORS = (
    "https://www.gutenberg.org",
    "https://gutenberg.pglaf.org",
    "https://aleph.pglaf.org",
)
MIRROR_VARIABLE = "GUTENBERG_MIRROR"
_LARGEST_NUMBER = 9_999_999
_BEGIN = re.compile(
    r"^[ \t]*\*{3} ?START OF (?:THE|THIS) PROJECT GUTENBERG E(?:BOOK|TEXT)\b[^*]{0,400}\*{3}.*$"
    r"|^\*END\*? ?THE SMALL PRINT!.*$",
    re.MULTILINE | re.IGNORECASE,
)
_END = re.compile(
    r"^[ \t]*(?:\*{3} ?END OF (?:THE|THIS) PROJECT GUTENBERG E(?:BOOK|TEXT)\b"
    r"|End of (?:the |this )?Project Gutenberg(?:'s|’s)?\b)",
    re.MULTILINE | re.IGNORECASE,
)


def book(rest: str) -> InternetText:
    """Return the book with the number ``rest``, asking whether it is there unless it is in the cache.

    Raises `DataError` for what is no number, or not that of a book in plain text; `NetworkError`.
    """
    if not rest.isascii() or not rest.isdecimal() or not 0 < int(rest) <= _LARGEST_NUMBER:
        raise DataError(
            f"'{rest}' is no number of a book" if rest else "which book? Its number is missing",
            hint="it stands in the book's address: gutenberg.org/ebooks/11 is gutenberg:11",
        )
    number = str(int(rest))
    return InternetText(
        Place(
            spec=f"gutenberg:{number}",
            kind="internet",
            summary=f"book {number} of Project Gutenberg",
            urls=addresses(number),
            label=f"gutenberg/{number}.txt",
            clean=text_of_book,
        )
    ).check()


def addresses(number: str) -> tuple[str, ...]:
    """Return where the plain text of a book may lie, in UTF-8: each mirror's newest form, then the older."""
    named = os.environ.get(MIRROR_VARIABLE, "").rstrip("/")
    mirrors = (checked_url(named).rstrip("/"),) if named else MIRRORS
    newest = [f"{mirror}/cache/epub/{number}/pg{number}.txt" for mirror in mirrors]
    return (*newest, f"{mirrors[0]}/files/{number}/{number}-0.txt")


def text_of_book(path: Path, label: str) -> str:
    """Return the text of the file ``path`` between its markers, its lines ended by a newline alone.

    Without markers it is the whole file. Raises `DataError` where it is no UTF-8, and where nothing stands
    between the markers.
    """
    try:
        whole = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{label} is not UTF-8 text: byte 0x{error.object[error.start]:02x} at offset {error.start:,}",
            hint="fetch another form of the book by hand, convert it, and name the file",
        ) from error
    text = whole.replace("\r\n", "\n").replace("\r", "\n")
    end = _END.search(text)
    stop = end.start() if end else len(text)
    # Some old books have the small print, and the line that ends it, behind their text.
    begin = max((match.end() for match in _BEGIN.finditer(text, 0, stop)), default=0)
    book = text[begin:stop].strip("\n")
    if not book.strip():
        raise DataError(
            f"{label} has no text between the markers of Project Gutenberg",
            hint="look at the book in a browser, take its text by hand, and name the file",
        )
    return book + "\n"
