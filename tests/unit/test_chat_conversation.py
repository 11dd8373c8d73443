"""A conversation: its system message, turns taken back, and what of it fits into a context."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from nanoshell.chat.conversation import Conversation, fit
from nanoshell.chat.template import ROLES, Message, RoleTemplate
from nanoshell.errors import NanoshellError, TokenizerError
from nanoshell.tokenizer.bpe import cl100k_base
from nanoshell.tokenizer.char import CharTokenizer
from nanoshell.tokenizer.special import ASSISTANT, END_OF_TEXT, SYSTEM, USER

TEMPLATE = RoleTemplate()
END = 100257

words = st.integers(0, 12).map(lambda count: "word " * count)
any_messages = st.lists(st.builds(Message, st.sampled_from(ROLES), words), max_size=10)


def talk(*contents: str, system: str | None = None) -> Conversation:
    conversation = Conversation("chat-1")
    conversation.set_system(system)
    for index, content in enumerate(contents):
        conversation.add("assistant" if index % 2 else "user", content)
    return conversation


def test_system_is_set_replaced_and_removed_and_turns_stay() -> None:
    conversation = talk("Hello", "Hi")
    assert conversation.system is None
    conversation.set_system("Be brief.")
    conversation.set_system("Be kind.")
    assert [message.content for message in conversation.messages] == ["Be kind.", "Hello", "Hi"]
    assert conversation.system == "Be kind."
    conversation.set_system("")
    assert [message.content for message in conversation.messages] == ["Hello", "Hi"]
    conversation.set_system(None)
    assert conversation.system is None


def test_undo_takes_the_last_question_with_its_reply() -> None:
    conversation = talk("one", "1", "two", "2", system="count")
    assert conversation.undo() == [Message("user", "two"), Message("assistant", "2")]
    conversation.add("user", "three")
    assert conversation.undo() == [Message("user", "three")]
    assert conversation.undo() == [Message("user", "one"), Message("assistant", "1")]
    assert conversation.messages == [Message("system", "count")]
    with pytest.raises(NanoshellError, match="chat-1"):
        conversation.undo()
    assert conversation.system == "count"


def test_undo_leaves_a_greeting_that_no_question_led_to() -> None:
    conversation = Conversation("chat-1", [Message("assistant", "Welcome!")])
    with pytest.raises(NanoshellError):
        conversation.undo()
    conversation.add("user", "Hello")
    assert conversation.undo() == [Message("user", "Hello")]
    assert conversation.messages == [Message("assistant", "Welcome!")]


def test_asking_again_keeps_the_turn_and_bringing_back_comes_round() -> None:
    conversation = talk("one", "1", "two", "2", system="count")
    with pytest.raises(NanoshellError, match="no earlier version"):
        conversation.bring_back()
    asked = conversation.ask_again("two")
    assert (conversation.messages[-1], asked.content) == (asked, "two")
    conversation.add("assistant", "deux")
    conversation.ask_again("three")
    conversation.add("assistant", "3")
    assert [len(version) for version in conversation.messages[3].replaced] == [2, 2]
    shown = []
    for _ in range(3):
        assert conversation.bring_back() == 3
        shown.append([message.content for message in conversation.last_turn])
    assert shown == [["two", "deux"], ["two", "2"], ["three", "3"]]
    assert [message.content for message in conversation.messages[:3]] == ["count", "one", "1"]
    assert all(not m.replaced for version in conversation.messages[3].replaced for m in version)


def test_asking_an_unanswered_question_again_leaves_no_version() -> None:
    conversation = talk("one")
    assert conversation.ask_again("one").replaced == ()
    assert conversation.ask_again("two").replaced == ((Message("user", "one"),),)
    with pytest.raises(NanoshellError):
        Conversation("empty").ask_again("two")


def test_a_fork_begins_as_its_conversation_and_goes_its_own_way() -> None:
    conversation = talk("one", "1", "two", "2")
    conversation.id, conversation.revision = 7, 3
    copy = conversation.fork("other", 3)
    copy.add("assistant", "zwei")
    assert [message.content for message in copy.messages] == ["one", "1", "two", "zwei"]
    assert (copy.name, copy.id, copy.stored) == ("other", None, [])
    assert [message.content for message in conversation.fork("x").messages] == ["one", "1", "two", "2"]
    assert len(conversation.messages) == 4


def test_title_is_the_beginning_of_the_first_question() -> None:
    assert talk(system="only a system message").title == ""
    assert talk("What is\n\n a token?", "A piece.", "And?").title == "What is a token?"
    long = talk("why " * 100).title
    assert len(long) <= 60
    assert long.endswith("…")


def test_everything_fits_into_a_large_context() -> None:
    conversation = talk("Hello!", "Hi there!", "Who are you?", system="You are kind.")
    prompt = conversation.fit(TEMPLATE, cl100k_base(), 1000, 100)
    assert prompt.dropped == 0
    assert prompt.ids == [END, *TEMPLATE.encode(conversation.messages, cl100k_base(), reply=True)]


def test_the_oldest_turns_go_first_and_the_system_message_never() -> None:
    conversation = talk("a", "b", "c", "d", "e", system="s")
    tokenizer = cl100k_base()
    whole = len(conversation.fit(TEMPLATE, tokenizer, 1000, 0).ids)
    assert whole == 1 + 2 + 5 * 2 + 2 + 1
    one_less = conversation.fit(TEMPLATE, tokenizer, whole - 1, 0)
    assert tokenizer.decode(one_less.ids) == (
        "<|endoftext|><|system|>s<|user|>c<|assistant|>d<|endoftext|><|user|>e<|assistant|>"
    )
    assert one_less.dropped == 1
    last = conversation.fit(TEMPLATE, tokenizer, whole, 10)
    assert tokenizer.decode(last.ids) == "<|endoftext|><|system|>s<|user|>e<|assistant|>"
    assert last.dropped == 2
    assert len(conversation.messages) == 6


def test_what_cannot_fit_is_said_with_its_sizes() -> None:
    conversation = talk("short", "reply", "word " * 30, system="Be brief.")
    with pytest.raises(NanoshellError) as caught:
        conversation.fit(TEMPLATE, cl100k_base(), 32, 8)
    needed = len(TEMPLATE.encode([conversation.messages[0], conversation.messages[-1]], cl100k_base())) + 2
    assert f"need {needed} tokens" in caught.value.message
    assert "system message" in caught.value.message
    assert "8 kept" in caught.value.message
    assert "32 positions" in caught.value.message
    assert caught.value.hint
    with pytest.raises(NanoshellError) as caught:
        talk("word " * 30).fit(TEMPLATE, cl100k_base(), 32, 8)
    assert "system message" not in caught.value.message


@settings(deadline=None)
@given(any_messages, st.integers(1, 120), st.integers(0, 20))
def test_as_many_of_the_newest_turns_as_fit(messages: list[Message], positions: int, reserve: int) -> None:
    """Against trying every number of dropped turns in order, for conversations of any make."""
    tokenizer = cl100k_base()
    turns: list[list[Message]] = []
    for message in messages:
        if message.role == "system":
            continue
        if message.role == "user" or not turns:
            turns.append([])
        turns[-1].append(message)

    expected = None
    for dropped in range(max(len(turns), 1)):
        gone = [id(message) for turn in turns[:dropped] for message in turn]
        kept = [message for message in messages if id(message) not in gone]
        ids = [END, *TEMPLATE.encode(kept, tokenizer, reply=True)]
        if len(ids) + reserve <= positions:
            expected = (dropped, ids)
            break
    if expected is None:
        with pytest.raises(NanoshellError):
            fit(messages, TEMPLATE, tokenizer, positions, reserve)
    else:
        prompt = fit(messages, TEMPLATE, tokenizer, positions, reserve)
        assert (prompt.dropped, prompt.ids) == expected


def test_a_long_conversation_is_not_encoded_over_and_over(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(RoleTemplate):
        calls = 0

        def encode(self, *arguments: object, **options: object) -> list[int]:
            Counting.calls += 1
            return super().encode(*arguments, **options)  # type: ignore[arg-type]

    conversation = talk(*["word"] * 2001)
    prompt = fit(conversation.messages, Counting(), cl100k_base(), 64, 16)
    assert len(prompt.ids) <= 48
    assert Counting.calls < 20


def test_an_earlier_message_with_an_unknown_character_is_named_as_that() -> None:
    tokenizer = CharTokenizer("small", "ab", [END_OF_TEXT, SYSTEM, USER, ASSISTANT])
    chat = Conversation("chat-1")
    for role, text in (("user", "a}b"), ("assistant", "b"), ("user", "a")):
        chat.add(role, text)
    with pytest.raises(TokenizerError, match=r"an earlier message of chat-1 .*'}'") as caught:
        chat.fit(RoleTemplate(), tokenizer, 50, 5)
    assert "chat new" in caught.value.hint
