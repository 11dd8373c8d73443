"""The store that keeps conversations: one SQLite file, which several shells may use at once.

Its tables are those of `nanoshell.chat.schema`.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanoshell.chat.conversation import Conversation
from nanoshell.chat.record import COLUMNS, message_of, row_of, storable
from nanoshell.chat.schema import FORMAT, bring_up_to_date, found_format
from nanoshell.chat.template import Message
from nanoshell.errors import DataError, NanoshellError, StorageError, UsageError, unknown_name
from nanoshell.files import explain_storage

_BUSY_SECONDS = 10.0
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_SCHEMA}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_REASONS = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "the file or its folder is read-only",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened",
    sqlite3.SQLITE_PERM: "permission denied",
}


@dataclass(frozen=True)
class ConversationSummary:
    """A kept conversation in a list; ``messages`` is their number, ``updated`` in seconds since 1970."""

    name: str
    messages: int
    updated: float
    title: str


class ConversationStore:
    """Conversations by name, in the file ``path`` or, with None, in memory alone.

    The file is made at first use, for its owner alone (0600). All methods raise `StorageError` where it
    cannot be used, and `DataError` where it is damaged or of a newer format; such a file is left as it is.
    They may be called from several threads. ``failing`` is for those who go on where it cannot be written,
    and want to say so once.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.failing = False
        self._lock = threading.RLock()
        self._open: sqlite3.Connection | None = None

    def save(
        self,
        conversation: Conversation,
        *,
        writing: Message | None = None,
        behind: Sequence[Message] | None = None,
        patience: float | None = None,
    ) -> None:
        """Keep ``conversation`` as it stands, with ``writing``, a reply that is not finished, as its last.

        ``behind`` says which messages that stands behind, where it is not all. Only the messages that are not
        kept yet are written. A new conversation whose name is taken gets the next free name. One that another
        shell has changed or deleted since this one loaded or saved it is kept beside it, likewise under a new
        name: nothing is overwritten unseen. Another program that writes is waited for ``patience`` seconds.
        """
        before = conversation.messages if behind is None else behind
        messages = [*before, *([] if writing is None else [writing])]
        title, now = storable(conversation.title), time.time()
        with self._transaction(write=True, patience=patience) as database:
            updated = database.execute(
                "UPDATE conversation SET title = ?, updated = ?, revision = revision + 1"
                " WHERE id = ? AND revision = ?",
                (title, now, conversation.id, conversation.revision),
            )
            identity, revision, known = conversation.id, conversation.revision + 1, conversation.stored
            if updated.rowcount:
                (name,) = database.execute(
                    "SELECT name FROM conversation WHERE id = ?", (identity,)
                ).fetchone()
            else:
                name, revision, known = _free_name(_names(database), storable(conversation.name)), 1, []
                identity = database.execute(
                    "INSERT INTO conversation (name, title, updated, revision) VALUES (?, ?, ?, ?)",
                    (name, title, now, revision),
                ).lastrowid
            if len(known) > len(messages):
                database.execute(
                    "DELETE FROM message WHERE conversation = ? AND position >= ?", (identity, len(messages))
                )
            database.executemany(
                f"INSERT OR REPLACE INTO message (conversation, position, {COLUMNS})"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (identity, position, *row_of(message))
                    for position, message in enumerate(messages)
                    if position >= len(known) or known[position] is not message
                ],
            )
        conversation.id, conversation.name, conversation.revision = identity, name, revision
        conversation.stored = messages

    def load(self, name: str) -> Conversation:
        """Return the conversation ``name``. Raises `UnknownNameError` with the nearest name."""
        with self._transaction() as database:
            return self._read(database, _existing(database, name))

    def list(self) -> Sequence[ConversationSummary]:
        """Return what is kept, the last changed first."""
        with self._transaction() as database:
            rows = database.execute(
                "SELECT name, (SELECT count(*) FROM message WHERE conversation = id), updated, title"
                " FROM conversation ORDER BY updated DESC, id DESC"
            ).fetchall()
        return [ConversationSummary(*row) for row in rows]

    def last(self) -> Conversation | None:
        """Return the conversation that was changed last, None where nothing is kept."""
        with self._transaction() as database:
            row = database.execute(
                "SELECT id FROM conversation ORDER BY updated DESC, id DESC LIMIT 1"
            ).fetchone()
            return None if row is None else self._read(database, row[0])

    def find(self, matches: Callable[[str], bool]) -> Iterator[tuple[str, int, Message]]:
        """Yield the kept messages whose content ``matches``: the conversation's name, the place, from 1, and
        the message, in order; the conversation that was changed last comes first.

        All are read, without an index: see docs/log.md.
        """
        for summary in self.list():
            with self._transaction() as database:
                rows = database.execute(
                    f"SELECT position, {COLUMNS} FROM message WHERE conversation ="
                    " (SELECT id FROM conversation WHERE name = ?) ORDER BY position",
                    (summary.name,),
                ).fetchall()
            for position, *row in rows:
                if matches(row[1]):
                    yield summary.name, position + 1, self._message(row)

    def new_name(self, wanted: str = "chat-1") -> str:
        """Return ``wanted``, or with the next number at its end, as no kept conversation is called:
        ``chat-1``, ``chat-2``, … It is not reserved."""
        with self._transaction() as database:
            return _free_name(_names(database), storable(wanted))

    def delete(self, name: str) -> None:
        """Remove the conversation ``name``. Raises `UnknownNameError` with the nearest name."""
        with self._transaction(write=True) as database:
            database.execute("DELETE FROM conversation WHERE id = ?", (_existing(database, name),))

    def rename(self, name: str, new_name: str) -> None:
        """Give the conversation ``name`` another name. Raises `UsageError` where that is taken or no name.

        A `Conversation` that is held somewhere takes the new name when it is saved the next time.
        """
        with self._transaction(write=True) as database:
            identity = _existing(database, name)
            if new_name != name:
                _check_free(_names(database), new_name)
            database.execute("UPDATE conversation SET name = ? WHERE id = ?", (new_name, identity))

    def check_new(self, name: str) -> None:
        """Raise `UsageError` where a conversation cannot be called ``name``, or one is already."""
        with self._transaction() as database:
            _check_free(_names(database), name)

    def _read(self, database: sqlite3.Connection, identity: int) -> Conversation:
        name, revision = database.execute(
            "SELECT name, revision FROM conversation WHERE id = ?", (identity,)
        ).fetchone()
        rows = database.execute(
            f"SELECT {COLUMNS} FROM message WHERE conversation = ? ORDER BY position", (identity,)
        )
        messages = [self._message(row) for row in rows]
        return Conversation(name, messages, identity, revision, list(messages))

    def _message(self, row: Sequence[Any]) -> Message:
        try:
            return message_of(tuple(row))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise self._damaged(f"a message says {error}") from error

    def close(self) -> None:
        """Close the file; the next use opens it again. What was in memory alone is gone."""
        with self._lock:
            if self._open is not None:
                self._open.close()
                self._open = None

    @contextlib.contextmanager
    def _transaction(
        self, write: bool = False, patience: float | None = None
    ) -> Iterator[sqlite3.Connection]:
        """Yield the database inside a transaction that is undone if the block raises anything."""
        with self._lock, self._explained():
            database = self._connected()
            _roll_back(database)  # a Ctrl-C at the wrong moment may have left a transaction open
            seconds = _BUSY_SECONDS if patience is None else patience
            database.execute(f"PRAGMA busy_timeout = {round(seconds * 1000)}")
            try:
                database.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                yield database
                database.execute("COMMIT")
            except BaseException:
                _roll_back(database)
                raise

    def _connected(self) -> sqlite3.Connection:
        if self._open is None:
            database = sqlite3.connect(
                _prepared(self.path), timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(database)
            except BaseException:
                database.close()
                raise
            self._open = database
        return self._open

    def _prepare(self, database: sqlite3.Connection) -> None:
        """Bring a new or older file to this format; refuse one of a newer."""
        database.execute("PRAGMA foreign_keys = ON")
        if self._format(database) < FORMAT:
            bring_up_to_date(database)
            self._format(database)  # a newer shell may have been first
        # Readers and a writer side by side; another shell that is just opening the file may forbid the
        # change, which the next start will make.
        with contextlib.suppress(sqlite3.OperationalError):
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")

    def _format(self, database: sqlite3.Connection) -> int:
        found = found_format(database)
        if found > FORMAT:
            raise DataError(
                f"{self._where} was written by a newer nanoshell (format {found}, this one knows {FORMAT})",
                hint="update nanoshell, or leave the history alone with --no-history",
            )
        return found

    @property
    def _where(self) -> str:
        return f"the conversation history {self.path}" if self.path else "the conversation history in memory"

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn an error of SQLite into one that names the file and says what to do."""
        try:
            yield
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.DatabaseError as error:
            raise self._explain(error) from error

    def _explain(self, error: sqlite3.DatabaseError) -> NanoshellError:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in _BUSY:
            return StorageError(
                f"{self._where} is in use by another program", hint="try again when that one has finished"
            )
        if code in _DAMAGED:
            return self._damaged(str(error))
        return StorageError(
            f"cannot use {self._where}: {_REASONS.get(code, error)}",
            hint="check the space and the permissions of its folder, or use --no-history",
        )

    def _damaged(self, why: str) -> DataError:
        return DataError(
            f"{self._where} is damaged: {why}",
            hint="move that file away to begin a new history, or use --no-history; nothing was deleted",
        )


def _prepared(path: Path | None) -> str:
    """Return the name by which SQLite opens ``path``; the file exists and is the user's alone."""
    if path is None:
        return ":memory:"
    with explain_storage(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives its own files beside this one the same mode.
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.fstat(handle).st_mode & 0o077:
                os.fchmod(handle, 0o600)
        finally:
            os.close(handle)
    return str(path)


def _roll_back(database: sqlite3.Connection) -> None:
    if database.in_transaction:
        with contextlib.suppress(sqlite3.Error):
            database.execute("ROLLBACK")


def _names(database: sqlite3.Connection) -> set[str]:
    return {name for (name,) in database.execute("SELECT name FROM conversation")}


def _existing(database: sqlite3.Connection, name: str) -> int:
    row = database.execute("SELECT id FROM conversation WHERE name = ?", (storable(name),)).fetchone()
    if row is None:
        raise unknown_name("conversation", name, _names(database))
    identity: int = row[0]
    return identity


def _check_free(taken: set[str], name: str) -> None:
    if not name.strip() or not name.isprintable():
        raise UsageError(f"{name!r} is no name for a conversation", hint="use letters and digits")
    if name in taken:
        raise UsageError(
            f"there is a conversation '{name}' already", hint=f"'{_free_name(taken, name)}' is free"
        )


def _free_name(taken: set[str], name: str) -> str:
    """Return ``name``, or it with the next number at its end that is free."""
    if name not in taken:
        return name
    stem, _, number = name.rpartition("-")
    if not stem or not number.isdecimal():
        stem, number = name, "1"
    numbers = [int(rest) for other in taken if (rest := other.removeprefix(f"{stem}-")).isdecimal()]
    return f"{stem}-{max([int(number), *numbers]) + 1}"
