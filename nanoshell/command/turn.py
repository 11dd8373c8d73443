"""A turn of chat as a command's result: the reply as it comes, then one quiet line about it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from nanoshell.command.interrupt import on_interrupt
from nanoshell.command.render import counted
from nanoshell.errors import Interrupted

if TYPE_CHECKING:
    from nanoshell.command.result import Screen
    from nanoshell.reply import Reply
    from nanoshell.session import Session


PATIENCE_SECONDS = 0.4
"""How long a person waits without wondering."""


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


class ReplyStream:
    """A `Stream` of the assistant's next turn; ``start`` begins it and returns its `Reply`."""

    def __init__(self, start: Callable[[], Reply]) -> None:
        self._start = start

    def show(self, screen: Screen) -> None:
        """Write the reply token by token. Ctrl-C keeps what has come, and ends a script."""
        with patience(screen, "loading the model"):
            reply = self._start()
        if reply.dropped:
            oldest = counted(reply.dropped, "turn")
            screen.note(f"the context is full: the model no longer sees the oldest {oldest}")
        written = ""
        with on_interrupt(reply.generation.interrupt):
            for token in reply:
                screen.write(token.text)
                written = token.text or written
        if not written.endswith("\n"):
            screen.write("\n")
        generation = reply.generation
        stopped = generation.finish_reason == "interrupted"
        why = {"interrupted": " · stopped", "length": " · cut at max_tokens", "context": " · context is full"}
        if generation.finish_reason == "stop" and not generation.ids:
            screen.note("the model ended its reply at once")
            return
        speed = f" · {generation.tokens_per_second:.0f} tokens/s" if generation.ids else ""
        screen.note(f"{counted(len(generation.ids), 'token')}{speed}{why.get(generation.finish_reason, '')}")
        if stopped and not screen.prompt:
            raise Interrupted

    def lines(self) -> Iterator[Any]:
        yield self.document()

    def document(self) -> Any:
        """Return the reply as `reply_document` does."""
        reply = self._start()
        with on_interrupt(reply.generation.interrupt):
            for _ in reply:
                pass
        if reply.generation.finish_reason == "interrupted":
            raise Interrupted
        return reply_document(reply)


def reply_document(reply: Reply) -> dict[str, Any]:
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
