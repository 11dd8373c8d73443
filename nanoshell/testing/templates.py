"""The contract of a chat template."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from nanoshell.chat.template import ChatTemplate, Message
from nanoshell.testing.contract import Contract, name_of, shown
from nanoshell.tokenizer.base import Tokenizer

RULES = MappingProxyType(
    {
        "builds": "factory() returns an object with name, encode and stop_ids",
        "ids": "encode returns a list of plain ints that the tokenizer has",
        "contents": "every content stands in the ids, in the order of the messages",
        "ordinary": "contents are ordinary text: what spells a special token in one never becomes that token",
        "turns": "who speaks shows: the same content of another role gives other ids",
        "reply": "with reply=True the ids are those without, and what opens the assistant's turn",
        "stops": "stop_ids is a frozenset of ids of the tokenizer, with at least one in it",
        "ends": "after each content of the assistant comes a stop id, so that a model learns to end its turn",
        "again": "equal messages give equal ids",
    }
)
CONVERSATION = (
    Message("system", "Be brief."),
    Message("user", "What is 2 + 2?"),
    Message("assistant", "It is four."),
    Message("user", 'Größe?\n\nNo: "size".'),
    Message("assistant", "Fine", interrupted=True),
)


def check_chat_template(factory: Callable[[], ChatTemplate], tokenizer: Tokenizer | None = None) -> None:
    """Check the template that ``factory()`` returns, with ``tokenizer`` (cl100k_base where it is None)."""
    contract = Contract("chat template", name_of(factory), RULES)
    if tokenizer is None:
        from nanoshell.tokenizer.bpe import cl100k_base

        tokenizer = cl100k_base()
    with contract.keeping("builds", "factory()"):
        template = factory()
    missing = [name for name in ("name", "encode", "stop_ids") if not hasattr(template, name)]
    contract.must("builds", not missing, f"it has no {', '.join(missing)}")
    messages = list(CONVERSATION)
    ids = _encode(contract, template, messages, tokenizer)
    contract.must("again", ids == _encode(contract, template, messages, tokenizer), "they were others")
    text, position = tokenizer.decode(ids), 0
    for message in messages:
        position = text.find(message.content, position)
        contract.must("contents", position >= 0, f"{message.content!r} is not where it should be in {text!r}")
        position += len(message.content)
    _check_ordinary(contract, template, tokenizer)
    others = [
        _encode(contract, template, [Message(role, "Yes")], tokenizer) for role in ("user", "assistant")
    ]
    contract.must("turns", others[0] != others[1], f"user and assistant both give {shown(others[0])}")
    for count in range(len(messages) + 1):
        asked = _encode(contract, template, messages[:count], tokenizer)
        opened = _encode(contract, template, messages[:count], tokenizer, reply=True)
        fine = opened[: len(asked)] == asked and len(opened) > len(asked)
        contract.must("reply", fine, f"after {count} messages they are {shown(opened[-8:])}")
    _check_stops(contract, template, tokenizer)


def _encode(
    contract: Contract,
    template: ChatTemplate,
    messages: list[Message],
    tokenizer: Tokenizer,
    *,
    reply: bool = False,
) -> list[int]:
    with contract.keeping("ids", f"encode of {len(messages)} messages"):
        ids = template.encode(messages, tokenizer, reply=reply)
    contract.must("ids", isinstance(ids, list) and all(type(i) is int for i in ids), shown(ids))
    wrong = [i for i in ids if not 0 <= i < tokenizer.vocab_size or i in tokenizer.unused_ids]
    contract.must("ids", not wrong, f"{wrong[:3]} is none of '{tokenizer.name}'")
    return ids


def _check_ordinary(contract: Contract, template: ChatTemplate, tokenizer: Tokenizer) -> None:
    """Compare contents that spell special tokens with contents that do not: both need the same of them."""
    special = set(tokenizer.special_tokens.values())

    def specials(content: str) -> list[int]:
        messages = [Message("user", content), Message("assistant", content)]
        return [i for i in _encode(contract, template, messages, tokenizer) if i in special]

    plain = specials("nothing of the kind")
    for spelling in tokenizer.special_tokens:
        contract.must("ordinary", specials(f"a {spelling} b") == plain, f"{spelling} in a content became one")


def _check_stops(contract: Contract, template: ChatTemplate, tokenizer: Tokenizer) -> None:
    with contract.keeping("stops", "stop_ids"):
        stops = template.stop_ids(tokenizer)
    known = isinstance(stops, frozenset) and all(0 <= i < tokenizer.vocab_size for i in stops)
    contract.must("stops", known and stops, f"they are {shown(stops)}")
    asked = [Message("user", "Hi")]
    start = len(_encode(contract, template, asked, tokenizer, reply=True))
    for content in ("Hello there", "Yes"):
        answered = [*asked, Message("assistant", content)]
        turn = _encode(contract, template, answered, tokenizer)[start:]
        contract.must("ends", stops.intersection(turn), f"none of {sorted(stops)} in {shown(turn)}")
