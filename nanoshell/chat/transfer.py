"""A conversation as a file: one line of ``{"messages": […]}``, which is also a shape that training data may
have."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from nanoshell.chat.conversation import Conversation
from nanoshell.chat.record import storable
from nanoshell.chat.template import ROLES, Message
from nanoshell.errors import DataError, MissingDataError, nearest

_SHAPE = 'expected {"messages": [{"role": "user", "content": …}, …]}, as export writes it'


def messages_line(conversation: Conversation) -> str:
    """Return ``conversation`` as a line of JSON: ``{"messages": […]}``.

    A reply that was interrupted has ``"interrupted": true`` beside its content. A lone surrogate, which UTF-8
    has not, is U+FFFD, as the tokenizer and the store read it.
    """
    messages = [
        {"role": message.role, "content": message.content}
        | ({"interrupted": True} if message.interrupted else {})
        for message in conversation.messages
    ]
    return storable(json.dumps({"messages": messages}, ensure_ascii=False)) + "\n"


def import_conversation(path: Path) -> Conversation:
    """Return the one conversation in the file ``path``, under the file's name without its ending.

    The JSON may be spread over several lines; ``-`` is standard input. Raises `DataError` that says what is
    wrong and where.
    """
    piped = str(path) == "-"
    if piped:
        path = Path("standard input")
    value = _one_value(path, _text(path, sys.stdin.buffer.read() if piped else None))
    messages = value.get("messages") if isinstance(value, dict) else None
    if not isinstance(messages, list) or not messages:
        raise DataError(f"{path} holds no conversation", hint=_SHAPE)
    name = "imported-1" if piped else _printable(path.stem)
    return Conversation(name, [_message(path, number, item) for number, item in enumerate(messages, 1)])


def _printable(stem: str) -> str:
    """Return a file's name as one that a conversation may have: on one line, of what can be shown."""
    shown = "".join(char if char.isprintable() else " " for char in stem)
    return " ".join(shown.split()) or "imported-1"


def _text(path: Path, piped: bytes | None) -> str:
    try:
        return (path.read_bytes() if piped is None else piped).decode("utf-8-sig")
    except OSError as error:
        kind = MissingDataError if isinstance(error, FileNotFoundError) else DataError
        raise kind(f"cannot read {path}: {error.strerror}", hint="name a file that export wrote") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 (byte {error.start})", hint="convert it to UTF-8, or name another file"
        ) from error


def _one_value(path: Path, text: str) -> Any:
    """Return the JSON value that ``text`` holds, as one document or as the only line of JSON lines."""
    decoder = json.JSONDecoder()
    begin = len(text) - len(text.lstrip())
    try:
        value, end = decoder.raw_decode(text, begin)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: broken JSON: {error.msg}", hint=_SHAPE) from error
    except RecursionError as error:
        raise DataError(f"{path}: JSON nested too deeply", hint=_SHAPE) from error
    if text[end:].strip():
        raise DataError(
            f"{path} holds more than one conversation", hint="keep the line of one; train reads them all"
        )
    return value


def _message(path: Path, number: int, item: Any) -> Message:
    where = f"{path}, message {number}"
    if not isinstance(item, dict) or not isinstance(item.get("content"), str):
        raise DataError(f"{where}: no role with a content of text", hint=_SHAPE)
    role = item.get("role")
    for known in ROLES:
        if role == known:
            return Message(known, item["content"], item.get("interrupted") is True)
    match = nearest(role, ROLES) if isinstance(role, str) else None
    raise DataError(
        f"{where}: unknown role {role!r}" + (f"; did you mean '{match}'?" if match else ""),
        hint="a role is " + ", ".join(ROLES),
    )
