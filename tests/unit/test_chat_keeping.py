"""A reply is kept while it is written, and a store that cannot be written fails none."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nanoshell.chat.conversation import Conversation
from nanoshell.chat.history import ConversationStore
from nanoshell.chat.keeping import ReplyKeeper
from nanoshell.chat.template import Message


class Writing:
    """A reply whose text the test says."""

    def __init__(self, store: ConversationStore, conversation: Conversation) -> None:
        self.text = ""
        self.keeper = ReplyKeeper(store, conversation, lambda: Message("assistant", self.text, True))

    def write(self, text: str) -> None:
        self.text += text
        self.keeper.grow()


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def asked(store: ConversationStore) -> tuple[Conversation, Writing]:
    conversation = Conversation("chat-1")
    conversation.add("user", "Hello")
    return conversation, Writing(store, conversation)


def test_a_reply_is_kept_as_it_grows_and_marked_until_it_ends(
    store: ConversationStore, store_path: Path
) -> None:
    """Each piece is kept though no other follows: nothing waits for the next token."""
    conversation, reply = asked(store)
    assert reply.keeper.begin() == ""
    other = ConversationStore(store_path)
    for piece, text in (("Good", "Good"), (" day", "Good day"), (".", "Good day.")):
        reply.write(piece)
        expected = Message("assistant", text, interrupted=True)
        eventually(lambda expected=expected: other.load("chat-1").messages[1:] == [expected])
    assert conversation.messages == [Message("user", "Hello")], "the conversation has it when it is whole"
    assert reply.keeper.finish(Message("assistant", "Good day.")) == ""
    assert other.load("chat-1").messages == [Message("user", "Hello"), Message("assistant", "Good day.")]
    other.close()


def test_a_slow_store_holds_up_no_reply_and_has_the_newest_of_it_next(
    store: ConversationStore, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one write lasts, the reply grows; the write after it has all that came meanwhile."""
    _conversation, reply = asked(store)
    reply.keeper.begin()
    save, began, go_on = store.save, threading.Event(), threading.Event()

    def slow(*arguments: Any, **options: Any) -> None:
        began.set()
        assert go_on.wait(60)
        save(*arguments, **options)

    monkeypatch.setattr(store, "save", slow)
    reply.write("Good")
    assert began.wait(60)
    for piece in (" day", ",", " how", " are"):
        reply.write(piece)
    go_on.set()
    other = ConversationStore(store_path)
    eventually(lambda: other.load("chat-1").messages[-1].content == "Good day, how are")
    assert reply.keeper.finish(Message("assistant", reply.text)) == ""
    other.close()


