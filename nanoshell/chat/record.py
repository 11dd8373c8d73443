"""A message as a row of the store: what it says in columns, how it came to be as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from nanoshell.chat.template import Message, Origin

Row = tuple[Any, str, int, float | None, str | None, str | None]
"""role, content, interrupted, created, origin and replaced."""

COLUMNS = "role, content, interrupted, created, origin, replaced"


def row_of(message: Message) -> Row:
    """Return ``message`` as the values of `COLUMNS`."""
    return (
        message.role,
        storable(message.content),
        int(message.interrupted),
        message.created,
        _json(asdict(message.origin)) if message.origin is not None else None,
        _json([[_document(one) for one in turn] for turn in message.replaced]) if message.replaced else None,
    )


def message_of(row: Row) -> Message:
    """Return the message of which ``row`` holds the `COLUMNS`. Raises ValueError where the JSON is broken."""
    role, content, interrupted, created, origin, replaced = row
    turns = json.loads(replaced) if replaced else []
    return Message(
        role,
        content,
        bool(interrupted),
        created,
        _origin(json.loads(origin)) if origin else None,
        tuple(tuple(_message(document) for document in turn) for turn in turns),
    )


def storable(text: str) -> str:
    """Return ``text`` with lone surrogates, which no encoding can store, as U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _document(message: Message) -> dict[str, Any]:
    return {
        "role": message.role,
        "content": message.content,
        "interrupted": message.interrupted,
        "created": message.created,
        "origin": asdict(message.origin) if message.origin is not None else None,
    }


def _message(document: dict[str, Any]) -> Message:
    return Message(
        document["role"],
        document["content"],
        document["interrupted"],
        document["created"],
        _origin(document["origin"]) if document["origin"] else None,
    )


def _origin(document: dict[str, Any]) -> Origin:
    bias = {int(token): value for token, value in document["logit_bias"].items()}
    return Origin(**{**document, "stop": tuple(document["stop"]), "logit_bias": bias})


def _json(value: Any) -> str:
    return storable(json.dumps(value, ensure_ascii=False))
