"""The store of conversations: nothing lost between shells, by interruption or by a damaged file."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from nanoshell.chat.conversation import Conversation
from nanoshell.chat.history import ConversationStore
from nanoshell.chat.template import ROLES, Message, Origin
from nanoshell.errors import NanoshellError, UnknownNameError, UsageError
from tests.unit.talks import said

any_text = st.text(st.characters(categories=["L", "N", "P", "S", "Z", "Cc", "Cf"]), max_size=20)
any_messages = st.lists(st.builds(Message, st.sampled_from(ROLES), any_text, st.booleans()), max_size=6)


def test_what_is_saved_is_loaded_again_by_another_shell(store: ConversationStore, store_path: Path) -> None:
    conversation = Conversation("chat-1")
    conversation.set_system("You are kind.")
    conversation.add("user", "Hello!\n\0 <|user|> \U0001f99c")
    conversation.add("assistant", "Hi th", interrupted=True)
    store.save(conversation)
    other = ConversationStore(store_path)
    assert other.load("chat-1") == conversation
    assert other.last() == conversation
    assert other.load("chat-1").messages[-1].interrupted
    other.close()


@settings(deadline=None)
@given(any_messages, any_messages)
def test_any_messages_come_back(first: list[Message], second: list[Message]) -> None:
    store = ConversationStore(None)
    conversation = Conversation("chat-1", list(first))
    store.save(conversation)
    assert store.load("chat-1").messages == first
    conversation.messages = list(second)
    store.save(conversation)
    assert store.load("chat-1") == conversation
    assert len(store.list()) == 1
    store.close()


def test_lone_surrogates_are_stored_as_replacement_characters(store: ConversationStore) -> None:
    store.save(said("chat-1", "caf\udce9", "\ud83d\ude00"))
    assert [message.content for message in store.load("chat-1").messages] == ["caf\ufffd", "\U0001f600"]


def test_list_and_last_begin_with_the_newest_change(store: ConversationStore) -> None:
    assert store.last() is None
    assert list(store.list()) == []
    first, second = said("first", "What is\na token?", "A piece of text."), said("second", "Hello")
    store.save(first)
    store.save(second)
    assert [summary.name for summary in store.list()] == ["second", "first"]
    first.add("user", "And an epoch?")
    store.save(first)
    summaries = store.list()
    assert [(s.name, s.messages, s.title) for s in summaries] == [
        ("first", 3, "What is a token?"),
        ("second", 1, "Hello"),
    ]
    assert summaries[0].updated >= summaries[1].updated > 1_000_000_000
    assert store.last() == first


def test_new_names_are_free_and_taken_names_are_left_alone(store: ConversationStore) -> None:
    assert store.new_name() == "chat-1"
    store.save(said("chat-1", "mine"))
    assert store.new_name() == "chat-2"
    store.save(said("chat-7", "later"))
    assert store.new_name() == "chat-8"
    late = said("chat-1", "another shell chose the same name")
    store.save(late)
    assert late.name == "chat-8"
    named = said("notes", "one")
    store.save(named)
    again = said("notes", "two")
    store.save(again)
    assert again.name == "notes-2"
    assert store.load("chat-1").messages == [Message("user", "mine")]
    assert store.load("notes").messages == [Message("user", "one")]


def test_a_conversation_changed_elsewhere_is_never_overwritten(
    store: ConversationStore, store_path: Path
) -> None:
    store.save(said("chat-1", "Hello", "Hi"))
    other = ConversationStore(store_path)
    here, there = store.load("chat-1"), other.load("chat-1")
    there.add("user", "from there")
    other.save(there)
    here.add("user", "from here")
    store.save(here)
    assert (there.name, here.name) == ("chat-1", "chat-2")
    here.add("assistant", "reply")
    store.save(here)
    assert [m.content for m in other.load("chat-1").messages] == ["Hello", "Hi", "from there"]
    assert [m.content for m in other.load("chat-2").messages] == ["Hello", "Hi", "from here", "reply"]

    other.delete("chat-1")
    there.add("assistant", "still here")
    store.save(there)
    assert there.name == "chat-1"
    assert [m.content for m in store.load("chat-1").messages][-1] == "still here"
    other.close()


def test_delete_and_rename(store: ConversationStore) -> None:
    kept, gone = said("kept", "one"), said("gone", "two")
    store.save(kept)
    store.save(gone)
    store.delete("gone")
    assert [summary.name for summary in store.list()] == ["kept"]
    with pytest.raises(UnknownNameError, match="did you mean 'kept'"):
        store.delete("kep")
    with pytest.raises(UnknownNameError, match="did you mean 'kept'"):
        store.load("Kept1")
    store.save(said("other", "three"))
    store.rename("kept", "physics")
    store.rename("physics", "physics")
    for taken in ("other", "", " ", "two\nlines"):
        with pytest.raises(UsageError):
            store.rename("physics", taken)
    with pytest.raises(UnknownNameError):
        store.rename("nothing", "something")
    kept.add("assistant", "reply")
    store.save(kept)
    assert kept.name == "physics"
    assert [m.content for m in store.load("physics").messages] == ["one", "reply"]
    assert {summary.name for summary in store.list()} == {"physics", "other"}


ORIGIN = Origin("tiny-1@20", 20, 7, 3, 12, 50, {"temperature": 0.7}, ("\n", "stop"), {5: -100.0})


class Talking(RuleBasedStateMachine):
    """Whatever is done to a conversation, what another shell loads is what was saved, versions and all."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "conversations.db"
        self.store, self.other = ConversationStore(path), ConversationStore(path)
        self.conversation = Conversation("chat-1")

    @rule(text=any_text)
    def say(self, text: str) -> None:
        self.conversation.add("user", text)

    @rule(text=any_text, known=st.booleans())
    def answer(self, text: str, known: bool) -> None:
        self.conversation.messages.append(Message("assistant", text, origin=ORIGIN if known else None))

    @rule(text=st.none() | any_text)
    def tell_role(self, text: str | None) -> None:
        self.conversation.set_system(text)

    @rule()
    def undo(self) -> None:
        with contextlib.suppress(NanoshellError):
            self.conversation.undo()

    @rule(text=any_text)
    def ask_again(self, text: str) -> None:
        with contextlib.suppress(NanoshellError):
            self.conversation.ask_again(text)

    @rule()
    def bring_back(self) -> None:
        with contextlib.suppress(NanoshellError):
            self.conversation.bring_back()

    @rule(text=any_text)
    def draft(self, text: str) -> None:
        self.store.save(self.conversation, writing=Message("assistant", text, interrupted=True))
        kept = self.other.load(self.conversation.name).messages
        assert kept == [*self.conversation.messages, Message("assistant", text, interrupted=True)]

    @rule(again=st.booleans())
    def save(self, again: bool) -> None:
        self.store.save(self.conversation)
        kept = self.other.load(self.conversation.name)
        assert everything(kept.messages) == everything(self.conversation.messages)
        if again:
            self.conversation = self.store.load(self.conversation.name)

    def teardown(self) -> None:
        self.store.close()
        self.other.close()
        self.folder.cleanup()