def test_a_fault_of_the_keeping_is_told_behind_the_reply_and_nowhere_else(
    store: ConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it reaches the screen from the thread: pytest makes an error of what a thread raises."""
    conversation, reply = asked(store)
    reply.keeper.begin()
    save = store.save

    def refuse_drafts(*arguments: Any, writing: Message | None = None, **options: Any) -> None:
        if writing is not None:
            raise TypeError("float32 is not JSON serializable")
        save(*arguments, **options)

    monkeypatch.setattr(store, "save", refuse_drafts)
    reply.write("Good")
    thread = reply.keeper._thread
    assert thread is not None
    thread.join(60)
    reply.write(" day")
    told = reply.keeper.finish(Message("assistant", "Good day"))
    assert told == "the reply was not kept while it was written: TypeError: float32 is not JSON serializable"
    assert store.load("chat-1") == conversation


def test_a_whole_reply_that_cannot_be_written_down_is_told(
    store: ConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    _conversation, reply = asked(store)

    def refuse(*_arguments: Any, **_options: Any) -> None:
        raise sqlite3.InterfaceError("bad parameter")

    monkeypatch.setattr(store, "save", refuse)
    assert reply.keeper.begin() == "the conversation goes on unkept: InterfaceError: bad parameter"
    assert reply.keeper.finish(Message("assistant", "Hi")) == "", "once is enough"


def test_a_draft_that_is_late_stands_in_the_place_of_its_reply(
    store: ConversationStore, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Ctrl-C ends the waiting for a write that lasts, the reply is not kept twice."""
    conversation, reply = asked(store)
    reply.keeper.begin()
    save, began, go_on = store.save, threading.Event(), threading.Event()

    def late(*arguments: Any, writing: Message | None = None, **options: Any) -> None:
        if writing is not None:
            began.set()
            assert go_on.wait(60)
        save(*arguments, writing=writing, **options)

    monkeypatch.setattr(store, "save", late)
    reply.write("Good day")
    assert began.wait(60)
    thread = reply.keeper._thread
    assert thread is not None
    join = thread.join

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        reply.keeper.finish(Message("assistant", "Good day."))
    go_on.set()
    join(60)
    other = ConversationStore(store_path)
    assert [message.content for message in other.load("chat-1").messages] == ["Hello", "Good day"]
    store.save(conversation)
    assert [message.content for message in other.load("chat-1").messages] == ["Hello", "Good day."]
    other.close()


def test_a_reply_that_failed_leaves_no_draft(store: ConversationStore) -> None:
    conversation, reply = asked(store)
    reply.keeper.begin()
    reply.write("Go")
    eventually(lambda: len(store.load("chat-1").messages) == 2)
    reply.keeper.finish(None)
    assert store.load("chat-1") == conversation
    assert conversation.messages == [Message("user", "Hello")]


def test_a_conversation_changed_elsewhere_meanwhile_is_kept_beside_it(
    store: ConversationStore, store_path: Path
) -> None:
    conversation, reply = asked(store)
    reply.keeper.begin()
    other = ConversationStore(store_path)
    there = other.load("chat-1")
    there.add("assistant", "from there")
    other.save(there)
    reply.write("from here")
    reply.keeper.finish(Message("assistant", "from here"))
    assert conversation.name == "chat-2"
    assert [m.content for m in other.load("chat-1").messages] == ["Hello", "from there"]
    assert [m.content for m in other.load("chat-2").messages] == ["Hello", "from here"]
    assert len(other.list()) == 2
    other.close()


def test_a_store_that_is_in_use_is_told_once_and_made_up_for(
    store: ConversationStore, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanoshell.chat.keeping._PATIENCE", 0.01)
    conversation, reply = asked(store)
    reply.keeper.begin()
    holder = sqlite3.connect(store_path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    reply.write("one")
    told = reply.keeper.finish(Message("assistant", "one"))
    assert "goes on unkept" in told
    assert "in use by another program" in told
    conversation.add("user", "And?")
    again = Writing(store, conversation)
    assert (again.keeper.begin(), again.keeper.finish(Message("assistant", "two"))) == ("", "")
    assert [message.content for message in conversation.messages] == ["Hello", "one", "And?", "two"]
    holder.execute("ROLLBACK")
    holder.close()
    last = Writing(store, conversation)
    assert last.keeper.begin() == ""
    assert store.load("chat-1") == conversation
    assert not store.failing


def test_a_full_disk_is_told_and_the_reply_goes_on(store: ConversationStore) -> None:
    _conversation, reply = asked(store)
    reply.keeper.begin()
    database = store._connected()
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    database.execute(f"PRAGMA max_page_count = {pages}")
    reply.write("long " * 50_000)
    assert "the disk is full" in reply.keeper.finish(Message("assistant", reply.text))
    database.execute("PRAGMA max_page_count = 100000")
    assert reply.keeper.begin() == ""
    assert store.load("chat-1").messages[1].content == reply.text


def test_without_history_nothing_is_written_on_the_way() -> None:
    store = ConversationStore(None)
    conversation, reply = asked(store)
    reply.keeper.begin()
    reply.write("one")
    assert reply.keeper._thread is None
    reply.keeper.finish(Message("assistant", "one"))
    assert store.load("chat-1") == conversation
    store.close()
