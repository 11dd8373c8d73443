"""Writes that are either whole or absent: temporary file, fsync, rename; and system errors in plain words."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from nanoshell.errors import StorageError
from nanoshell.paths import private_folder

_REASONS = {
    errno.ENOSPC: ("the disk is full", "free some space, or choose another folder"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, or choose another folder"),
    errno.EFBIG: (
        "a file may not become that large here (ulimit -f, or the file system)",
        "raise the limit where it is started, or choose another folder",
    ),
    errno.EROFS: ("the file system is read-only", "choose another folder"),
    errno.EACCES: ("permission denied", "choose a folder that you may write to"),
    errno.EPERM: ("permission denied", "choose a folder that you may write to"),
    errno.EEXIST: ("a part of the path is a file, not a folder", "choose another folder"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "choose another folder"),
}

_HERE = -100
"""AT_FDCWD of Linux: relative paths are those of the current folder."""
_EXCHANGE = 2
"""RENAME_EXCHANGE of Linux and RENAME_SWAP of macOS, which happen to be the same number."""


_ABANDONED_SECONDS = 86_400
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def storage_error(path: Path, error: OSError) -> StorageError:
    """Return ``error``, met while writing ``path``, as a message with what to do."""
    reason, hint = _REASONS.get(error.errno or 0, (error.strerror or str(error), ""))
    return StorageError(f"cannot write {path}: {reason}", hint=hint, no_room=error.errno in _NO_ROOM)


@contextlib.contextmanager
def explain_storage(path: Path) -> Iterator[None]:
    """Turn an OSError inside the block into a `StorageError` that names ``path``."""
    try:
        yield
    except OSError as error:
        raise storage_error(path, error) from error


def sync_folder(folder: Path) -> None:
    """Make the renames inside ``folder`` durable, where the platform can."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some file systems refuse fsync on a folder; the rename itself is still atomic
        pass
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Make ``folder``, with those above it, so that a loss of power does not take it away again."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent)


def swap(first: Path, second: Path) -> bool:
    """Exchange two paths in one go, so that neither name is ever without one; False where that cannot be."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(first), os.fsencode(second)
    with contextlib.suppress(AttributeError):  # each system has its own call, or none
        if sys.platform == "darwin":
            return bool(library.renamex_np(*names, _EXCHANGE) == 0)
        return bool(library.renameat2(_HERE, names[0], _HERE, names[1], _EXCHANGE) == 0)
    return False


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "wb", *, private: bool = False) -> Iterator[IO[Any]]:
    """Yield a file that becomes ``path`` when the block ends well, and leaves no trace otherwise.

    ``mode`` is ``"wb"`` or ``"w"`` (UTF-8). A file that is there keeps its permissions; but a ``private`` one
    is 0600, and folders made for it are 0700.
    Raises `StorageError`.
    """
    with explain_storage(path):
        if private:
            private_folder(path.parent)
        else:
            make_folder(path.parent)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        temporary = Path(name)
        try:
            with os.fdopen(handle, mode, encoding=None if "b" in mode else "utf-8") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if not private:
                temporary.chmod(_permissions(path))
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def _permissions(path: Path) -> int:
    """Return the permissions of the file ``path``, those of a new one where it is not there."""
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mode & 0o7777
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def sweep_parts(folder: Path) -> None:
    """Remove what a killed process left half-written in ``folder``, and nobody has gone on with for a day."""
    for part in [*folder.glob(".*.part"), *folder.glob(".*.journal")]:
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > _ABANDONED_SECONDS:
                part.unlink()


def write_text(path: Path, text: str, *, private: bool = False) -> None:
    """Write ``text`` to ``path`` as UTF-8, whole or not at all. Raises `StorageError`."""
    with atomic_write(path, "w", private=private) as file:
        file.write(text)
