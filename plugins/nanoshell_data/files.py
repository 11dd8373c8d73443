"""The source ``file``: a file, a folder, or a glob; and what every source made of files has in common."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nanoshell import (
    DataError,
    Document,
    MissingDataError,
    SourceInfo,
    nearest,
    open_tokens,
    read_documents,
)
from nanoshell_data.selection import SUFFIXES, TOKEN_SUFFIX, WHAT_IS_READ, select, suffix_of, unknown_suffix

_HASHED_BYTES = 16 << 20


@dataclass(frozen=True)
class DataFile:
    """A file on this machine, and what messages call it."""

    path: Path
    label: str


class FileSource:
    """Documents out of ``files``, in their order."""

    def __init__(self, spec: str, kind: str, files: Sequence[DataFile], notes: Sequence[str] = ()) -> None:
        self.spec = spec
        self._kind = kind
        self._files = tuple(files)
        self._notes = tuple(notes)

    def info(self) -> SourceInfo:
        return SourceInfo(
            spec=self.spec,
            kind=self._kind,
            summary=_summary([file.label for file in self._files]),
            files=tuple(file.label for file in self._files),
            num_bytes=sum(_stat(file).st_size for file in self._files),
            notes=self._notes,
        )

    def fingerprint(self) -> str:
        """Return a hash of the contents; beyond 16 MiB, of where the files are and when they changed."""
        digest = hashlib.sha256()
        stats = [_stat(file) for file in self._files]
        hashed = sum(stat.st_size for stat in stats) <= _HASHED_BYTES
        for file, stat in zip(self._files, stats, strict=True):
            digest.update(f"{suffix_of(file.label)}\0{stat.st_size}\0".encode())
            if hashed:
                digest.update(_read(file))
            else:
                facts = (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev)
                digest.update(f"{file.path.resolve()}\0{facts}\0".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def token_file(self) -> Path | None:
        if len(self._files) == 1 and suffix_of(self._files[0].label) == TOKEN_SUFFIX:
            return self._files[0].path
        return None

    def documents(self) -> Iterator[Document]:
        for file in self._files:
            yield from read_documents(file.path, file.label)


def open_path(rest: str) -> FileSource:
    """Return the source for a file, a folder (with its folders) or a glob. Raises `DataError`."""
    if not rest:
        raise DataError("no file is named", hint="for example: file:notes.txt, or just notes.txt")
    # A bare word could be the name of another source, when the spec is read again.
    spec = rest if any(mark in rest for mark in "/\\.*?[~") else f"./{rest}"
    try:
        path = Path(rest).expanduser()
        if path.is_dir():
            found = select(_walk(path), rest)
            return _source(spec, "folder", found.names, found.notes)
        if path.is_file():
            return _open_file(spec, rest, path)
        if path.exists():
            raise DataError(f"{rest} is no file and no folder", hint=f"nanoshell reads {WHAT_IS_READ}")
        if glob.has_magic(rest):
            return _open_glob(spec, str(path))
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"cannot read {rest}: {reason}", hint="check the path and your permissions"
        ) from error
    raise missing(path)


def missing(path: Path) -> MissingDataError:
    """Return the error for a ``path`` that does not exist, with the nearest name beside it."""
    absent, folder = path, path.parent
    while not folder.is_dir() and folder != folder.parent:
        absent, folder = folder, folder.parent
    siblings = sorted(entry.name for entry in folder.iterdir()) if os.access(folder, os.R_OK) else []
    match = nearest(absent.name, siblings)
    reason = "" if absent == path else f" (there is no {absent})"
    suggestion = f"; did you mean '{folder / match}'?" if match else ""
    data = [name for name in siblings if suffix_of(name) in SUFFIXES and not name.startswith(".")]
    listed = ", ".join(data[:8]) + (" …" if len(data) > 8 else "")
    return MissingDataError(
        f"no such file or folder: {path}{reason}{suggestion}",
        hint=f"{folder.resolve()} holds {listed or 'no data files'}",
    )


def _open_file(spec: str, rest: str, path: Path) -> FileSource:
    suffix = suffix_of(path.name)
    if suffix not in SUFFIXES:
        raise unknown_suffix(rest)
    with path.open("rb") as file:
        file.read(1)
    if suffix == TOKEN_SUFFIX:
        open_tokens(path)
    return FileSource(spec, "tokens" if suffix == TOKEN_SUFFIX else "file", [DataFile(path, rest)])


def _open_glob(spec: str, pattern: str) -> FileSource:
    matches = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute one
    if not matches:
        raise MissingDataError(f"no file matches {pattern}", hint=f"nanoshell reads {WHAT_IS_READ}")
    names: list[str] = []
    for match in matches:
        names += _walk(Path(match)) if Path(match).is_dir() else [match]
    found = select(sorted(set(names)), pattern)
    return _source(spec, "glob", found.names, found.notes)


def _source(spec: str, kind: str, names: Sequence[str], notes: Sequence[str]) -> FileSource:
    files = [DataFile(Path(name), name) for name in names]
    if len(files) == 1 and suffix_of(names[0]) == TOKEN_SUFFIX:
        open_tokens(files[0].path)
    return FileSource(spec, kind, files, notes)


def _walk(folder: Path) -> list[str]:
    """Return the files under ``folder``, without hidden ones, and without following links to folders."""

    def refuse(error: OSError) -> None:
        raise error

    found: list[str] = []
    for root, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(root, name) for name in names if not name.startswith("."))
        found += [str(path) for path in paths if path.is_file()]
    return found


def _stat(file: DataFile) -> os.stat_result:
    try:
        return file.path.stat()
    except OSError as error:
        raise DataError(f"cannot read {file.label}: {error.strerror}", hint="was it moved away?") from error


def _read(file: DataFile) -> bytes:
    try:
        return file.path.read_bytes()
    except OSError as error:
        raise DataError(
            f"cannot read {file.label}: {error.strerror}", hint="check the file and your permissions"
        ) from error


def _summary(labels: Sequence[str]) -> str:
    if len(labels) == 1:
        return labels[0]
    suffixes = sorted({suffix_of(label) for label in labels})
    return f"{len(labels):,} files ({', '.join(suffixes)})"
