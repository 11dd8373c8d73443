"""Files from the public internet, each fetched once: whole or absent, checked, and kept in the cache.

A transfer that breaks off goes on where it was, as long as the server can do that; what arrives compressed by
gzip is kept as plain bytes. A file that is in the cache is used from there, without asking anybody: remove it
to have it fetched again. ``NANOSHELL_OFFLINE`` forbids to ask at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

from nanoshell import paths
from nanoshell.data.transfer import Absent, Broken, Connection, Received
from nanoshell.errors import DataError, NanoshellError, NetworkError
from nanoshell.files import atomic_write, sweep_parts, write_text
from nanoshell.narrator import Narrator, SilentNarrator

FORMAT = 1
OFFLINE = "NANOSHELL_OFFLINE"
MAX_BYTES = 4 << 30
"""What a single file may have; larger ones are better fetched by a program made for that."""
ATTEMPTS = 4
"""Attempts that fail one after the other, without a byte between them, before a transfer is given up."""
PAUSE = 1.0
"""Seconds before the second attempt; twice as many before each further one."""
_MOST_ATTEMPTS = 25
_TRUE = {"1", "on", "true", "yes"}
Result = TypeVar("Result")
_SUFFIXES = (".txt", ".md", ".jsonl", ".bin")


@dataclass(frozen=True)
class Download:
    """A file that was fetched: where it lies, its address, SHA-256 and bytes, and when (since the epoch).

    ``served_sha256`` is that of the bytes as they were served, another one where these were compressed.
    """

    path: Path
    url: str
    sha256: str
    served_sha256: str
    num_bytes: int
    fetched: float
    content_type: str = ""


@dataclass(frozen=True)
class Offered:
    """What a server says of a file before it is fetched: its address, bytes (None: unknown), and kind."""

    url: str
    num_bytes: int | None
    content_type: str


def offline_reason(*further: str) -> str:
    """Return which variable forbids to use the network ("NANOSHELL_OFFLINE is set"), "" where none does.

    ``further`` are variables that count beside `OFFLINE`.
    """
    for name in (OFFLINE, *further):
        if os.environ.get(name, "").strip().lower() in _TRUE:
            return f"{name} is set"
    return ""


def checked_url(text: str) -> str:
    """Return ``text`` as an address in plain ASCII. Raises `DataError` for what is no public http(s) address.

    A name and password in it are refused: the names of sources are written down, in run.yaml for example.
    """
    example = "for example https://example.org/notes.txt"
    if any(ord(character) <= 32 or 127 <= ord(character) < 160 for character in text):
        raise DataError(
            f"{text!r} holds a space or a control character: it is no address",
            hint=f"write %20 for a space; {example}",
        )
    try:
        parts = urlsplit(text)
        host = (parts.hostname or "").encode("idna").decode("ascii")
        port = f":{parts.port}" if parts.port is not None else ""
    except (ValueError, UnicodeError) as error:
        raise DataError(f"'{text}' is no address: {error}", hint=example) from error
    if parts.scheme.lower() not in ("http", "https"):
        kind = f"{parts.scheme}: addresses are" if parts.scheme else "an address without https:// in front is"
        raise DataError(f"'{text}': {kind} not read", hint=f"http and https are; {example}")
    if not host:
        raise DataError(f"'{text}' names no host", hint=example)
    if parts.username is not None or parts.password is not None:
        raise DataError(
            f"the address of {host} holds a name or password, and would be written down with them",
            hint="fetch the file by another program, and name the file",
        )
    place = f"[{host}]" if ":" in host else host
    path, query = quote(parts.path, safe="/%:@!$&'()*+,;=~"), quote(parts.query, safe="/%:@!$&'()*+,;=?~")
    return urlunsplit((parts.scheme.lower(), place + port, path or "/", query, ""))


def find_download(url: str, *, sha256: str = "") -> Download | None:
    """Return the file of ``url`` where the cache holds it, and (where given) it was served as ``sha256``.

    One that is pinned by ``sha256`` is read to see that it is still as it was kept.
    """
    folder, name = _place(url)
    try:
        fields = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        if fields.pop("format") != FORMAT:
            return None
        found = Download(**{**fields, "path": folder / PurePosixPath(fields["path"]).name})
        stat = found.path.stat()
        whole = stat.st_size == found.num_bytes
        if whole and sha256:
            stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
            whole = found.served_sha256 == sha256 and _hash(found.path, stamp) == found.sha256
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return found if whole else None


@lru_cache(maxsize=64)
def _hash(path: Path, stamp: tuple[int, ...]) -> str:
    """Return the SHA-256 of ``path``. ``stamp`` tells its states apart: a source asks again and again."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def probe(urls: Sequence[str]) -> Offered:
    """Ask for the first of ``urls`` that is there, without fetching it. Raises as `download` does."""

    def ask(url: str) -> Offered:
        with _connected(url, url) as connection:
            return Offered(url, connection.total, connection.content_type)

    return _first_of(urls, ask)


