"""Requests to a run's worker, made and waited for aside, so that the dashboard never stands still."""

from __future__ import annotations

import contextvars
import queue
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nanoshell.errors import NanoshellError, StorageError
from nanoshell.runs.control import request, wait_for
from nanoshell.runs.telling import tell_evaluation

if TYPE_CHECKING:
    from nanoshell.runs.directory import RunDirectory
    from nanoshell.runs.events import Event
    from nanoshell.session import Session

IMPATIENCE_SECONDS = 10.0
"""After so long without an answer it is said that there is none yet."""

PATIENCE_SECONDS = 600.0
"""An evaluation may take minutes; nothing is waited for any longer than this."""

NEW_SAMPLES = "new samples"
"""What an answer is about that tells of samples, wherever they are not seen by themselves."""

_SCHEDULED = re.compile(r"the rate of step [\d,]+ is (\S+) \((\w+)[^;]*(?:; it would have been ([^\s;]+))?")

Tell = Callable[[str, str, str], None]
"""Takes what is to be said, its severity, and about what: it takes the place of what was said about the same.

Called in another thread, after what is pending has changed; with '' where that is all.
"""


@dataclass(eq=False)
class Request:
    """A request that has no answer yet."""

    run: RunDirectory
    action: str
    arguments: dict[str, Any] = field(default_factory=dict)
    number: int = 0

    def repeats(self, other: Request) -> bool:
        """Return whether this asks the same as ``other``."""
        mine, its = ((one.run.path, one.action, one.arguments) for one in (self, other))
        return mine == its

    @property
    def learning_rate(self) -> float | None:
        """The learning rate that was asked for, None where it was something else."""
        values = self.arguments.get("values") or {}
        return values.get("learning_rate") if self.action == "set" else None

    @property
    def about(self) -> str:
        """What answers are about of which the newest alone matters."""
        return f"{self.run.name}: {'pause' if self.action == 'resume' else self.words}"

    @property
    def words(self) -> str:
        """What was asked for, in a word or two."""
        values = self.arguments.get("values") or {}
        return " ".join(values).replace("_", " ") if self.action == "set" and values else self.action


