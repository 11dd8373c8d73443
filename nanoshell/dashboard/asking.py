"""Requests to a run's worker, made and waited for aside, so that the dashboard never stands still."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nanoshell.errors import NanoshellError
from nanoshell.runs.control import request, wait_for
from nanoshell.runs.telling import tell_changes, tell_evaluation

if TYPE_CHECKING:
    from nanoshell.runs.directory import RunDirectory
    from nanoshell.runs.events import Event
    from nanoshell.session import Session

IMPATIENCE_SECONDS = 10.0
"""After so long without an answer it is said that there is none yet."""

PATIENCE_SECONDS = 600.0
"""An evaluation may take minutes; nothing is waited for any longer than this."""

Tell = Callable[[str, str], None]
"""Takes what is to be said and its severity. Called in another thread."""


class Requests:
    """Asks runs, and tells what they answer. Leaving the dashboard takes nothing back."""

    def __init__(self, session: Session | None, tell: Tell) -> None:
        self._session = session
        self._tell = tell
        self._over = threading.Event()
        self.pending = 0

    def ask(self, run: RunDirectory, action: str, **arguments: Any) -> None:
        """Ask ``run`` for ``action``; the answer, or why there is none, is told."""
        threading.Thread(
            target=self._ask, args=(run, action, arguments), name=f"ask {run.name}", daemon=True
        ).start()

    def close(self) -> None:
        """Tell nothing from now on."""
        self._over.set()

    def _ask(self, run: RunDirectory, action: str, arguments: dict[str, Any]) -> None:
        try:
            ask = self._session.ask_run if self._session is not None else request
            request_id = ask(run, action, **arguments)
            self._wait(run, action, request_id)
        except NanoshellError as error:
            self._say(error.message + (f"; {error.hint}" if error.hint else ""), "error")
        except OSError as error:
            self._say(f"{run.name} cannot be asked to {action}: {error.strerror or error}", "error")

    def _wait(self, run: RunDirectory, action: str, request_id: str) -> None:
        waited = 0.0
        while waited < PATIENCE_SECONDS and not self._over.is_set():
            answer = wait_for(run, request_id, IMPATIENCE_SECONDS, poll=0.1)
            if answer is not None:
                good = answer.get("ok", True)
                self._say(f"{run.name}: {answer_words(action, answer)}", "information" if good else "error")
                return
            if run.status().ended:
                self._say(f"{run.name} ended before it answered to {action}", "warning")
                return
            if not waited:
                self._say(
                    f"{run.name} has not answered to {action} for {IMPATIENCE_SECONDS:.0f} s; "
                    "it looks after every step",
                    "warning",
                )
            waited += IMPATIENCE_SECONDS

    def _say(self, text: str, severity: str) -> None:
        if not self._over.is_set():
            self._tell(text, severity)


def answer_words(action: str, answer: Event) -> str:
    """Return what the worker's ``answer`` to ``action`` says, with the hint of a refusal."""
    message = str(answer.get("message") or action)
    if not answer.get("ok", True):
        hint = str(answer.get("hint") or "")
        return f"{message}; {hint}" if hint else message
    if action == "evaluate" and {"loss", "val_loss"} & answer.keys():
        return tell_evaluation(answer)
    if action == "set" and answer.get("values"):
        return tell_changes(answer)
    if action == "extend" and answer.get("total_steps"):
        return f"goes on to step {answer['total_steps']:,}"
    return message
