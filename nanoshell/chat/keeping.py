"""Keeping a reply while it is written: what a killed process loses of it is a fraction of a second."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from nanoshell.chat.conversation import Conversation
from nanoshell.chat.history import ConversationStore
from nanoshell.chat.template import Message
from nanoshell.errors import NanoshellError

INTERVAL_SECONDS = 0.15
"""From one write to the next; with the time that a write takes, 0.25 s are never reached."""

_DRAFT_PATIENCE = 0.05
_PATIENCE = 1.0
"""Seconds that another program which writes is waited for, in the middle of a reply and around it."""


class ReplyKeeper:
    """Keeps a reply to ``conversation`` in ``store``: at its first token, and then as it grows.

    ``draft()`` returns the reply so far. A thread of its own writes, so that neither a slow disk nor another
    program holds up the decoding; and it writes the last token, too, where none follows for long. A store
    that cannot be written fails no reply: what went wrong is returned, once until a write succeeds again, and
    the next write makes up for it.
    """

    def __init__(
        self, store: ConversationStore, conversation: Conversation, draft: Callable[[], Message]
    ) -> None:
        self._store = store
        self._conversation = conversation
        self._draft = draft
        self._grown = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._broken = ""

    def begin(self) -> str:
        """Keep what the reply answers, and return what went wrong, '' where nothing did."""
        return self._save()

    def grow(self) -> None:
        """Note that the reply has grown. It costs next to nothing."""
        if self._thread is None:
            if self._store.path is None:  # what is in memory alone is lost with the process anyway
                return
            asked = list(self._conversation.messages)  # lest a draft be kept behind the reply that it is of
            self._thread = threading.Thread(
                target=self._write_drafts, args=(asked,), name="keep-reply", daemon=True
            )
            self._thread.start()
        self._grown.set()

    def finish(self, message: Message | None) -> str:
        """Keep the whole reply, or none, and return what went wrong, '' where nothing did."""
        self._ended.set()
        self._grown.set()
        try:
            if self._thread is not None:
                self._thread.join()
        finally:  # whatever interrupts the waiting
            if message is not None:
                self._conversation.messages.append(message)
        return self._save() or self._broken

    def _write_drafts(self, asked: Sequence[Message]) -> None:
        while True:
            self._grown.wait()
            if self._ended.is_set():
                return
            self._grown.clear()
            # What goes wrong here is told when the whole reply cannot be kept either.
            try:
                self._store.save(
                    self._conversation, behind=asked, writing=self._draft(), patience=_DRAFT_PATIENCE
                )
            except NanoshellError:
                self._grown.set()
            except Exception as error:  # no fault of ours may write into the reply; it is told behind it
                self._broken = f"the reply was not kept while it was written: {_words(error)}"
                return
            if self._ended.wait(INTERVAL_SECONDS):
                return

    def _save(self) -> str:
        try:
            self._store.save(self._conversation, patience=_PATIENCE)
        except Exception as error:  # what a plugin puts into a message may be of any kind
            told, self._store.failing = self._store.failing, True
            return "" if told else f"the conversation goes on unkept: {_words(error)}"
        self._store.failing = False
        return ""


def _words(error: Exception) -> str:
    return error.message if isinstance(error, NanoshellError) else f"{type(error).__name__}: {error}"
