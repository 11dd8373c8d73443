"""Messages, and the template that turns a conversation into ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from nanoshell.tokenizer.base import Tokenizer

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant")


@dataclass(frozen=True)
class Message:
    """One turn. An ``interrupted`` reply was cut short by the user and is kept as far as it came."""

    role: Role
    content: str
    interrupted: bool = False


class ChatTemplate(Protocol):
    """How a conversation is laid out as ids."""

    @property
    def name(self) -> str:
        """The name it is registered under."""

    def encode(self, messages: Sequence[Message], tokenizer: Tokenizer, *, reply: bool = False) -> list[int]:
        """Return the ids of ``messages``; with ``reply``, open the assistant's next turn at the end.

        Contents are encoded as ordinary text: a special token's spelling in them never becomes that token.
        """

    def stop_ids(self, tokenizer: Tokenizer) -> frozenset[int]:
        """Return the ids at which a reply ends."""
