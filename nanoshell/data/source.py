"""Where documents come from: the contract of a data source, and how a source's name is resolved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nanoshell.chat.template import Message


@dataclass(frozen=True)
class Document:
    """One document: either ``text`` or ``messages``.

    ``origin`` says where it stands ("qa.jsonl:12"). With ``special`` the spellings of special tokens in
    ``text`` are read as those tokens; messages never are.
    """

    text: str = ""
    messages: tuple[Message, ...] = ()
    origin: str = ""
    special: bool = False


@dataclass(frozen=True)
class SourceInfo:
    """What a source is, for ``data list`` and ``data info``: sizes in bytes, None where unknown."""

    spec: str
    kind: str
    summary: str
    files: tuple[str, ...]
    num_bytes: int | None


class DataSource(Protocol):
    """Documents by name. Opening a source is cheap and checks that it exists; reading streams."""

    @property
    def spec(self) -> str:
        """The text by which a user names it: ``nano-start``, ``notes/*.md``, ``hf:owner/name``."""

    def info(self) -> SourceInfo:
        """Return what is known without reading the documents."""

    def fingerprint(self) -> str:
        """Return a string that changes when the documents do (used as the cache key of the corpus)."""

    def token_file(self) -> Path | None:
        """Return a ``.bin`` of ready ids where the source is one, else None."""

    def documents(self) -> Iterator[Document]:
        """Yield the documents one by one. Raises `DataError` naming file and line."""