def download(
    urls: Sequence[str], *, sha256: str = "", label: str = "", narrator: Narrator | None = None
) -> Download:
    """Return the file that lies at the first of ``urls``, from the cache where it is there.

    The others are mirrors, tried in turn. With ``sha256`` a file of other bytes is refused. Progress is shown
    as that of ``label``. Raises `DataError` for a file that is not there, or is another one; `NetworkError`
    where nobody can be reached; `StorageError`. What breaks off, or is refused, leaves nothing behind.
    """
    narrator = narrator or SilentNarrator()
    if (found := find_download(urls[0], sha256=sha256)) is not None:
        return found
    folder, name = _place(urls[0])
    sweep_parts(folder)

    def fetch(url: str) -> Download:
        suffix = PurePosixPath(urlsplit(url).path.removesuffix(".gz")).suffix.lower()
        path = folder / (name + (suffix if suffix in _SUFFIXES else ".txt"))
        return _fetch(url, path, sha256, label or url, narrator)

    fetched = replace(_first_of(urls, fetch), url=urls[0])
    record = {"format": FORMAT, **asdict(fetched), "path": fetched.path.name}
    write_text(folder / f"{name}.json", json.dumps(record), private=True)
    return fetched


def _first_of(urls: Sequence[str], action: Callable[[str], Result]) -> Result:
    """Return what ``action`` returns for the first of ``urls`` for which it does; else raise an error.

    That a file is absent tells more than that another server is out of reach.
    """
    if reason := offline_reason():
        raise NetworkError(
            f"{urls[0]} is not in the cache, and {reason}",
            hint=f"unset {OFFLINE} to fetch it once; from then on it is read from {_place(urls[0])[0]}",
        )
    failures: list[NanoshellError] = []
    for url in urls:
        try:
            return action(url)
        except (DataError, NetworkError) as error:
            failures.append(error)
    raise next((error for error in failures if isinstance(error, DataError)), failures[0])


def _fetch(url: str, path: Path, sha256: str, label: str, narrator: Narrator) -> Download:
    connection = _connected(url, label)
    with (
        connection,
        atomic_write(path, private=True) as file,
        narrator.progress(f"fetching {label}", connection.total, "B") as advance,
    ):
        received = _receive(connection, file, label, advance)
        served, content = received.finish()
        if sha256 and served != sha256:
            raise DataError(
                f"{url} is not the file that was meant: its SHA-256 is {served}, not {sha256}",
                hint="it was changed there, or on the way; look at it before you name it without its hash",
            )
    return Download(
        path=path,
        url=url,
        sha256=content,
        served_sha256=served,
        num_bytes=path.stat().st_size,
        fetched=round(time.time(), 3),
        content_type=connection.content_type,
    )


def _receive(connection: Connection, file: IO[bytes], label: str, advance: Callable[[int], None]) -> Received:
    """Return what has been written to ``file``, all of it, after as many attempts as that takes."""
    received = Received(file, MAX_BYTES, connection.url)
    failed = 0
    for _ in range(_MOST_ATTEMPTS):
        before = received.served_bytes
        try:
            connection.go_on(received.served_bytes, received.restart)
            for block in connection.blocks():
                received.add(block)
                advance(len(block))
            return received
        except Absent as error:
            raise _absent(connection.url, error) from error
        except Broken as error:
            failed = failed + 1 if received.served_bytes == before else 1
            if failed >= ATTEMPTS or error.final:
                raise _unreachable(connection.url, label, error) from error
            time.sleep(PAUSE * 2 ** (failed - 1))
    raise _unreachable(connection.url, label, Broken("the connection broke off again and again"))


def _connected(url: str, label: str) -> Connection:
    """Return a connection whose answer has begun. Raises `DataError`, `NetworkError`."""
    connection = Connection(url)
    for attempt in range(ATTEMPTS):
        try:
            connection.open()
            break
        except Absent as error:
            raise _absent(url, error) from error
        except Broken as error:
            if error.final or attempt + 1 == ATTEMPTS:
                raise _unreachable(url, label, error) from error
            time.sleep(PAUSE * 2**attempt)
    if (connection.total or 0) > MAX_BYTES:
        connection.close()
        raise too_large(url, MAX_BYTES)
    return connection


def too_large(url: str, limit: int) -> DataError:
    """Return the error for a file of more than ``limit`` bytes."""
    return DataError(
        f"{url} is larger than {limit / 2**30:g} GiB",
        hint="fetch it by another program (curl -O), and name the file: such texts stream from the disk",
    )


def _absent(url: str, error: Absent) -> DataError:
    hint = "check the address in a browser"
    if error.status in (401, 403):
        hint = "it is not public; fetch it by another program, and name the file"
    return DataError(f"{url} cannot be had: {error}", hint=hint)


def _unreachable(url: str, label: str, error: Broken) -> NetworkError:
    whence = "" if label.endswith(url) else f" from {urlsplit(url).hostname}"
    return NetworkError(
        f"{label} cannot be fetched{whence}: {error}",
        hint="check the network and try again; what has been fetched once needs none, and neither does the "
        "embedded data: nano-start",
    )


def _place(url: str) -> tuple[Path, str]:
    """Return the folder of downloads, and the name without suffix that a file of ``url`` has there."""
    return paths.cache_dir() / "downloads", hashlib.sha256(url.encode()).hexdigest()[:32]
