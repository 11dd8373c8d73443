"""Waiting for a run: a bar, plain lines or JSON lines; and Ctrl-C, which asks it to save and stop."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from nanoshell import human_count, human_seconds
from nanoshell_commands.layout import cell, figure, steady
from nanoshell_commands.progress import Event, StepLine, eta_text, progress_bar, step_line, step_text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nanoshell import RunDirectory, RunStatus, Screen, Session

LINE_SECONDS = 2.0
"""Plain lines come at most this often: a small model makes hundreds of steps a minute."""

STOP_SECONDS = 60.0
"""How long stopping a run is waited for: one step and one checkpoint."""

_TAIL_LINES = 12


@dataclass(frozen=True)
class RunSummary:
    """How a run stands or ended: its state, the last step and loss, seconds of work, the newest weights.

    ``best_val_loss`` and ``best_step`` are of the best checkpoint, where one is kept.
    """

    run: str
    path: str
    state: str
    reason: str
    step: int | None
    loss: float | None
    val_loss: float | None
    seconds: float | None
    checkpoint: str | None
    best_val_loss: float | None = None
    best_step: int | None = None

    def __rich__(self) -> RenderableType:
        from rich.text import Text

        told = [f"{self.step:,} steps" if self.step is not None else "no step"]
        if self.seconds is not None:
            told[0] += f" in {human_seconds(self.seconds)}"
        if self.loss is not None:
            told.append(f"loss {figure(self.loss)}")
        if self.val_loss is not None:
            told.append(f"validation loss {figure(self.val_loss)}")
        text = f"{self.run} {self.state}: {', '.join(told)}"
        text += f"\n{self.reason}" if self.reason else ""
        text += f"\nweights: {self.checkpoint}" if self.checkpoint else ""
        if self.best_step is not None and self.best_step != self.step:
            text += f"\nbest: {self.run}@best, validation loss {figure(self.best_val_loss)}"
            text += f" at step {self.best_step:,}"
        return Text(text)


def summary(run: RunDirectory, seconds: float | None = None) -> RunSummary:
    """Return how ``run`` stands, after ``seconds`` of work where they are known."""
    status = run.status()
    weights, best = run.latest_checkpoint(), run.best_checkpoint()
    return RunSummary(
        run=run.name,
        path=str(run.path),
        state=status.state,
        reason=status.reason,
        step=status.step,
        loss=status.loss,
        val_loss=status.val_loss,
        seconds=round(seconds, 2) if seconds is not None else None,
        checkpoint=str(weights) if weights else None,
        best_val_loss=status.best_val_loss if best is not None else None,
        best_step=status.best_step if best is not None else None,
    )


def _talk() -> str:
    """Return how one talks to the model where the running command was typed."""
    from nanoshell import typed

    return typed("chat --message TEXT") if typed("") != ":" else "type a line"


def stop_run(session: Session, run: RunDirectory, *, wait: bool = True) -> RunSummary:
    """Ask ``run`` to save and stop, and return how it stands: with ``wait``, once it has ended.

    Raises `RunError` where it has no worker, and where it has not stopped in time.
    """
    from nanoshell import Interrupted, RunError, typed

    session.ask_run(run, "stop")
    if not wait:
        return summary(run)
    look = typed(f"runs show {run.name}")
    deadline = time.monotonic() + STOP_SECONDS
    try:
        while not (status := run.status()).ended:
            if time.monotonic() > deadline:
                raise RunError(
                    f"run {run.name} has not stopped within {STOP_SECONDS:.0f} s: it is {status.state}",
                    hint=f"it will stop after its step; look again with: {look}",
                )
            time.sleep(0.1)
    except KeyboardInterrupt:
        raise Interrupted(
            f"no longer waiting for {run.name}, which will save and stop all the same",
            hint=f"look again with: {look}",
        ) from None
    session.run_ended(run, status.state)
    return summary(run)


class StopRequest:
    """Ctrl-C while a run is waited for: the first asks it to save and stop, the second gives up waiting.

    A run that was started elsewhere is not ours to stop by a slip: with ``stops`` off the first gives up.
    """

    def __init__(self, run: RunDirectory, *, stops: bool = True) -> None:
        self._run = run
        self._stops = stops
        self.asked = False
        self.id = ""

    def press(self) -> None:
        """Answer one Ctrl-C. Raises KeyboardInterrupt for the one that gives up."""
        from nanoshell import RunError, request

        if self.asked or not self._stops:
            raise KeyboardInterrupt
        self.asked = True
        with contextlib.suppress(RunError):  # it has ended in this moment: the final state is on its way
            self.id = request(self._run, "stop")


class Watch:
    """A run that is waited for: a stream of its steps until it ends. The prompt leaves it to its toolbar.

    ``since`` (seconds since the epoch) leaves out the events of earlier workers of a resumed run; ``patient``
    waits at the prompt too; ``attached`` begins with what happens from now on, and Ctrl-C leaves the run
    alone; ``everything`` yields all events with ``--json``, not the steps alone. ``seconds`` is how long the
    run has been seen to work.
    """

    def __init__(
        self,
        session: Session,
        run: RunDirectory,
        *,
        since: float = 0.0,
        patient: bool = False,
        attached: bool = False,
        everything: bool = False,
    ) -> None:
        self.run = run
        self._session = session
        self._since = since
        self._patient = patient
        self._attached = attached
        self._everything = everything
        self._stop = StopRequest(run, stops=not attached)
        self._hint = ""
        self._unexpected = False
        self.seconds = 0.0

    # The three ways to see it

    def show(self, screen: Screen) -> None:
        if screen.prompt and not self._patient:
            name = self.run.name
            screen.note(f"{name} trains in the background; see :run, and :help run to steer it")
            screen.note("it is the model now, with its newest weights; another: :model load NAME")
            return
        if self._attached:
            from nanoshell import typed

            stop = typed(f"run stop {self.run.name}")
            screen.note(f"attached to {self.run.name}; Ctrl-C detaches, {stop} ends it")
        self.wait(screen)
        ended = summary(self.run, self.seconds)
        screen.out.print(ended)
        if screen.live and ended.checkpoint:
            from nanoshell import typed

            screen.note(f"continue a text with it: {typed('sample TEXT')}; talk to it: {_talk()}")

    def lines(self) -> Iterator[StepLine | Event]:
        from nanoshell import on_interrupt

        every = int(self.run.record().get("trainer", {}).get("log_interval", 1))
        total = self._planned()
        with on_interrupt(self._stop.press):
            try:
                for event in self._events():
                    total = event.get("total_steps") or total
                    if event.get("type") == "step":
                        if event["step"] % every == 0 or event["step"] == total:
                            yield step_line(event)
                    elif self._everything and event.get("type") != "heartbeat":
                        yield event
            except KeyboardInterrupt:
                self._leave()
        self._finish(lambda text: None)

    def document(self) -> None:
        return None

    def wait(self, screen: Screen | None) -> RunStatus:
        """Show the run until it ends, in silence without a ``screen``, and return its status.

        Raises `RunError` where it failed, `Interrupted` where the user stopped it.
        """
        from nanoshell import on_interrupt

        with on_interrupt(self._stop.press):
            try:
                if screen is None:
                    for _ in self._events():
                        pass
                elif screen.live:
                    self._show_bar(screen)
                else:
                    self._show_lines(screen)
            except KeyboardInterrupt:
                self._leave()
        return self._finish(screen.note if screen else lambda text: None)

    # What it is made of

    def _events(self) -> Iterator[Event]:
        from nanoshell import follow, without_echo

        began = self._since or time.time()
        for event in without_echo(follow(self.run, from_start=not self._attached)):
            if event.get("t", self._since) >= self._since:
                self.seconds = time.time() - began
                if event.get("type") == "state":
                    self._hint = str(event.get("hint") or "")
                    self._unexpected = bool(event.get("unexpected"))
                yield event

    def _planned(self) -> int | None:
        """Return the run's last step as its record says, which is known before its worker says it."""
        record = self.run.record()
        limits = [record[key] for key in ("horizon", "stop_at") if record.get(key)]
        return self.run.status().total_steps or (min(limits) if limits else None)

    def _news(self, event: Event) -> str:
        """Return the line that ``event`` is worth; our own request to stop is none."""
        from nanoshell import tell

        return "" if self._stop.id and event.get("id") == self._stop.id else tell(event)

    def _show_lines(self, screen: Screen) -> None:
        total = self._planned()
        last: Event = {}
        told = -LINE_SECONDS
        said = False
        for event in self._events():
            total = event.get("total_steps") or total
            if self._stop.asked and not said:
                screen.note(
                    "asked the run to save and stop; Ctrl-C again returns at once, and it does so by itself"
                )
                said = True
            if event.get("type") == "step":
                last = event
                if time.monotonic() - told >= LINE_SECONDS or event.get("step") == total:
                    screen.note(step_text(event, total))
                    told, last = time.monotonic(), {}
            elif text := self._news(event):
                screen.note(text)
        if last:
            screen.note(step_text(last, total))

    def _show_bar(self, screen: Screen) -> None:
        total = self._planned()
        status = self.run.status()
        begun = self._attached and status.state == "running"
        with progress_bar(screen) as progress:
            task = progress.add_task(
                self.run.name if begun else status.state,
                total=total,
                completed=(status.step or 0) if self._attached else 0,
                loss="",
                speed="",
                eta="",
            )
            for event in self._events():
                total = event.get("total_steps") or total
                kind = event.get("type")
                if kind == "step":
                    progress.update(
                        task,
                        total=total,
                        completed=event["step"],
                        description="stopping" if self._stop.asked else self.run.name,
                        loss=f"loss {steady(event.get('loss'))}",
                        speed=f"{human_count(event.get('tokens/s'))} tokens/s",
                        eta=eta_text(event, total),
                    )
                elif kind == "state" and event.get("state") == "paused":
                    progress.update(task, description="paused", speed="", eta="")
                elif self._stop.asked:
                    progress.update(task, description="saving")
                if text := self._news(event):
                    progress.console.print(cell(text, "nano.warning" if kind == "alert" else "nano.quiet"))

    def _finish(self, note: Callable[[str], None]) -> RunStatus:
        from nanoshell import Interrupted, RunError, typed

        run, status = self.run, self.run.status()
        if fallback := self._session.run_ended(run, status.state):
            note(fallback)
        if status.state in ("failed", "crashed"):
            # What an expected failure has in its log is its reason, which is told below.
            told = status.state == "failed" and not self._unexpected
            tail = "" if told else run.log_tail(_TAIL_LINES)
            reason = status.reason
            if tail:
                note(f"the end of {run.log_path}:\n{tail}")
            if tail and status.state == "crashed":
                reason = reason.partition("; ")[0]  # the last words behind it are shown already
            ways = [self._hint, f"its log: {typed(f'runs log {run.name}')}"]
            if run.latest_checkpoint() is not None:
                ways.append(f"go on from its last checkpoint: {typed(f'train --resume {run.name}')}")
            raise RunError(
                f"run {run.name} {status.state}" + (f": {reason}" if reason else ""),
                hint="\n".join(filter(None, ways)),
            )
        if self._stop.asked and status.state != "finished":
            raise Interrupted(
                f"run {run.name} saved and stopped at step {status.step or 0}",
                hint=f"continue it with: {typed(f'train --resume {run.name}')}",
            )
        return status

    def _leave(self) -> NoReturn:
        from nanoshell import Interrupted, typed

        name = self.run.name
        if self._attached:
            raise Interrupted(
                f"detached from {name}, which trains on",
                hint=f"see it again: {typed(f'runs attach {name}')}\nend it: {typed(f'run stop {name}')}",
            ) from None
        if not self._stop.asked:  # the interrupt was no Ctrl-C
            self._stop.press()
        raise Interrupted(
            f"{name} saves and stops by itself", hint=f"go on with: {typed(f'train --resume {name}')}"
        ) from None
