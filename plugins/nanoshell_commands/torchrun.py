"""``train`` under torchrun: this process is a worker itself, and the one of rank 0 tells how it goes."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import TYPE_CHECKING

from nanoshell_commands.progress import Event, StepLine
from nanoshell_commands.watch import Watch, summary

if TYPE_CHECKING:
    from rich.console import Console

    from nanoshell import Placement, RunDirectory, Screen, Session, TrainRequest

_LAST_WORDS_SECONDS = 10.0


def follow(session: Session, place: Placement) -> int:
    """Train with the process of rank 0 until it ends the run, and return the exit code."""
    from nanoshell import run_follower

    code: int = run_follower(place, session.plugins)
    return code


def lead(
    session: Session, place: Placement, ask: Callable[[], TrainRequest], *, everything: bool = False
) -> Leading:
    """Make the run that is asked for and return what trains it. Raises as ``ask`` and `Session.train` do.

    ``everything`` yields all its events with ``--json``, not the steps alone.
    """
    from nanoshell import preparing

    since = time.time()
    with preparing(place):
        return Leading(session, session.train(ask()), since, everything)


class Leading:
    """A run that this process trains when it is shown. Signals reach the main thread, so that trains."""

    def __init__(self, session: Session, run: RunDirectory, since: float, everything: bool) -> None:
        self._session = session
        self._run = run
        self._watch = Watch(session, run, since=since, patient=True, everything=everything)

    def show(self, screen: Screen) -> None:
        self._train(lambda: self._watch.wait(_Plain(screen)))
        screen.out.print(summary(self._run, self._watch.seconds))

    def lines(self) -> Iterator[StepLine | Event]:
        def write() -> None:
            for line in self._watch.lines():
                sys.stdout.write(json.dumps(line) + "\n")
                sys.stdout.flush()

        self._train(write)
        return iter(())

    def document(self) -> None:
        return None

    def _train(self, tell: Callable[[], object]) -> None:
        """Train in this thread while ``tell`` follows the events in another one.

        Raises `RunError` where the run failed, `Interrupted` where Ctrl-C ended it.
        """
        from nanoshell import Interrupted, RunError, run_worker, typed

        told: list[BaseException] = []

        def follow() -> None:
            try:
                tell()
            except BaseException as error:
                told.append(error)

        # In our context, so that hints are spelled as they would be here.
        thread = threading.Thread(target=copy_context().run, args=(follow,), name="progress", daemon=True)
        thread.start()
        with self._run.log_path.open("a", encoding="utf-8") as log:
            code = run_worker(self._run, self._session.plugins, log)
        thread.join(_LAST_WORDS_SECONDS)
        if told:
            raise told[0]
        status = self._run.status()
        if status.reason == "signal SIGINT":
            raise Interrupted(
                f"run {self._run.name} saved and stopped at step {status.step or 0}",
                hint=f"continue it with: {typed(f'train --resume {self._run.name}')}",
            )
        if code:
            raise RunError(f"run {self._run.name} failed", hint=f"its log: {self._run.log_path}")


class _Plain:
    """A screen on which nothing moves: other processes write to the same terminal."""

    live = prompt = False

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    @property
    def out(self) -> Console:
        return self._screen.out

    @property
    def err(self) -> Console:
        return self._screen.err

    def write(self, text: str, style: str = "") -> None:
        self._screen.write(text, style)

    def flow(self, text: str, style: str = "") -> None:
        self._screen.flow(text, style)

    def note(self, text: str) -> None:
        self._screen.note(text)
