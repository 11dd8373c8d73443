"""A text on the internet as a data source."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from nanoshell import (
    Document,
    Download,
    SilentNarrator,
    SourceInfo,
    download,
    find_download,
    probe,
    read_documents,
)

if TYPE_CHECKING:
    from nanoshell import Narrator, Offered


@dataclass(frozen=True)
class Place:
    """Where a text lies: its ``spec``, addresses (the first, then mirrors), and what messages call it.

    ``clean`` makes the text of a file that holds more than that; it and a pinned ``sha256`` may be absent.
    ``num_bytes`` is known before the file is here only where that is told.
    """

    spec: str
    kind: str
    summary: str
    urls: tuple[str, ...]
    label: str
    sha256: str = ""
    num_bytes: int | None = None
    clean: Callable[[Path, str], str] | None = None


class InternetText:
    """The documents of one `Place`, fetched when they are first needed."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.spec = place.spec

    @cached_property
    def _offered(self) -> Offered | None:
        """What the server says of the file; None where there is no need to ask."""
        known = self.place.num_bytes is not None or self._found() is not None
        return None if known else probe(self.place.urls)

    def check(self) -> InternetText:
        """Return the source itself, once it is sure that its text is here or can be had."""
        _ = self._offered
        return self

    def info(self) -> SourceInfo:
        """Return what is known; its files are the address and, once it is there, the copy in the cache."""
        place, found = self.place, self._found()
        size = found.num_bytes if found else place.num_bytes
        kind = found.content_type if found else ""
        if size is None and (offered := self._offered) is not None:
            size, kind = offered.num_bytes, offered.content_type
        summary, notes = place.summary, []
        if found is not None:
            summary += time.strftime(", fetched on %Y-%m-%d", time.localtime(found.fetched))
        if kind.startswith(("text/html", "application/xhtml")):
            notes.append(f"{place.label} is a web page: its tags are text to a model")
        files = (place.urls[0], *([str(found.path)] if found else []))
        return SourceInfo(self.spec, place.kind, summary, files, size, tuple(notes))

    def fingerprint(self) -> str:
        """Return a hash of what is read, wherever the file lies and whenever it was fetched."""
        clean = self.place.clean.__name__ if self.place.clean else ""
        parts = ["text", self._suffix, clean, self._fetched().sha256]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def token_file(self) -> Path | None:
        return self._fetched().path if self._suffix == ".bin" else None

    def documents(self) -> Iterator[Document]:
        path, place = self._fetched().path, self.place
        if place.clean is None:
            yield from read_documents(path, place.label)
        else:
            yield Document(text=place.clean(path, place.label), origin=place.label)

    def fetch(self, narrator: Narrator) -> None:
        """Bring the text to the cache, where it is not there yet, with a bar for its bytes."""
        place = self.place
        download(place.urls, sha256=place.sha256, label=self.spec, narrator=narrator)

    @property
    def _suffix(self) -> str:
        return PurePosixPath(self.place.label).suffix.lower()

    def _found(self) -> Download | None:
        return find_download(self.place.urls[0], sha256=self.place.sha256)

    def _fetched(self) -> Download:
        found = self._found()
        if found is None:
            self.fetch(SilentNarrator())
            found = self._found()
        assert found is not None
        return found
