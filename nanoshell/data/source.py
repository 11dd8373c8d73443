"""Where documents come from: the contract of a data source, and how a source's name is resolved."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from nanoshell.chat.template import Message
from nanoshell.errors import unknown_name
from nanoshell.plugin.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nanoshell.narrator import Narrator

PATH_SOURCE = "file"
"""The source that takes a whole spec as a path, where no other source's name stands in front."""


@dataclass(frozen=True)
class Document:
    """One document, or a part of one: ``text``, ``messages``, or ready ``ids`` of shape ``(tokens,)``.

    ``origin`` says where it stands ("qa.jsonl:12"). With ``special`` the spellings of special tokens in
    ``text`` are read as those tokens; messages never are. A part that ``continues`` is followed by more of
    the same document, so that a source can hand out a text of any size in parts, cut wherever it likes. Ids
    are taken as they are: their end-of-text ids are theirs to bring.
    """

    text: str = ""
    messages: tuple[Message, ...] = ()
    origin: str = ""
    special: bool = False
    continues: bool = False
    ids: NDArray[np.integer[Any]] | None = None


@dataclass(frozen=True)
class SourceInfo:
    """What a source is, for ``data list`` and ``data info``: sizes in bytes, None where unknown.

    ``notes`` are sentences that a user should read before its documents are used: what is left out, and why.
    """

    spec: str
    kind: str
    summary: str
    files: tuple[str, ...]
    num_bytes: int | None
    notes: tuple[str, ...] = ()


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


@runtime_checkable
class RemoteSource(Protocol):
    """What a source has besides where its documents must be fetched: a chance to show progress meanwhile."""

    def fetch(self, narrator: Narrator) -> None:
        """Bring everything to this machine. Raises `NetworkError`. What is here already costs nothing."""


def open_source(spec: str, sources: Registry[Callable[[str], DataSource]]) -> DataSource:
    """Return the source that ``spec`` names: ``NAME`` or ``NAME:REST`` of a registered one, else a path.

    A file with the name of a source is reached with ``./`` in front. Raises `DataError` where the source
    cannot be opened, and `UnknownNameError` with the nearest name for what is neither a source nor a path.
    """
    name, colon, rest = spec.partition(":")
    if name in sources:
        return sources.get(name)(rest)
    if PATH_SOURCE in sources and _is_path(spec):
        return sources.get(PATH_SOURCE)(spec)
    if name in ("http", "https") and "url" in sources:
        raise unknown_name("data source", name, [], hint=f"write url: in front of an address: url:{spec}")
    choices = sources.names() if colon else [*sources.names(), *_files_here()]
    raise unknown_name("data source or file", name, choices, hint=_known(sources))


def _is_path(spec: str) -> bool:
    """Whether ``spec`` exists as a path, or can only have been meant as one."""
    with contextlib.suppress(OSError, RuntimeError, ValueError):  # a name that no file system would take
        if Path(spec).expanduser().exists():
            return True
    return ":" not in spec and (any(mark in spec for mark in "/\\*?[~") or bool(Path(spec).suffix))


def _files_here() -> list[str]:
    with contextlib.suppress(OSError):
        return [entry.name for entry in Path().iterdir() if not entry.name.startswith(".")]
    return []


def _known(sources: Registry[Callable[[str], DataSource]]) -> str:
    listed = ", ".join(name for name in sources.names() if name != PATH_SOURCE)
    return f"data sources: {listed}; or a path to a .bin, .txt, .md or .jsonl file, a folder, or a glob"
