"""A turn of chat as a command's result: the reply as it comes, then one quiet line about it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, TypedDict, TypeVar

from nanoshell.command.aside import Aside
from nanoshell.command.render import counted
from nanoshell.errors import Interrupted

if TYPE_CHECKING:
    from nanoshell.command.result import Screen
    from nanoshell.generation.request import GeneratedToken
    from nanoshell.generation.row import Generation
    from nanoshell.reply import Reply
    from nanoshell.session import Session

T = TypeVar("T")

PATIENCE_SECONDS = 0.4
"""How long a person waits without wondering."""

SLOW = "the model's step has not ended yet; Ctrl-C again does not wait for it"
LEFT_BEHIND = "its step did not end; the model is loaded anew when it is needed"

_WHY = {
    "": " · interrupted",
    "interrupted": " · interrupted",
    "length": " · cut at max_tokens",
    "context": " · context is full",
}


class ReplyDocument(TypedDict):
    """A reply as scripts get it: the message, why it ended, and its figures.

    ``reused_tokens`` of the ``prompt_tokens`` were known from the last turn; the oldest ``dropped_turns`` did
    not fit into the model's context. ``seed`` repeats the reply.
    """

    role: str
    content: str
    finish_reason: str
    stop_reason: str | None
    tokens: int
    prompt_tokens: int
    reused_tokens: int
    tokens_per_second: float
    dropped_turns: int
    seed: int


@contextlib.contextmanager
def patience(screen: Screen, label: str) -> Iterator[None]:
    """Say ``label`` on a terminal, with something that moves, where the block takes longer than a moment."""
    if not screen.live:
        yield
        return
    status = screen.err.status(label)
    timer = threading.Timer(PATIENCE_SECONDS, status.start)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        status.stop()


def awaited(items: Iterator[T], screen: Screen, label: str = "reading the prompt") -> Iterator[T]:
    """Yield ``items``, with `patience` while the first of them is waited for."""
    with patience(screen, label):
        first = list(islice(items, 1))
    yield from first
    yield from items


class ReplyStream:
    """A `Stream` of the assistant's next turn; ``start`` begins it and returns its `Reply`."""

    def __init__(self, start: Callable[[], Reply]) -> None:
        self._start = start

    def show(self, screen: Screen) -> None:
        """Write the reply token by token. Ctrl-C keeps what has come, and ends a script."""
        with contextlib.ExitStack() as kept:
            with patience(screen, "loading the model"):
                reply = self._start()
                kept.callback(reply.close)  # Ctrl-C from here on leaves no question without a reply
            self._show(reply, screen)

    def _show(self, reply: Reply, screen: Screen) -> None:
        if reply.dropped:
            oldest = counted(reply.dropped, "turn")
            screen.note(f"the context is full: the model no longer sees the oldest {oldest}")
        special = reply.special_ids
        written = ""
        with _aside(reply, slow=lambda: tell_slow(screen)) as aside:
            for token in awaited(iter(reply), screen):
                screen.flow(token.text, "nano.special" if token.id in special else "")
                written = token.text or written
        if not written.endswith("\n"):
            screen.flow("\n")
        if reply.trouble:
            screen.note(reply.trouble)
        generation = reply.generation
        if aside.left_behind:
            reply.leave_behind()
            screen.note(LEFT_BEHIND)
        if generation.finish_reason in ("", "interrupted") and not screen.prompt:
            raise Interrupted(speed_note(generation))  # which says that it was interrupted
        screen.note(speed_note(generation))

    def lines(self) -> Iterator[ReplyDocument]:
        yield self.document()

    def document(self) -> ReplyDocument:
        """Return the reply as `reply_document` does."""
        with contextlib.closing(self._start()) as reply:
            answer_aside(reply)
        if reply.generation.finish_reason in ("", "interrupted"):
            raise Interrupted
        return reply_document(reply)


def answer_aside(reply: Reply) -> None:
    """Let the whole ``reply`` be written. Ctrl-C keeps what has come; a second one waits no longer."""
    with _aside(reply) as aside:
        for _ in reply:
            pass
    if aside.left_behind:
        reply.leave_behind()


def speed_note(generation: Generation) -> str:
    """Return the quiet line below a text: its tokens, their speed, and why it ended, if not by itself."""
    if generation.finish_reason == "stop" and not generation.ids:
        return "the model ended its reply at once"
    speed = f" · {generation.tokens_per_second:,.0f} tokens/s" if generation.ids else ""
    count = counted(len(generation.ids), "token")
    return f"{count}{speed}{_WHY.get(generation.finish_reason, '')}"


def tell_slow(screen: Screen) -> None:
    """Say on a line of its own that the step of the model lasts, and how to get away from it."""
    screen.flow("\n")
    screen.note(SLOW)


def _aside(reply: Reply, slow: Callable[[], None] = lambda: None) -> Aside[GeneratedToken]:
    """Return the tokens of ``reply`` computed aside, and let the reply take them from there."""
    aside = Aside(iter(reply.generation), reply.generation.interrupt, slow=slow)
    reply.tokens = aside
    return aside


def reply_document(reply: Reply) -> ReplyDocument:
    """Return a reply that has ended as scripts get it: the message, why it ended, and its figures."""
    generation = reply.generation
    return {
        "role": "assistant",
        "content": generation.text,
        "finish_reason": generation.finish_reason,
        "stop_reason": generation.stop_reason,
        "tokens": len(generation.ids),
        "prompt_tokens": generation.prompt_tokens,
        "reused_tokens": generation.reused_tokens,
        "tokens_per_second": round(generation.tokens_per_second, 2),
        "dropped_turns": reply.dropped,
        "seed": generation.seed,
    }


def reply_to(session: Session, text: str) -> ReplyStream:
    """Return the turn that answers ``text`` in the session's conversation."""
    return ReplyStream(lambda: session.reply(text))
