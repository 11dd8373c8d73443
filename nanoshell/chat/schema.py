"""The tables of the conversation history, and the way from an older format of its file to this one.

Format 2 (``PRAGMA user_version``): a row for each conversation and one for each message. A conversation's
``revision`` counts its changes, by which a shell notices that another one changed or deleted the
conversation that it holds. Of a message, ``created`` is in seconds since 1970, ``origin`` a JSON object that
says how a reply was sampled, and ``replaced`` a JSON array of earlier versions of its turn. Format 1 had
neither of the three.
"""

from __future__ import annotations

import itertools
import sqlite3

FORMAT = 2

_FORMAT_1 = (
    """CREATE TABLE conversation (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        title TEXT NOT NULL,
        updated REAL NOT NULL,
        revision INTEGER NOT NULL
    )""",
    """CREATE TABLE message (
        conversation INTEGER NOT NULL REFERENCES conversation (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        role TEXT NOT NULL,
        content TEXT NOT NULL,
        interrupted INTEGER NOT NULL,
        PRIMARY KEY (conversation, position)
    ) WITHOUT ROWID""",
)
_FORMAT_2 = tuple(
    f"ALTER TABLE message ADD COLUMN {column}" for column in ("created REAL", "origin TEXT", "replaced TEXT")
)
_STEPS = (_FORMAT_1, _FORMAT_2)
"""What leads from each format to the next; an empty file is format 0."""


def found_format(database: sqlite3.Connection) -> int:
    """Return the format of the file, 0 where it is new."""
    found: int = database.execute("PRAGMA user_version").fetchone()[0]
    return found


def bring_up_to_date(database: sqlite3.Connection) -> None:
    """Give a new file its tables, and one of an older format what it lacks; all of it or nothing."""
    database.execute("BEGIN IMMEDIATE")
    steps = _STEPS[found_format(database) :]  # another shell may have been first
    for statement in itertools.chain(*steps):
        database.execute(statement)
    if steps:
        database.execute(f"PRAGMA user_version = {FORMAT}")
    database.execute("COMMIT")
