"""Messages, and the template that turns a conversation into ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, Protocol

from nanoshell.errors import TokenizerError, unknown_name
from nanoshell.tokenizer.base import Tokenizer
from nanoshell.tokenizer.special import ASSISTANT, SYSTEM, USER

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant")


@dataclass(frozen=True)
class Origin:
    """How a reply came to be: what asks for the same again.

    ``model`` is its label and ``step`` that of its run; ``tokens`` were sampled after a prompt of
    ``prompt_tokens``, at most ``max_tokens``. ``sampling`` holds every setting of the samplers.
    """

    model: str
    step: int | None
    seed: int
    tokens: int
    prompt_tokens: int
    max_tokens: int
    sampling: Mapping[str, float] = field(default_factory=dict)
    stop: tuple[str, ...] = ()
    logit_bias: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Message:
    """One message. An ``interrupted`` reply was cut short and is kept as far as it came.

    ``created`` is in seconds since 1970, None where nobody knows; ``origin`` is that of a sampled reply.
    ``replaced`` holds, at the user's message that begins a turn, earlier versions of the whole turn, the
    oldest first. Two messages are equal where they say the same.
    """

    role: Role
    content: str
    interrupted: bool = False
    created: float | None = field(default=None, compare=False)
    origin: Origin | None = field(default=None, compare=False)
    replaced: tuple[tuple[Message, ...], ...] = field(default=(), compare=False)


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


_ROLE_TOKENS: Mapping[str, str] = MappingProxyType({"system": SYSTEM, "user": USER, "assistant": ASSISTANT})


def role_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """Return the ids of the roles' tokens, as far as ``tokenizer`` has them."""
    spellings = tokenizer.special_tokens
    return frozenset(spellings[token] for token in _ROLE_TOKENS.values() if token in spellings)


class RoleTemplate:
    """A role's token, then the content; ``<|endoftext|>`` after each turn of the assistant.

    The roles' tokens are ``<|system|>``, ``<|user|>`` and ``<|assistant|>``; nothing stands between one and
    the content. A reply that was interrupted ends like any other, so that the next turn begins where the
    model expects one.
    """

    name = "roles"

    def encode(self, messages: Sequence[Message], tokenizer: Tokenizer, *, reply: bool = False) -> list[int]:
        """Return the ids of ``messages``; with ``reply``, the assistant's role token at the end.

        Contents are encoded as ordinary text. Raises `TokenizerError` where ``tokenizer`` has no role tokens.
        """
        ids: list[int] = []
        for message in messages:
            ids.append(self._role_id(message.role, tokenizer))
            ids += tokenizer.encode(message.content)
            if message.role == "assistant":
                ids.append(tokenizer.end_of_text)
        if reply:
            ids.append(self._role_id("assistant", tokenizer))
        return ids

    def stop_ids(self, tokenizer: Tokenizer) -> frozenset[int]:
        """Return the id of ``<|endoftext|>`` and those of the three roles."""
        return frozenset({tokenizer.end_of_text, *(self._role_id(role, tokenizer) for role in ROLES)})

    def _role_id(self, role: str, tokenizer: Tokenizer) -> int:
        spelling = _ROLE_TOKENS.get(role)
        if spelling is None:
            raise unknown_name("role", role, ROLES)
        if spelling not in tokenizer.special_tokens:
            raise TokenizerError(
                f"tokenizer '{tokenizer.name}' has no {spelling} token; chat template '{self.name}' needs it",
                hint="choose another chat template, or a model with the tokenizer cl100k_base",
            )
        return tokenizer.special_tokens[spelling]