class Requests:
    """Asks runs, in the order in which it is told to, and tells what they answer.

    Leaving the dashboard takes nothing back.
    """

    def __init__(self, session: Session | None, tell: Tell) -> None:
        self._session = session
        self._tell = tell
        self._over = threading.Event()
        self._pending: list[Request] = []
        self._asked = 0
        self._told: dict[str, int] = {}
        self._telling = threading.Lock()
        self._guard = threading.Lock()
        self._unwritten: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None

    def ask(self, run: RunDirectory, action: str, **arguments: Any) -> None:
        """Ask ``run`` for ``action``; the answer, or why there is none, is told.

        What was asked last, and is not answered yet, is not asked again.
        """
        self._asked += 1
        asked = Request(run, action, arguments, self._asked)
        before = self.pending(run.name)
        if before and asked.repeats(before[-1]):
            self._say(
                f"{run.name} was asked already ({asked.words}); it answers after its step",
                "warning",
                asked.about,
            )
            return
        with self._guard:
            self._pending.append(asked)
        self._unwritten.put(asked)
        if self._writer is None:
            # Hints name commands as they are typed in this face, which a thread does not know by itself.
            spelled = contextvars.copy_context()
            self._writer = threading.Thread(
                target=spelled.run, args=(self._write,), name="ask runs", daemon=True
            )
            self._writer.start()

    def pending(self, run: str) -> list[Request]:
        """Return what the run of that name was asked for and has not answered, the oldest first."""
        with self._guard:
            return [asked for asked in self._pending if asked.run.name == run]

    def close(self) -> None:
        """Tell nothing from now on."""
        self._over.set()
        self._unwritten.put(None)

    def _write(self) -> None:
        """Write requests in their order; each has a thread that waits for its answer."""
        while (asked := self._unwritten.get()) is not None:
            ask = self._session.ask_run if self._session is not None else request
            name, action = asked.run.name, asked.action
            try:
                request_id = ask(asked.run, action, **asked.arguments)
            except StorageError as error:  # its hint would be another folder, and a run has one alone
                why = error.message + ("" if error.no_room else "; --read-only shows runs and asks nothing")
                self._end(asked, f"{name} was not asked ({asked.words}): {why}", "error")
            except NanoshellError as error:
                self._end(asked, error.message + (f"; {error.hint}" if error.hint else ""), "error")
            except OSError as error:
                self._end(asked, f"{name} cannot be asked to {action}: {error.strerror or error}", "error")
            else:
                threading.Thread(
                    target=self._wait, args=(asked, request_id), name=f"ask {name}", daemon=True
                ).start()

    def _wait(self, asked: Request, request_id: str) -> None:
        run, name = asked.run, asked.run.name
        waited = 0.0
        while waited < PATIENCE_SECONDS and not self._over.is_set():
            try:
                answer = wait_for(run, request_id, IMPATIENCE_SECONDS, poll=0.1)
                ended = answer is None and run.status().ended
            except (NanoshellError, OSError) as error:
                self._end(asked, f"{name} is not there to answer ({asked.words}): {error}", "error")
                return
            if answer is not None:
                severity = "information" if answer.get("ok", True) else "error"
                about = NEW_SAMPLES if answer.get("samples") else asked.about
                self._end(asked, f"{name}: {answer_words(asked.action, answer)}", severity, about)
                return
            if ended:
                self._end(asked, f"{name} ended before it answered ({asked.words})", "warning")
                return
            if not waited:
                late = f"has not answered ({asked.words}) for {IMPATIENCE_SECONDS:.0f} s"
                self._say(f"{name} {late}; it looks after every step", "warning", asked.about)
            waited += IMPATIENCE_SECONDS
        minutes = f"{PATIENCE_SECONDS / 60:.0f} minutes"
        self._end(
            asked, f"{name} has not answered ({asked.words}) for {minutes}: no longer waited for", "error"
        )

    def _end(self, asked: Request, text: str, severity: str, about: str = "") -> None:
        with self._guard:
            self._pending.remove(asked)
        with self._telling:  # each is waited for by itself: what was asked later may be answered before
            newest = self._told.get(asked.about, 0)
            overtaken = newest > asked.number
            self._told[asked.about] = max(newest, asked.number)
            quiet = overtaken and severity == "information"
            self._say("" if quiet else text, severity, "" if overtaken else about or asked.about)

    def _say(self, text: str, severity: str, about: str) -> None:
        if not self._over.is_set():
            self._tell(text, severity, about)


def answer_words(action: str, answer: Event) -> str:
    """Return what the worker's ``answer`` to ``action`` says, with the hint of a refusal."""
    message = str(answer.get("message") or action)
    if not answer.get("ok", True):
        hint = str(answer.get("hint") or "")
        return f"{message}; {hint}" if hint else message
    if action == "evaluate" and {"loss", "val_loss"} & answer.keys():
        return tell_evaluation(answer)
    if action == "set" and answer.get("values"):
        return change_words(answer)
    if action == "extend" and answer.get("total_steps"):
        return "; ".join([f"goes on to step {answer['total_steps']:,}", *_news(answer)])
    if action == "checkpoint" and answer.get("path"):
        return f"{message} {answer['path']}"
    if action == "sample" and answer.get("no_prompts"):
        return f"{message}; t in the view Samples tries a prompt"
    if action == "sample" and answer.get("samples"):
        return f"{message} more, in the view Samples"
    return message


def change_words(answer: Event) -> str:
    """Return what an answer to ``set`` says: ``learning rate 0.001 -> 0.0008``, and what follows from it."""
    before, values = answer.get("before") or {}, answer["values"]
    said = []
    for key, value in values.items():
        old = f"{_figure(before[key])} -> " if key in before else ""
        said.append(f"{key.replace('_', ' ')} {old}{_figure(value)}")
    return "; ".join([*said, *_news(answer)])


def _news(answer: Event) -> list[str]:
    """Return what else a change brought: the rate of the next step, and why it is not saved yet."""
    message, said = str(answer.get("message") or ""), []
    # The rate of the next step is news where the schedule makes it another than the peak.
    if scheduled := _SCHEDULED.search(message):
        rate, kind, before = scheduled.groups()
        longer = before and "total_steps" in answer  # else the change of the peak was told already
        said.append(f"learning rate {before} -> {rate} ({kind})" if longer else f"now {rate} ({kind})")
    return said + [part for part in message.split("; ") if part.startswith("not saved")]


def _figure(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
