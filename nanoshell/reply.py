"""The assistant's turn of a conversation, while it is being written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanoshell.generation.request import GeneratedToken
    from nanoshell.generation.row import Generation
    from nanoshell.session import Session


class Reply:
    """The assistant's next turn, token by token; however it ends, the conversation has kept it."""

    def __init__(self, session: Session, generation: Generation, dropped: int) -> None:
        self._session = session
        self.generation = generation
        self.dropped = dropped

    def __iter__(self) -> Iterator[GeneratedToken]:
        try:
            yield from self.generation
        except KeyboardInterrupt:
            self.generation.interrupt()
        finally:
            self._keep()

    def _keep(self) -> None:
        session = self._session
        interrupted = self.generation.finish_reason == "interrupted"
        message = session.conversation.add("assistant", self.generation.text, interrupted=interrupted)
        session.store.save(session.conversation)
        session.plugins.notify(
            "message_finished", session=session, conversation=session.conversation, message=message
        )