def everything(messages: Sequence[Message]) -> list[object]:
    """Return ``messages`` with what their equality leaves aside."""
    return [(m, m.created, m.origin, [everything(turn) for turn in m.replaced]) for m in messages]


TestTalking = Talking.TestCase
TestTalking.settings = settings(deadline=None, max_examples=30, stateful_step_count=20)


def test_a_turn_more_does_not_write_a_long_conversation_anew(store: ConversationStore) -> None:
    conversation = said("chat-1", *["word"] * 1000)
    store.save(conversation)
    conversation = store.load("chat-1")
    written: list[str] = []
    store._connected().set_trace_callback(written.append)
    conversation.add("user", "one more")
    store.save(conversation)
    store.save(conversation, writing=Message("assistant", "and"))
    conversation.set_system("in front")
    rows = [line for line in written if "INTO message" in line]
    assert len(rows) == 2
    store.save(conversation)
    assert store.load("chat-1") == conversation


def test_find_reads_every_message_the_newest_conversation_first(store: ConversationStore) -> None:
    store.save(said("old", "What is a token?", "A piece."))
    store.save(said("new", "Hello", "token token"))
    found = list(store.find(lambda text: "token" in text))
    assert [(name, place, message.role) for name, place, message in found] == [
        ("new", 2, "assistant"),
        ("old", 1, "user"),
    ]


def test_an_interrupted_save_is_undone_and_the_next_works(store: ConversationStore) -> None:
    conversation = said("chat-1", "Hello")
    store.save(conversation)

    class Interrupting(list[Message]):
        def __iter__(self) -> Iterator[Message]:
            yield Message("user", "half")
            raise KeyboardInterrupt

    broken = said("chat-1")
    broken.id, broken.revision, broken.messages = conversation.id, conversation.revision, Interrupting()
    with pytest.raises(KeyboardInterrupt):
        store.save(broken)
    assert store.load("chat-1") == conversation
    store._connected().execute("BEGIN IMMEDIATE")
    conversation.add("assistant", "Hi")
    store.save(conversation)
    assert store.load("chat-1") == conversation


WRITER = """
import sys
from pathlib import Path
from nanoshell.chat.conversation import Conversation
from nanoshell.chat.history import ConversationStore

store = ConversationStore(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(25):
    conversation = Conversation(store.new_name())
    conversation.add("user", f"{sys.argv[2]} {number}")
    store.save(conversation)
    conversation.add("assistant", "reply", interrupted=number % 2 == 0)
    store.save(conversation)
store.close()
"""


def test_two_processes_that_make_and_fill_one_file_at_once(store_path: Path) -> None:
    """Both open a file that does not exist yet, choose names and save turn by turn: each message is kept
    once."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(store_path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for name in ("left", "right")
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors

    store = ConversationStore(store_path)
    kept = [store.load(summary.name) for summary in store.list()]
    assert len({conversation.name for conversation in kept}) == 50
    assert sorted(conversation.messages[0].content for conversation in kept) == sorted(
        f"{name} {number}" for name in ("left", "right") for number in range(25)
    )
    assert all(len(conversation.messages) == 2 for conversation in kept)
    assert sum(conversation.messages[1].interrupted for conversation in kept) == 26
    assert store._connected().execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store.close()


def test_threads_share_one_store(store: ConversationStore) -> None:
    failures: list[NanoshellError] = []

    def work(number: int) -> None:
        try:
            for count in range(10):
                store.save(said("chat-1", f"{number} {count}"))
        except NanoshellError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len({summary.name for summary in store.list()}) == 40
