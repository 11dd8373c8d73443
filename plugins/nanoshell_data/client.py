"""The Hugging Face Hub through its own client and its own cache, with and without a network.

The list of a repository's files is kept beside nanoshell's other caches, so that what was fetched once can be
opened again without a network. ``HF_ENDPOINT``, ``HF_HUB_OFFLINE``, ``NANOSHELL_OFFLINE`` and the variables
that place the cache are read when a source is opened: the client itself reads them once, when it is imported.
"""

from __future__ import annotations

import errno
import hashlib
import inspect
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nanoshell import (
    DataError,
    NanoshellError,
    NetworkError,
    StorageError,
    cache_dir,
    offline_reason,
    write_text,
)

DEFAULT_ENDPOINT = "https://huggingface.co"
_TIMEOUT = 10.0
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR}


@dataclass(frozen=True)
class Address:
    """What follows ``hf:``: a repository, a revision of it, and perhaps a file, folder or glob in it."""

    repository: str
    revision: str
    path: str

    @property
    def spec(self) -> str:
        revision = "" if self.revision == "main" else f"@{self.revision}"
        return f"hf:{self.repository}{revision}" + (f"/{self.path}" if self.path else "")


@dataclass(frozen=True)
class Listing:
    """The files of a repository at one commit, with their sizes in bytes (None where unknown)."""

    commit: str
    files: Mapping[str, int | None]


