"""The store that keeps conversations: one SQLite file, which several shells may use at once.

Format 1 (``PRAGMA user_version``): a row for each conversation and one for each message. A conversation's
``revision`` counts its changes, by which a shell notices that another one changed or deleted the
conversation that it holds.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanoshell.chat.conversation import Conversation
from nanoshell.chat.template import Message
from nanoshell.errors import DataError, NanoshellError, StorageError, UsageError, unknown_name
from nanoshell.files import explain_storage

FORMAT = 1

_SCHEMA = """
CREATE TABLE conversation (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    updated REAL NOT NULL,
    revision INTEGER NOT NULL
);
CREATE TABLE message (
    conversation INTEGER NOT NULL REFERENCES conversation (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    role TEXT NOT NULL,
    content TEXT NOT NULL,
    interrupted INTEGER NOT NULL,
    PRIMARY KEY (conversation, position)
) WITHOUT ROWID;
"""

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
    They may be called from several threads.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._open: sqlite3.Connection | None = None

    def save(self, conversation: Conversation) -> None:
        """Keep ``conversation`` as it stands.

        A new one whose name is taken gets the next free name. One that another shell has changed or deleted
        since this one loaded or saved it is kept beside it, likewise under a new name: nothing is
        overwritten unseen.
        """
        with self._transaction(write=True) as database:
            stored = database.execute(
                "UPDATE conversation SET title = ?, updated = ?, revision = revision + 1"
                " WHERE id = ? AND revision = ?",
                (_storable(conversation.title), time.time(), conversation.id, conversation.revision),
            )
            identity, revision = conversation.id, conversation.revision + 1
            if stored.rowcount:
                (name,) = database.execute(
                    "SELECT name FROM conversation WHERE id = ?", (identity,)
                ).fetchone()
            else:
                name, revision = _free_name(_names(database), _storable(conversation.name)), 1
                identity = database.execute(
                    "INSERT INTO conversation (name, title, updated, revision) VALUES (?, ?, ?, ?)",
                    (name, _storable(conversation.title), time.time(), revision),
                ).lastrowid
            database.execute("DELETE FROM message WHERE conversation = ?", (identity,))
            database.executemany(
                "INSERT INTO message VALUES (?, ?, ?, ?, ?)",
                [
                    (identity, position, message.role, _storable(message.content), message.interrupted)
                    for position, message in enumerate(conversation.messages)
                ],
            )
        conversation.id, conversation.name, conversation.revision = identity, name, revision

    def load(self, name: str) -> Conversation:
        """Return the conversation ``name``. Raises `UnknownNameError` with the nearest name."""
        with self._transaction() as database:
            return _read(database, _existing(database, name))

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
            return None if row is None else _read(database, row[0])

    def new_name(self) -> str:
        """Return a name that no kept conversation has: ``chat-1``, ``chat-2``, … It is not reserved."""
        with self._transaction() as database:
            return _free_name(_names(database), "chat-1")

    def delete(self, name: str) -> None:
        """Remove the conversation ``name``. Raises `UnknownNameError` with the nearest name."""
        with self._transaction(write=True) as database:
            database.execute("DELETE FROM conversation WHERE id = ?", (_existing(database, name),))

    def rename(self, name: str, new_name: str) -> None:
        """Give the conversation ``name`` another name. Raises `UsageError` where that is taken or no name.

        A `Conversation` that is held somewhere takes the new name when it is saved the next time.
        """
        if not new_name.strip() or not new_name.isprintable():
            raise UsageError(f"{new_name!r} is no name for a conversation", hint="use letters and digits")
        with self._transaction(write=True) as database:
            identity = _existing(database, name)
            if new_name != name and new_name in _names(database):
                raise UsageError(
                    f"there is a conversation '{new_name}' already",
                    hint="choose another name, or delete that one",
                )
            database.execute("UPDATE conversation SET name = ? WHERE id = ?", (new_name, identity))

    def close(self) -> None:
        """Close the file; the next use opens it again. What was in memory alone is gone."""
        with self._lock:
            if self._open is not None:
                self._open.close()
                self._open = None

    @contextlib.contextmanager
    def _transaction(self, write: bool = False) -> Iterator[sqlite3.Connection]:
        """Yield the database inside a transaction that is undone if the block raises anything."""
        with self._lock, self._explained():
            database = self._connected()
            _roll_back(database)  # a Ctrl-C at the wrong moment may have left a transaction open
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
        """Create the tables in a new file; refuse one of a newer format."""
        database.execute("PRAGMA foreign_keys = ON")
        if self._format(database) < FORMAT:
            database.execute("BEGIN IMMEDIATE")
            if self._format(database) < FORMAT:  # another shell may have been first
                for statement in _SCHEMA.split(";"):
                    database.execute(statement)
                database.execute(f"PRAGMA user_version = {FORMAT}")
            database.execute("COMMIT")
        # Readers and a writer side by side; another shell that is just opening the file may forbid the
        # change, which the next start will make.
        with contextlib.suppress(sqlite3.OperationalError):
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")

    def _format(self, database: sqlite3.Connection) -> int:
        found: int = database.execute("PRAGMA user_version").fetchone()[0]
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
            return DataError(
                f"{self._where} is damaged: {error}",
                hint="move that file away to begin a new history, or use --no-history; nothing was deleted",
            )
        return StorageError(
            f"cannot use {self._where}: {_REASONS.get(code, error)}",
            hint="check the space and the permissions of its folder, or use --no-history",
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
    row = database.execute("SELECT id FROM conversation WHERE name = ?", (_storable(name),)).fetchone()
    if row is None:
        raise unknown_name("conversation", name, _names(database))
    identity: int = row[0]
    return identity


def _read(database: sqlite3.Connection, identity: int) -> Conversation:
    name, revision = database.execute(
        "SELECT name, revision FROM conversation WHERE id = ?", (identity,)
    ).fetchone()
    rows: Iterator[tuple[Any, str, int]] = database.execute(
        "SELECT role, content, interrupted FROM message WHERE conversation = ? ORDER BY position", (identity,)
    )
    messages = [Message(role, content, bool(interrupted)) for role, content, interrupted in rows]
    return Conversation(name, messages, identity, revision)


def _free_name(taken: set[str], name: str) -> str:
    """Return ``name``, or it with the next number at its end that is free."""
    if name not in taken:
        return name
    stem, _, number = name.rpartition("-")
    if not stem or not number.isdecimal():
        stem, number = name, "1"
    numbers = [int(rest) for other in taken if (rest := other.removeprefix(f"{stem}-")).isdecimal()]
    return f"{stem}-{max([int(number), *numbers]) + 1}"


def _storable(text: str) -> str:
    """Return ``text`` with lone surrogates, which no encoding can store, as U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
