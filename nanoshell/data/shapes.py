"""One line of a JSONL file to a document: the shapes that are known, and what to say about others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nanoshell.chat.template import Message
from nanoshell.data.source import Document
from nanoshell.errors import DataError, nearest

SHAPES = (
    '{"text": …}',
    '{"prompt": …, "completion": …}',
    '{"question": …, "answer": …}',
    '{"messages": [{"role": …, "content": …}, …]}',
)
_SYNONYMS = {
    "content": "text",
    "response": "completion",
    "instruction": "question",
    "output": "answer",
    "conversations": "messages",
    "conversation": "messages",
}
_ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
_HINT = "the shapes known: " + " · ".join(SHAPES)


def document_of(record: Any, origin: str) -> Document:
    """Return the document that the parsed line ``record`` holds; ``origin`` is its file and line.

    Keys beside those of the shape are ignored, as are nulls. Where the keys fit several shapes, messages go
    first, then question and answer, prompt and completion, text. Also read: Alpaca's instruction, input and
    output, ShareGPT's conversations. Raises `DataError` with the keys seen.
    """
    if not isinstance(record, dict):
        raise DataError(f"{origin}: {_kind(record)}, where an object belongs", hint=_HINT)
    fields = _fields(record)
    if "messages" in fields:
        return Document(messages=_messages(fields["messages"], origin), origin=origin)
    if "question" in fields and "answer" in fields:
        question, answer = _text(fields, "question", origin), _text(fields, "answer", origin)
        if "instruction" in record and fields.get("input"):
            question = f"{question}\n\n{_text(fields, 'input', origin)}"
        return Document(messages=(Message("user", question), Message("assistant", answer)), origin=origin)
    if "prompt" in fields and "completion" in fields:
        prompt, completion = _text(fields, "prompt", origin), _text(fields, "completion", origin)
        return Document(text=prompt + completion, origin=origin)
    if "text" in fields:
        return Document(text=_text(fields, "text", origin), origin=origin)
    raise DataError(f"{origin}: unknown shape, with {_keys(record)}", hint=_HINT)


def _fields(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields under the names of `SHAPES`; a field's own name goes before a synonym."""
    present = {key: value for key, value in record.items() if value is not None}
    renamed = {_SYNONYMS[key]: value for key, value in present.items() if key in _SYNONYMS}
    return {**renamed, **present}


def _text(fields: Mapping[str, Any], key: str, origin: str) -> str:
    value = fields[key]
    if not isinstance(value, str):
        raise DataError(f"{origin}: '{key}' is {_kind(value)}, not text", hint=_HINT)
    return value


def _messages(value: Any, origin: str) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        what = "an empty list" if value == [] else _kind(value)
        raise DataError(f"{origin}: 'messages' is {what}, where a list of turns belongs", hint=_HINT)
    return tuple(_message(item, f"{origin}, message {number}") for number, item in enumerate(value, 1))


def _message(item: Any, origin: str) -> Message:
    if not isinstance(item, dict):
        raise DataError(f"{origin}: {_kind(item)}, where role and content belong", hint=_HINT)
    role = item.get("role", item.get("from"))
    content = item.get("content", item.get("value"))
    if role is None or content is None:
        raise DataError(f"{origin}: role or content is missing, there is {_keys(item)}", hint=_HINT)
    if not isinstance(content, str):
        raise DataError(f"{origin}: the content is {_kind(content)}, not text", hint=_HINT)
    known = _ROLES.get(role) if isinstance(role, str) else None
    if known is None:
        match = nearest(str(role), _ROLES)
        raise DataError(
            f"{origin}: unknown role '{role}'" + (f"; did you mean '{match}'?" if match else ""),
            hint="a role is system, user or assistant; remove the messages of others",
        )
    return Message(known, content)  # type: ignore[arg-type]


def _keys(record: Mapping[str, Any]) -> str:
    names = ", ".join(f"'{key}'" for key in list(record)[:8]) + (" …" if len(record) > 8 else "")
    return f"the keys {names}" if names else "no keys"


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
