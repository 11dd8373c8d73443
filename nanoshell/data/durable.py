"""Token files that take long to write: whole or absent, and after a kill the next writer goes on.

The ids go to ``.NAME.part`` beside the file. Now and then everything so far is made durable, and a journal
beside it, ``.NAME.journal``, says how far that is: so many batches, so many bytes, with their hash. A writer
of the same ``key`` takes up what the journal vouches for and cuts off what came after it; for any other key,
and where the bytes are not those of the journal, it starts anew. The result depends on no interruption.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from nanoshell.data.tokens import TOKEN_BYTES, TOKEN_DTYPE, TokenCounter, TokenStats
from nanoshell.errors import DataError, Interrupted
from nanoshell.files import explain_storage, sync_folder, write_text
from nanoshell.paths import private_folder

FORMAT = 1
DURABLE_BYTES = 32 << 20
"""Bytes of text after which a position is made durable, if `DURABLE_SECONDS` have not passed before."""
DURABLE_SECONDS = 2.0
"""What a kill may cost; where a disk is so slow that fsync takes a tenth of that, ten times the fsync."""
_BLOCK_BYTES = 4 << 20
_INTERRUPTS = (KeyboardInterrupt, Interrupted)

Ids = Sequence[int] | NDArray[np.integer[Any]]


@dataclass(frozen=True)
class _Position:
    """After which batch the files are whole: so many bytes in each, with their hashes."""

    batches: int
    sizes: list[int]
    sha256: list[str]


class TokenFiles:
    """Writes ids to ``paths`` as they come; the files appear, whole, when the block ends well.

    ``key`` stands for everything that decides the ids; without one, nothing is ever taken up. When the block
    begins, ``batches`` is how many calls of `append` an earlier writer of that key has left durable: they
    are not to be made again. Nothing is left behind after an error; after an interrupt all whole batches
    stay. A second writer of the same files at the same time works beside the first, in parts of its own.
    ``clock`` counts seconds. Raises `StorageError`.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        end_of_text: int,
        *,
        key: str = "",
        private: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.paths = tuple(paths)
        self.batches = 0
        self._end_of_text = end_of_text
        self._key = key
        self._private = private
        self._journal = paths[0].with_name(f".{paths[0].name}.journal")
        self._parts = [path.with_name(f".{path.name}.part") for path in paths]
        self._files: list[IO[bytes]] = []
        self._start_anew()
        self._undurable = 0
        self._clock = clock
        self._due = 0.0
        self._whole = self._journaled = self._position()

    def __enter__(self) -> Self:
        with explain_storage(self.paths[0]):
            for path in self.paths:
                if self._private:
                    private_folder(path.parent)
                else:
                    path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
            try:
                self._take_up()
            except BaseException:
                self._close()
                raise
        self._whole = self._journaled = self._position()
        self._due = self._clock() + DURABLE_SECONDS
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._finish()
            elif isinstance(error, _INTERRUPTS):
                self.keep()
        except BaseException as late:
            error = late
            raise
        finally:
            self._close()
            if not (isinstance(error, _INTERRUPTS) and self.durable):
                for path in (*self._parts, self._journal):
                    path.unlink(missing_ok=True)

    def append(self, sides: Sequence[Ids], num_bytes: int = 0) -> None:
        """Append a batch, the ids of each file, made from ``num_bytes`` of text.

        Ids have one axis of ints from 0 to 2**32 - 1. Raises `DataError` for any other.
        """
        if not self._files:
            raise ValueError("token files are written inside their 'with' block")
        tokens = [_as_tokens(ids) for ids in sides]
        with explain_storage(self.paths[0]):
            for file, data in zip(self._files, tokens, strict=True):
                file.write(data.data)
        self._count(tokens)
        self.batches += 1
        self._whole = self._position()  # at once: an interrupt finds this batch whole, or the one before
        self._undurable += num_bytes
        if self._key and (self._undurable >= DURABLE_BYTES or self._clock() >= self._due):
            self._make_durable()

    def keep(self) -> int:
        """Make all whole batches durable and return how many tokens a later writer of the key will find."""
        if self._key and self._whole.batches > self._journaled.batches:
            self._make_durable()
        return sum(self._journaled.sizes) // TOKEN_BYTES

    def stats(self) -> list[TokenStats]:
        """Return what each file holds so far."""
        return [
            counter.stats(digest.hexdigest())
            for counter, digest in zip(self._counters, self._hashes, strict=True)
        ]

    @property
    def durable(self) -> bool:
        """Whether a writer that comes after an interrupt would find something to go on with."""
        return self._journal.exists()

    @property
    def num_tokens(self) -> int:
        """Tokens in all files so far."""
        return sum(counter.num_tokens for counter in self._counters)

    def _count(self, tokens: Sequence[NDArray[np.uint32]]) -> None:
        for data, counter, digest in zip(tokens, self._counters, self._hashes, strict=True):
            counter.add(data)
            digest.update(data.data)

    def _start_anew(self) -> None:
        self.batches = 0
        self._counters = [TokenCounter(self._end_of_text) for _ in self.paths]
        self._hashes = [hashlib.sha256() for _ in self.paths]

    def _open(self) -> None:
        """Open the parts; where another process writes them, parts of our own, without a journal."""
        first = _open_part(self._parts[0], self._private)
        if not _lock(first, self._parts[0]):
            first.close()
            self._key = ""
            mark = secrets.token_hex(4)
            self._journal = self._journal.with_name(f"{self._journal.name}.{mark}")
            self._parts = [part.with_name(f"{part.stem}.{mark}.part") for part in self._parts]
            first = _open_part(self._parts[0], self._private)
        self._files = [first, *(_open_part(part, self._private) for part in self._parts[1:])]

    def _take_up(self) -> None:
        """Go to the position of the journal, where it is of our key and the parts agree with it."""
        journal = _read_journal(self._journal) if self._key else {}
        sizes, hashes = journal.get("sizes"), journal.get("sha256")
        ours = journal.get("format") == FORMAT and journal.get("key") == self._key
        if ours and isinstance(sizes, list) and len(sizes) == len(self._files):
            for index, (file, size) in enumerate(zip(self._files, sizes, strict=True)):
                self._read_again(index, file, int(size))
            if hashes == [digest.hexdigest() for digest in self._hashes]:
                self.batches = int(journal["batches"])
        if self.batches == 0:
            self._start_anew()
            self._journal.unlink(missing_ok=True)
        for file, counter in zip(self._files, self._counters, strict=True):
            file.truncate(counter.num_tokens * TOKEN_BYTES)
            file.seek(0, os.SEEK_END)

    def _read_again(self, index: int, file: IO[bytes], size: int) -> None:
        while size > 0 and (block := file.read(min(size, _BLOCK_BYTES))):
            size -= len(block)
            usable = len(block) - len(block) % TOKEN_BYTES
            self._counters[index].add(np.frombuffer(block[:usable], TOKEN_DTYPE))
            self._hashes[index].update(block)

    def _position(self) -> _Position:
        return _Position(
            self.batches,
            [counter.num_tokens * TOKEN_BYTES for counter in self._counters],
            [digest.hexdigest() for digest in self._hashes],
        )

    def _make_durable(self) -> None:
        begun, position = self._clock(), self._whole
        with explain_storage(self.paths[0]):
            self._sync()
        journal = {"format": FORMAT, "key": self._key, **asdict(position)}
        write_text(self._journal, json.dumps(journal) + "\n", private=self._private)
        self._journaled = position
        self._undurable = 0
        now = self._clock()
        self._due = now + max(DURABLE_SECONDS, 10 * (now - begun))

    def _finish(self) -> None:
        with explain_storage(self.paths[0]):
            self._sync()
            for part, path in zip(self._parts, self.paths, strict=True):
                part.replace(path)
            for folder in {path.parent for path in self.paths}:
                sync_folder(folder)

    def _sync(self) -> None:
        for file in self._files:
            file.flush()
            os.fsync(file.fileno())

    def _close(self) -> None:
        for file in self._files:
            with contextlib.suppress(OSError):  # a disk that is full: told already, or nothing was lost
                file.close()
        self._files = []


def _open_part(part: Path, private: bool) -> IO[bytes]:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.fdopen(os.open(part, flags, 0o600 if private else 0o666), "r+b")


def _lock(file: IO[bytes], path: Path) -> bool:
    """Take the lock of ``file`` and return whether it is ours, and the file still the one at ``path``."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:  # another writer has it, or has just finished; or the file system knows no locks
        return False


def _read_journal(path: Path) -> dict[str, Any]:
    try:
        journal = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return journal if isinstance(journal, dict) else {}


def _as_tokens(ids: Ids) -> NDArray[np.uint32]:
    array = np.asarray(ids)
    if array.dtype == TOKEN_DTYPE:
        return np.ascontiguousarray(array)
    if array.size == 0:
        return np.empty(0, TOKEN_DTYPE)
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= 1 << 32:
        raise DataError(
            f"{low if low < 0 else high} is no token id", hint="a token id is from 0 to 2**32 - 1"
        )
    return np.ascontiguousarray(array, dtype=TOKEN_DTYPE)