class Client:
    """The hub at one endpoint, and its cache on this machine."""

    def __init__(self) -> None:
        self.endpoint = (os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")
        self.shown_endpoint = re.sub(r"//[^/@]*@", "//", self.endpoint)  # without a name and password
        self.cache = hub_cache()
        self.reason = offline_reason("HF_HUB_OFFLINE")
        self.offline = bool(self.reason)

    def list_files(self, address: Address) -> tuple[Listing, tuple[str, ...]]:
        """Return the files of the repository, and a note where they come from the cache."""
        if not self.offline:
            try:
                listing = self._ask(address)
            except NetworkError as error:
                self.offline, self.reason = True, error.message
            else:
                self._remember(address, listing)
                return listing, ()
        known = self._recall(address) or self._cached_snapshot(address)
        if known is None:
            raise self.unreachable(address)
        return known, (
            f"{self.reason}: {address.repository} is read from the cache, commit {known.commit[:10]}",
        )

    def download(self, address: Address, listing: Listing, name: str, advance: Callable[[int], None]) -> Path:
        """Return where the file ``name`` lies on this machine, fetching it where it is not in the cache."""
        from huggingface_hub import hf_hub_download

        bar = Bar(advance)
        extra: dict[str, Any] = {}
        if "tqdm_class" in inspect.signature(hf_hub_download).parameters:  # not in the oldest clients
            extra["tqdm_class"] = bar
        path = self._call(
            address,
            lambda: hf_hub_download(
                address.repository,
                name,
                repo_type="dataset",
                revision=listing.commit,
                endpoint=self.endpoint,
                cache_dir=self.cache,
                local_files_only=self.offline,
                **extra,
            ),
            name,
        )
        bar.finish(listing.files[name])
        return Path(path)

    def unreachable(self, address: Address, missing: str = "") -> NetworkError:
        """Return the error for a repository (or what is ``missing`` of it) that cannot be had."""
        what = f"{missing} of {address.repository}" if missing else address.repository
        return NetworkError(
            f"{address.spec} cannot be fetched: {self.reason}",
            hint=f"connect, or use the embedded data: nano-start. {what} is not in the cache {self.cache}",
        )

    def _ask(self, address: Address) -> Listing:
        from huggingface_hub import HfApi

        info = self._call(
            address,
            lambda: HfApi(endpoint=self.endpoint, library_name="nanoshell").dataset_info(
                address.repository, revision=address.revision, files_metadata=True, timeout=_TIMEOUT
            ),
        )
        return Listing(
            info.sha or address.revision, {file.rfilename: file.size for file in info.siblings or ()}
        )

    def _call(self, address: Address, request: Callable[[], Any], name: str = "") -> Any:
        """Return what ``request`` returns, with every failure of the client in our words."""
        try:
            return request()
        except Exception as error:
            raise self._explained(address, error, name) from error

    def _explained(self, address: Address, error: Exception, name: str) -> NanoshellError:
        from huggingface_hub import errors

        where = f"{self.shown_endpoint}/datasets/{address.repository}"
        if isinstance(error, errors.GatedRepoError):
            return DataError(
                f"{address.repository} is gated", hint=f"accept its terms at {where}, then set HF_TOKEN"
            )
        if isinstance(error, errors.RevisionNotFoundError):
            return DataError(
                f"{address.repository} has no revision '{address.revision}'", hint=f"see {where}/refs"
            )
        if isinstance(error, errors.LocalEntryNotFoundError):
            self.reason = self.reason or _first_line(error)
            return self.unreachable(address, name)
        if isinstance(error, errors.RepositoryNotFoundError):
            return DataError(
                f"{self.shown_endpoint} has no dataset repository '{address.repository}', or it is private",
                hint="check the spelling; it must be a dataset, not a model; a private one needs HF_TOKEN",
            )
        if isinstance(error, errors.EntryNotFoundError):
            return DataError(f"{address.spec}: {_first_line(error)}", hint="open the source again")
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            return StorageError(
                f"cannot write to the cache {self.cache}: {error.strerror}",
                hint="free some space there, or set HF_HOME to another folder",
            )
        return NetworkError(
            f"{self.shown_endpoint} cannot be reached: {_first_line(error)}",
            hint="check the network; the embedded data needs none: nano-start",
        )

    def _record(self, address: Address) -> Path:
        parts = json.dumps([self.endpoint, address.repository, address.revision])
        return cache_dir() / "hub" / f"{hashlib.sha256(parts.encode()).hexdigest()[:32]}.json"

    def _remember(self, address: Address, listing: Listing) -> None:
        write_text(self._record(address), json.dumps({"format": 1, **asdict(listing)}), private=True)

    def _recall(self, address: Address) -> Listing | None:
        try:
            fields = json.loads(self._record(address).read_text(encoding="utf-8"))
            return Listing(fields["commit"], dict(fields["files"])) if fields["format"] == 1 else None
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def _cached_snapshot(self, address: Address) -> Listing | None:
        """Return the files that another program brought to the hub's cache."""
        from huggingface_hub import snapshot_download

        try:
            folder = snapshot_download(
                address.repository,
                repo_type="dataset",
                revision=address.revision,
                cache_dir=self.cache,
                local_files_only=True,
            )
        except (OSError, ValueError) as error:
            folder = getattr(error, "snapshot_path", "")
        paths = [path for path in Path(folder).rglob("*") if path.is_file()] if folder else []
        files = {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}
        return Listing(Path(folder).name, files) if files else None


def hub_cache() -> Path:
    """Return the folder in which the hub's client keeps what it fetched."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if named:
        return Path(named).expanduser()
    home = os.environ.get("HF_HOME")
    if not home:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "huggingface" / "hub"
    return Path(home).expanduser() / "hub"


class Bar:
    """Stands in for the client's progress bars: tells the narrator about bytes, shows nothing."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance = advance
        self._done = 0
        self.total: int | None = None
        self.n = 0

    def __call__(self, *arguments: object, **options: object) -> Bar:
        """Return the bar that the client builds for a file: always this one."""
        return self

    def update_transfer(self, amount: float | None = 1) -> None:
        """Ignore bytes on the wire, which the client may tell about beside those that it writes."""

    def update(self, amount: float | None = 1) -> None:
        self._done += int(amount or 0)
        if amount and amount > 0:
            self._advance(int(amount))

    def finish(self, size: int | None) -> None:
        """Make up for bytes that were in the cache, or that the client did not tell about."""
        if size is not None and size > self._done:
            self._advance(size - self._done)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *arguments, **options: None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
