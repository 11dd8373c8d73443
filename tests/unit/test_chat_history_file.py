"""The file of the conversations: whose it is, and what is said where it cannot be used."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanoshell.chat.conversation import Conversation
from nanoshell.chat.history import ConversationStore
from nanoshell.chat.template import Message, Origin
from nanoshell.errors import DataError, StorageError
from tests.unit.talks import said

ORIGIN = Origin("tiny-1@20", 20, 7, 3, 12, 50, {"temperature": 0.7}, ("\n", "stop"), {5: -100.0})


def test_the_file_is_the_user_s_alone(store: ConversationStore, store_path: Path) -> None:
    store_path.parent.mkdir()
    store_path.touch(0o644)
    store_path.chmod(0o644)
    store.save(said("chat-1", "secret"))
    files = list(store_path.parent.iterdir())
    assert store_path in files
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_new_folder_is_the_user_s_alone(store: ConversationStore, store_path: Path) -> None:
    assert not store_path.parent.exists()
    store.new_name()
    assert stat.S_IMODE(store_path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(store_path.stat().st_mode) == 0o600


def test_nothing_is_written_before_the_first_use_nor_without_history(
    store: ConversationStore, store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    memory = ConversationStore(None)
    memory.save(said("chat-1", "forget me"))
    assert memory.load("chat-1").messages[0].content == "forget me"
    memory.close()
    assert not store_path.exists()
    assert list(tmp_path.iterdir()) == []


def damaged_files() -> Iterator[tuple[str, bytes]]:
    yield "no database", b"this was never a database, but some text of a good length\n" * 200
    yield "a header only", b"SQLite format 3\0" + b"\xff" * 4000


@pytest.mark.parametrize(("kind", "content"), list(damaged_files()))
def test_a_damaged_file_is_named_and_left_as_it_is(store_path: Path, kind: str, content: bytes) -> None:
    store_path.parent.mkdir()
    store_path.write_bytes(content)
    store = ConversationStore(store_path)
    for use in (store.new_name, store.list, store.last, lambda: store.save(said("chat-1", "x"))):
        with pytest.raises(DataError) as caught:
            use()
        assert str(store_path) in caught.value.message
        assert "damaged" in caught.value.message
        assert "--no-history" in caught.value.hint
    assert store_path.read_bytes() == content
    store_path.rename(store_path.with_suffix(".old"))
    assert store.new_name() == "chat-1"
    store.close()


def test_a_truncated_database_is_damaged_not_empty(store_path: Path) -> None:
    store = ConversationStore(store_path)
    for number in range(40):
        store.save(said(f"chat-{number}", "a rather long message " * 40))
    store.close()
    whole = store_path.read_bytes()
    store_path.write_bytes(whole[: len(whole) // 2 // 4096 * 4096])
    with pytest.raises(DataError, match="damaged"):
        for number in range(40):
            store.load(f"chat-{number}")
    store.close()
    assert len(store_path.read_bytes()) == len(whole) // 2 // 4096 * 4096


def test_a_database_without_its_tables_is_damaged(store_path: Path) -> None:
    store_path.parent.mkdir()
    database = sqlite3.connect(store_path)
    database.execute("PRAGMA user_version = 1")
    database.execute("CREATE TABLE something (x)")
    database.close()
    with pytest.raises(DataError, match="damaged: no such table"):
        ConversationStore(store_path).last()


def test_a_newer_format_is_said_and_left_as_it_is(store_path: Path) -> None:
    store_path.parent.mkdir()
    database = sqlite3.connect(store_path)
    database.execute("CREATE TABLE tomorrow (x)")
    database.execute("PRAGMA user_version = 3")
    database.close()
    before = store_path.read_bytes()
    store = ConversationStore(store_path)
    for use in (store.last, lambda: store.save(said("chat-1", "x"))):
        with pytest.raises(DataError, match=r"newer nanoshell \(format 3, this one knows 2\)") as caught:
            use()
        assert "update" in caught.value.hint
    store.close()
    assert store_path.read_bytes() == before


FORMAT_1 = """
CREATE TABLE conversation (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL, updated REAL NOT NULL, revision INTEGER NOT NULL);
CREATE TABLE message (conversation INTEGER NOT NULL REFERENCES conversation (id) ON DELETE CASCADE,
    position INTEGER NOT NULL, role TEXT NOT NULL, content TEXT NOT NULL, interrupted INTEGER NOT NULL,
    PRIMARY KEY (conversation, position)) WITHOUT ROWID;
INSERT INTO conversation VALUES (7, 'old', 'Hello', 1700000000.5, 3);
INSERT INTO message VALUES (7, 0, 'user', 'Hello', 0), (7, 1, 'assistant', 'Hi th', 1);
PRAGMA user_version = 1;
"""


def test_a_file_of_format_1_keeps_what_it_holds_and_learns_the_rest(store_path: Path) -> None:
    store_path.parent.mkdir()
    database = sqlite3.connect(store_path)
    database.executescript(FORMAT_1)
    database.close()
    store, other = ConversationStore(store_path), ConversationStore(store_path)
    old = store.load("old")
    assert old == Conversation(
        "old", [Message("user", "Hello"), Message("assistant", "Hi th", True)], id=7, revision=3
    )
    assert (old.messages[1].created, old.messages[1].origin, store.list()[0].updated) == (
        None,
        None,
        1700000000.5,
    )
    old.messages.append(Message("assistant", "new", created=5.0, origin=ORIGIN))
    store.save(old)
    assert other.load("old").messages[2].origin == ORIGIN
    assert other._connected().execute("PRAGMA user_version").fetchone() == (2,)
    store.close()
    other.close()


def test_a_message_whose_origin_is_broken_is_damage(store: ConversationStore) -> None:
    store.save(said("chat-1", "Hello", "Hi"))
    store._connected().execute("UPDATE message SET origin = '{' WHERE position = 1")
    with pytest.raises(DataError, match="damaged"):
        store.load("chat-1")


def test_a_place_that_cannot_hold_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "conversations.db", tmp_path / "folder"):
        with pytest.raises(StorageError, match=str(path)):
            ConversationStore(path).save(said("chat-1", "x"))


def test_a_full_disk_loses_nothing_that_was_saved(store: ConversationStore) -> None:
    conversation = said("chat-1", "Hello", "Hi")
    store.save(conversation)
    database = store._connected()
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    database.execute(f"PRAGMA max_page_count = {pages}")
    conversation.add("user", "too long " * 5000)
    with pytest.raises(StorageError, match="the disk is full"):
        store.save(conversation)
    assert [message.content for message in store.load("chat-1").messages] == ["Hello", "Hi"]
    database.execute("PRAGMA max_page_count = 100000")
    store.save(conversation)
    assert store.load("chat-1") == conversation


def test_a_file_that_another_program_holds_is_said(
    store: ConversationStore, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanoshell.chat.history._BUSY_SECONDS", 0.05)
    store.save(said("chat-1", "Hello"))
    holder = sqlite3.connect(store_path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="in use by another program"):
        store.save(said("chat-2", "Hello"))
    assert store.load("chat-1").messages == [Message("user", "Hello")]
    holder.execute("ROLLBACK")
    holder.close()
    store.save(said("chat-2", "Hello"))
