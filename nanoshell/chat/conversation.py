"""One conversation in memory: its messages, taking turns back, and what of it fits into a model's context."""

from __future__ import annotations

import bisect
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from nanoshell.chat.template import ChatTemplate, Message, Role
from nanoshell.errors import NanoshellError, TokenizerError
from nanoshell.spelling import typed
from nanoshell.tokenizer.base import Tokenizer

_TITLE_LENGTH = 60


@dataclass
class Conversation:
    """Messages under a name. The system message, where there is one, is the first.

    ``id``, ``revision`` and ``stored``, the messages as they are kept, belong to the store: None, 0 and none
    until the conversation is saved.
    """

    name: str
    messages: list[Message] = field(default_factory=list)
    id: int | None = None
    revision: int = 0
    stored: list[Message] = field(default_factory=list, compare=False, repr=False)

    @property
    def system(self) -> str | None:
        """The system message's text, None without one."""
        first = self.messages[0] if self.messages else None
        return first.content if first is not None and first.role == "system" else None

    def set_system(self, text: str | None) -> None:
        """Set or replace the system message; None or '' removes it. The turns stay."""
        if self.system is not None:
            del self.messages[0]
        if text:
            self.messages.insert(0, Message("system", text, created=time.time()))

    def add(self, role: Role, content: str, interrupted: bool = False) -> Message:
        """Append a message of this moment and return it."""
        message = Message(role, content, interrupted, created=time.time())
        self.messages.append(message)
        return message

    def undo(self) -> list[Message]:
        """Take back the last user message and all that follows it; return them in order.

        Raises `NanoshellError` where the user has said nothing yet.
        """
        start = self._last_turn()
        taken = self.messages[start:]
        del self.messages[start:]
        return taken

    @property
    def last_turn(self) -> list[Message]:
        """The last message of the user and what follows it. Raises `NanoshellError` where there is none."""
        return self.messages[self._last_turn() :]

    def ask_again(self, text: str) -> Message:
        """Put the last turn aside, and return the question in its place, ``text``, now the last message.

        The turn is kept among the ``replaced`` of the question. Raises as `undo` does.
        """
        turn = self.undo()
        question = turn[0]
        answered = len(turn) > 1 or text != question.content
        replaced = (*question.replaced, _plain(turn)) if answered else question.replaced
        asked = Message("user", text, created=time.time(), replaced=replaced)
        self.messages.append(asked)
        return asked

    def bring_back(self) -> int:
        """Exchange the last turn for the version before it, and return how many versions there are.

        The present one becomes the oldest, so that going on comes round to it. Raises `NanoshellError` where
        there is but one.
        """
        replaced = self.last_turn[0].replaced
        if not replaced:
            raise NanoshellError(
                "the last turn has no earlier version",
                hint=f"{typed('retry')} and {typed('edit')} make one",
            )
        turn = self.undo()
        *older, (question, *rest) = replaced
        self.messages += [replace(question, replaced=(_plain(turn), *older)), *rest]
        return len(replaced) + 1

    def fork(self, name: str, messages: int | None = None) -> Conversation:
        """Return a conversation ``name`` that begins with the first ``messages`` of this one, or with all."""
        return Conversation(name, self.messages[:messages])

    def _last_turn(self) -> int:
        """Return where the last turn that the user began begins. Raises `NanoshellError`."""
        starts = _turn_starts(self.messages)
        if not starts or self.messages[starts[-1]].role != "user":
            raise NanoshellError(f"nothing has been said in '{self.name}' yet", hint="say something first")
        return starts[-1]

    def fit(
        self, template: ChatTemplate, tokenizer: Tokenizer, max_positions: int, reserve: int
    ) -> FittedPrompt:
        """Return the prompt for the next reply, as `fit` does for the messages.

        Raises `TokenizerError` naming the conversation where it is an earlier message that cannot be encoded.
        """
        try:
            return fit(self.messages, template, tokenizer, max_positions, reserve)
        except TokenizerError:
            for message in self.messages[:-1]:
                try:
                    tokenizer.encode(message.content)
                except TokenizerError as error:
                    raise TokenizerError(
                        f"an earlier message of {self.name} cannot be read by this model: {error.message}",
                        hint=f"{typed('chat new')} begins a new conversation",
                    ) from error
            raise

    @property
    def title(self) -> str:
        """The beginning of the first user message on one line, '' where there is none."""
        first = next((message.content for message in self.messages if message.role == "user"), "")
        line = " ".join(first.split())
        return line if len(line) <= _TITLE_LENGTH else line[: _TITLE_LENGTH - 1] + "…"


@dataclass(frozen=True)
class FittedPrompt:
    """The ``ids`` of what fits of a conversation, and how many of its oldest turns were ``dropped``."""

    ids: list[int]
    dropped: int


def fit(
    messages: Sequence[Message],
    template: ChatTemplate,
    tokenizer: Tokenizer,
    max_positions: int,
    reserve: int,
) -> FittedPrompt:
    """Return the prompt for the next reply: ``<|endoftext|>``, the messages, the opened assistant turn.

    A turn is a user message with what follows it. The oldest turns are left out until the prompt and
    ``reserve`` tokens of reply fit into ``max_positions``; system messages never are. Raises `NanoshellError`
    with the sizes where not even the last turn fits.
    """
    starts = _turn_starts(messages)

    def is_system(message: Message) -> bool:
        return message.role == "system"

    def prompt(dropped: int) -> list[int]:
        first = starts[dropped] if dropped else 0
        kept = [message for index, message in enumerate(messages) if index >= first or is_system(message)]
        return [tokenizer.end_of_text, *template.encode(kept, tokenizer, reply=True)]

    # A prompt only becomes shorter as turns are dropped, so few of the possible prompts need to be encoded.
    candidates = range(max(len(starts), 1))
    dropped = bisect.bisect_left(candidates, True, key=lambda n: len(prompt(n)) + reserve <= max_positions)
    if dropped == len(candidates):
        system = "the system message and " if any(map(is_system, messages)) else ""
        raise NanoshellError(
            f"{system}the last message need {len(prompt(candidates[-1]))} tokens; with {reserve} kept for the"
            f" reply that is more than the {max_positions} positions of the model",
            hint="shorten what you said or the system message, or load a model with a longer context",
        )
    return FittedPrompt(prompt(dropped), dropped)


def _plain(turn: Sequence[Message]) -> tuple[Message, ...]:
    """Return ``turn`` as a version to keep, which has no versions of its own."""
    return tuple(replace(message, replaced=()) if message.replaced else message for message in turn)


def _turn_starts(messages: Sequence[Message]) -> list[int]:
    """Return where turns begin: at each user message, and at an assistant message before the first of
    them."""
    starts: list[int] = []
    for index, message in enumerate(messages):
        if message.role == "user" or (message.role == "assistant" and not starts):
            starts.append(index)
    return starts
