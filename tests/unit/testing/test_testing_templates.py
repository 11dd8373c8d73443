"""`check_chat_template` passes a plain template, and names the rule that each broken one breaks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from nanoshell import Message, Tokenizer
from nanoshell.testing import check_chat_template
from nanoshell.testing.templates import RULES
from tests.unit.testing.broken import assert_told
from tests.unit.testing.test_testing_tokenizers import END, Bytes

CALLS = itertools.count()


class Dialogue:
    """``role: content``, an end of text after each turn of the assistant, a newline after the others."""

    name = "dialogue"

    def encode(self, messages: Sequence[Message], tokenizer: Tokenizer, *, reply: bool = False) -> list[int]:
        ids = [i for message in messages for i in self.turn(message, tokenizer)]
        return ids + tokenizer.encode("assistant: ") if reply else ids

    def turn(self, message: Message, tokenizer: Tokenizer) -> list[int]:
        end = [tokenizer.end_of_text] if message.role == "assistant" else tokenizer.encode("\n")
        return [*tokenizer.encode(f"{message.role}: "), *self.content(message, tokenizer), *end]

    def content(self, message: Message, tokenizer: Tokenizer) -> list[int]:
        return tokenizer.encode(message.content)

    def stop_ids(self, tokenizer: Tokenizer) -> Any:
        return frozenset({tokenizer.end_of_text})


class Texts(Dialogue):
    def encode(self, messages: Any, tokenizer: Any, *, reply: bool = False) -> Any:
        return "".join(message.content for message in messages)


class Shortening(Dialogue):
    def content(self, message: Message, tokenizer: Tokenizer) -> list[int]:
        return tokenizer.encode(message.content[:5])


class Obeying(Dialogue):
    def content(self, message: Message, tokenizer: Tokenizer) -> list[int]:
        return tokenizer.encode_special(message.content)


class Faceless(Dialogue):
    def turn(self, message: Message, tokenizer: Tokenizer) -> list[int]:
        return [*self.content(message, tokenizer), tokenizer.end_of_text]


class Silent(Dialogue):
    def encode(self, messages: Any, tokenizer: Any, *, reply: bool = False) -> list[int]:
        return super().encode(messages, tokenizer)


class Stopless(Dialogue):
    def stop_ids(self, tokenizer: Tokenizer) -> Any:
        return frozenset()


class Listed(Dialogue):
    def stop_ids(self, tokenizer: Tokenizer) -> Any:
        return [tokenizer.end_of_text]


class Endless(Dialogue):
    def turn(self, message: Message, tokenizer: Tokenizer) -> list[int]:
        return [*tokenizer.encode(f"{message.role}: "), *self.content(message, tokenizer)]


class Dated(Dialogue):
    def encode(self, messages: Any, tokenizer: Any, *, reply: bool = False) -> list[int]:
        return [*tokenizer.encode(f"{next(CALLS)} "), *super().encode(messages, tokenizer, reply=reply)]


BROKEN: list[tuple[str, Any]] = [
    ("builds", lambda: None),
    ("ids", Texts),
    ("contents", Shortening),
    ("ordinary", Obeying),
    ("turns", Faceless),
    ("reply", Silent),
    ("stops", Stopless),
    ("stops", Listed),
    ("ends", Endless),
    ("again", Dated),
]


def test_a_template_that_keeps_every_rule() -> None:
    assert END in Bytes.special_tokens
    check_chat_template(Dialogue, Bytes())
    check_chat_template(Dialogue)


@pytest.mark.parametrize(("rule", "factory"), BROKEN)
def test_a_broken_template_is_told(rule: str, factory: Any) -> None:
    assert_told(lambda: check_chat_template(factory, Bytes()), rule, RULES)


def test_every_rule_is_broken_once() -> None:
    assert {rule for rule, _ in BROKEN} == set(RULES)
