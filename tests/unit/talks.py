"""Conversations as tests write them."""

from __future__ import annotations

from nanoshell.chat.conversation import Conversation
from nanoshell.chat.template import Message, Role


def said(name: str, *contents: str) -> Conversation:
    """Return the conversation ``name`` of ``contents``, which the user begins and the model answers."""
    roles: tuple[Role, Role] = ("user", "assistant")
    return Conversation(name, [Message(roles[n % 2], content) for n, content in enumerate(contents)])
