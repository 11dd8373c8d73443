"""Completion that nobody waits for: what is slow comes later, what is endless never, and typing goes on."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Iterable
from concurrent.futures import Future, InvalidStateError

from prompt_toolkit.application import get_app_or_none
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

MOST_THREADS = 4
"""Completions under way at once: further ones are left out until a slow one has ended."""

_LOOK_SECONDS = 0.05


class PatientCompleter(Completer):
    """Asks ``completer`` in a thread that nothing ever waits for, neither the next line nor the end.

    The library's own threads would be: leaving the prompt waits for each that still runs.
    """

    def __init__(self, completer: Completer) -> None:
        self._completer = completer
        self._free = threading.Semaphore(MOST_THREADS)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Return the completions; whatever goes wrong, none."""
        try:
            return list(self._completer.get_completions(document, complete_event))
        except BaseException:  # a plugin's completer must not end the prompt, nor keep it waiting
            return []

    async def get_completions_async(
        self, document: Document, complete_event: CompleteEvent
    ) -> AsyncGenerator[Completion, None]:
        """Yield the completions, once they are there; none where the line has changed meanwhile."""
        if not self._free.acquire(blocking=False):
            return
        answer: Future[list[Completion]] = Future()

        def ask() -> None:
            try:
                found = list(self.get_completions(document, complete_event))
            finally:
                self._free.release()
            with contextlib.suppress(InvalidStateError):  # nobody waits any more
                answer.set_result(found)

        threading.Thread(target=ask, name="completion", daemon=True).start()
        waiting = asyncio.wrap_future(answer)
        while not waiting.done():
            await asyncio.wait([waiting], timeout=_LOOK_SECONDS)
            if not waiting.done() and _has_changed(document):
                return
        for completion in waiting.result():
            yield completion


def _has_changed(document: Document) -> bool:
    app = get_app_or_none()
    return app is not None and app.current_buffer.document.text != document.text
