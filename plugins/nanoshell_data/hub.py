"""The source ``hf``: dataset repositories of the Hugging Face Hub."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from nanoshell import DataError, Document, SilentNarrator, SourceInfo, nearest
from nanoshell_data.client import Address, Client, Listing
from nanoshell_data.files import DataFile, FileSource
from nanoshell_data.selection import SUFFIXES, Selection, select, suffix_of, unknown_suffix

if TYPE_CHECKING:
    from nanoshell import Narrator

EXAMPLE = "hf:fs90/nano-start-data-bin/combined.bin"
_CARDS = ("readme.md", "license.md", "license.txt", "contributing.md", "changelog.md")
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}")


class HubSource:
    """Files of a dataset repository, at the commit that was found when the source was opened."""

    def __init__(
        self, address: Address, client: Client, listing: Listing, chosen: Selection, notes: tuple[str, ...]
    ) -> None:
        self.spec = address.spec
        self._address = address
        self._client = client
        self._listing = listing
        self._chosen = chosen
        self._notes = notes
        self._files: FileSource | None = None

    def info(self) -> SourceInfo:
        sizes = [self._listing.files[name] for name in self._chosen.names]
        known = [size for size in sizes if size is not None]
        return SourceInfo(
            spec=self.spec,
            kind="hub",
            summary=f"{self._address.repository} at {self._listing.commit[:10]}",
            files=self._chosen.names,
            num_bytes=sum(known) if len(known) == len(sizes) else None,
            notes=self._notes,
        )

    def fingerprint(self) -> str:
        parts = [self._client.endpoint, self._address.repository, self._listing.commit, *self._chosen.names]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def token_file(self) -> Path | None:
        return self._fetched().token_file()

    def documents(self) -> Iterator[Document]:
        yield from self._fetched().documents()

    def fetch(self, narrator: Narrator) -> None:
        """Bring the files to the cache, where they are not there yet, with one bar for their bytes."""
        total = self.info().num_bytes
        with narrator.progress(f"fetching {self.spec}", total, "B") as advance:
            files = []
            for name in self._chosen.names:
                path = self._client.download(self._address, self._listing, name, advance)
                files.append(DataFile(path, f"{self._address.repository}/{name}"))
        self._files = FileSource(self.spec, "hub", files)

    def _fetched(self) -> FileSource:
        if self._files is None:
            self.fetch(SilentNarrator())
        assert self._files is not None
        return self._files


def open_hub(rest: str) -> HubSource:
    """Return the source for ``owner/name[@revision][/path]``; asks the hub what there is, else the cache.

    Raises `DataError` for what is not there, `NetworkError` where neither the hub nor the cache can tell.
    """
    address = parse_address(rest)
    client = Client()
    listing, notes = client.list_files(address)
    chosen = choose(address, tuple(listing.files))
    return HubSource(address, client, listing, chosen, (*notes, *chosen.notes))


def parse_address(rest: str) -> Address:
    """Return the parts of ``owner/name[@revision][/path]``. Raises `DataError`."""
    owner, _, tail = rest.partition("/")
    name, _, path = tail.partition("/")
    name, _, revision = name.partition("@")
    if not (_WORD.fullmatch(owner) and _WORD.fullmatch(name)):
        raise DataError(
            f"'hf:{rest}' names no dataset repository",
            hint=f"hf:owner/name[@revision][/file], such as {EXAMPLE}",
        )
    return Address(f"{owner}/{name}", revision or "main", path.strip("/"))


def choose(address: Address, names: tuple[str, ...]) -> Selection:
    """Return which files of the repository are read. Raises `DataError`, with the nearest name."""
    path = address.path
    if path in names:
        if suffix_of(path) not in SUFFIXES:
            raise unknown_suffix(address.spec)
        return Selection((path,))
    if not path:
        within = [name for name in names if not _is_card(name)]
    elif any(mark in path for mark in "*?["):
        within = [name for name in names if fnmatchcase(name, path)]
    else:
        within = [name for name in names if name.startswith(f"{path}/")]
    if path and not within:
        data = [name for name in names if suffix_of(name) in SUFFIXES]
        match = nearest(path, data)
        listed = ", ".join(data[:8]) + (" …" if len(data) > 8 else "")
        raise DataError(
            f"{address.repository} holds no file '{path}'" + (f"; did you mean '{match}'?" if match else ""),
            hint=f"it holds {listed}" if data else "it holds no file that nanoshell reads",
        )
    return select([name for name in within if not name.startswith(".")], address.spec)


def _is_card(name: str) -> bool:
    """Whether the file tells about the data instead of being data."""
    return PurePosixPath(name).name.lower() in _CARDS
