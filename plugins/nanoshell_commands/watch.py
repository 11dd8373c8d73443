"""Waiting for a run: a bar, plain lines or JSON lines; and Ctrl-C, which asks it to save and stop."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from nanoshell_commands.layout import figure, human_count, human_seconds

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress

    from nanoshell import RunDirectory, RunStatus, Screen, Session

STEP_FIELDS = ("step", "loss", "grad_norm", "learning_rate", "epoch", "it/s", "tokens/s")
"""What a logged step tells a script, under these names."""
FIELDS_OF_SOME = ("balance_loss", "expert_load", "not_finite")
"""What it tells further, where layers route tokens to experts, and where figures are no numbers."""

LINE_SECONDS = 2.0
"""Plain lines come at most this often: a small model makes hundreds of steps a minute."""

_TAIL_LINES = 12

Event = dict[str, Any]


@dataclass(frozen=True)
class RunSummary:
    """How a run stands or ended: its state, the last step and loss, seconds of work, the newest weights."""

    run: str
    path: str
    state: str
    reason: str
    step: int | None
    loss: float | None
    val_loss: float | None
    seconds: float | None
    checkpoint: str | None

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
        return Text(text + (f"\nweights: {self.checkpoint}" if self.checkpoint else ""))


def summary(run: RunDirectory, seconds: float | None = None) -> RunSummary:
    """Return how ``run`` stands, after ``seconds`` of work where they are known."""
    status = run.status()
    weights = run.latest_checkpoint()
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
    )


class StopRequest:
    """Ctrl-C while a run is waited for: the first asks it to save and stop, the second gives up waiting."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self.asked = False

    def press(self) -> None:
        """Answer one Ctrl-C. Raises KeyboardInterrupt for the second."""
        from nanoshell import RunError, request

        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        with contextlib.suppress(RunError):  # it has ended in this moment: the final state is on its way
            request(self._run, "stop")


class Watch:
    """A run that has been started: a stream of its steps until it ends. The prompt leaves it to its toolbar.

    ``since`` (seconds since the epoch) leaves out the events of earlier workers of a resumed run; ``patient``
    waits at the prompt too. ``seconds`` is how long it has been seen to work.
    """

    def __init__(
        self,
        session: Session,
        run: RunDirectory,
        *,
        since: float = 0.0,
        patient: bool = False,
    ) -> None:
        self.run = run
        self._session = session
        self._since = since
        self._patient = patient
        self._hint = ""
        self._unexpected = False
        self.seconds = 0.0

    # The three ways to see it

    def show(self, screen: Screen) -> None:
        if screen.prompt and not self._patient:
            name = self.run.name
            screen.note(f"{name} trains in the background; see it with :runs show, end it with :runs stop")
            screen.note("it is the model now, with its newest weights; :model load NAME takes another")
            return
        self.wait(screen)
        screen.out.print(summary(self.run, self.seconds))

    def lines(self) -> Iterator[Any]:
        from nanoshell import on_interrupt

        stop = StopRequest(self.run)
        every = int(self.run.record().get("trainer", {}).get("log_interval", 1))
        total = self._planned()
        with on_interrupt(stop.press):
            try:
                for event in self._events():
                    total = event.get("total_steps") or total
                    if event.get("type") == "step" and (event["step"] % every == 0 or event["step"] == total):
                        yield step_line(event)
            except KeyboardInterrupt:
                self._leave()
        self._finish(stop, lambda text: None)

    def document(self) -> Any:
        return None

    def wait(self, screen: Screen | None) -> RunStatus:
        """Show the run until it ends, in silence without a ``screen``, and return its status.

        Raises `RunError` where it failed, `Interrupted` where the user stopped it.
        """
        from nanoshell import on_interrupt

        stop = StopRequest(self.run)
        with on_interrupt(stop.press):
            try:
                if screen is None:
                    for _ in self._events():
                        pass
                elif screen.live:
                    self._show_bar(screen, stop)
                else:
                    self._show_lines(screen, stop)
            except KeyboardInterrupt:
                self._leave()
        return self._finish(stop, screen.note if screen else lambda text: None)

    # What it is made of

    def _events(self) -> Iterator[Event]:
        from nanoshell import follow

        began = self._since or time.time()
        for event in _without_echo(follow(self.run)):
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
        return min(limits) if limits else None

    def _show_lines(self, screen: Screen, stop: StopRequest) -> None:
        total = self._planned()
        last: Event = {}
        told = -LINE_SECONDS
        said = False
        for event in self._events():
            total = event.get("total_steps") or total
            if stop.asked and not said:
                screen.note("asked the run to save and stop; Ctrl-C again leaves it in the background")
                said = True
            if event.get("type") == "step":
                last = event
                if time.monotonic() - told >= LINE_SECONDS or event.get("step") == total:
                    screen.note(step_text(event, total))
                    told, last = time.monotonic(), {}
            elif text := notable(event):
                screen.note(text)
        if last:
            screen.note(step_text(last, total))

    def _show_bar(self, screen: Screen, stop: StopRequest) -> None:
        total = self._planned()
        with progress_bar(screen) as progress:
            task = progress.add_task("starting", total=total, loss="", speed="", eta="")
            for event in self._events():
                total = event.get("total_steps") or total
                kind = event.get("type")
                if kind == "step":
                    progress.update(
                        task,
                        total=total,
                        completed=event["step"],
                        description="stopping" if stop.asked else self.run.name,
                        loss=f"loss {figure(event.get('loss'))}",
                        speed=f"{human_count(event.get('tokens/s'))} tokens/s",
                        eta=eta_text(event, total),
                    )
                elif kind == "state" and event.get("state") == "paused":
                    progress.update(task, description="paused")
                elif stop.asked:
                    progress.update(task, description="saving")
                if text := notable(event):
                    progress.console.print(text, markup=False, highlight=False, style="dim")

    def _finish(self, stop: StopRequest, note: Callable[[str], None]) -> RunStatus:
        from nanoshell import Interrupted, RunError, typed

        run, status = self.run, self.run.status()
        self._session.run_ended(run, status.state)
        if status.state in ("failed", "crashed"):
            # What an expected failure has in its log is its reason, which is told below.
            told = status.state == "failed" and not self._unexpected
            tail = "" if told else run.log_tail(_TAIL_LINES)
            if tail:
                note(f"the end of {run.log_path}:\n{tail}")
            raise RunError(
                f"run {run.name} {status.state}" + (f": {status.reason}" if status.reason else ""),
                hint="\n".join(
                    part for part in (self._hint, f"its log: {typed(f'runs log {run.name}')}") if part
                ),
            )
        if stop.asked and status.state != "finished":
            raise Interrupted(
                f"run {run.name} saved and stopped at step {status.step or 0}",
                hint=f"continue it with: {typed(f'train --resume {run.name}')}",
            )
        return status

    def _leave(self) -> NoReturn:
        from nanoshell import Interrupted, typed

        name = self.run.name
        raise Interrupted(
            f"run {name} is left in the background",
            hint=f"{typed(f'runs show {name}')}, {typed(f'runs stop {name}')}",
        ) from None


def _without_echo(events: Iterable[Event]) -> Iterator[Event]:
    """Yield ``events`` without the alerts whose words are the reason of the failure that comes next.

    An alert is held back until the next event tells; heartbeats, which come from beside, tell nothing.
    """
    held: Event | None = None
    for event in events:
        if held is not None and event.get("type") != "heartbeat":
            if event.get("state") != "failed" or event.get("reason") != held.get("message"):
                yield held
            held = None
        if event.get("type") == "alert":
            held = event
        else:
            yield event
    if held is not None:
        yield held


def step_line(event: Event) -> Event:
    """Return a step as scripts get it; a figure that is no number is null, named in ``not_finite``."""
    further = {field: event[field] for field in FIELDS_OF_SOME if field in event}
    return {field: event.get(field) for field in STEP_FIELDS} | further


def step_text(event: Event, total: int | None) -> str:
    """Return a step as one line for people."""
    parts = [f"step {event['step']:,}" + (f"/{total:,}" if total else "")]
    parts.append(f"loss {figure(event.get('loss')) or 'nan'}")
    if event.get("learning_rate") is not None:
        parts.append(f"lr {figure(event['learning_rate'], 3)}")
    if event.get("tokens/s") is not None:
        parts.append(f"{human_count(event['tokens/s'])} tokens/s")
    if eta := eta_text(event, total):
        parts.append(eta)
    return "  ".join(parts)


def eta_text(event: Event, total: int | None) -> str:
    """Return how long the rest will take at the speed of ``event``, empty where unknown."""
    speed = event.get("it/s")
    if not total or not speed:
        return ""
    return f"ETA {human_seconds(max(0, total - event['step']) / speed)}"


def notable(event: Event) -> str:
    """Return what an event tells beside the steps, empty where a person need not hear of it."""
    kind = event.get("type")
    if kind == "eval" and event.get("val_loss") is not None:
        return f"step {event.get('step', 0):,}  validation loss {figure(event['val_loss'])}"
    if kind == "eval":
        return f"step {event.get('step', 0):,}  exact loss on the training data {figure(event.get('loss'))}"
    if kind == "alert":
        return f"alert: {event.get('message') or event.get('reason') or ''}".rstrip(": ")
    return ""


def progress_bar(screen: Screen) -> Progress:
    """Return a bar with room for loss, speed and ETA, drawn on the narration side of ``screen``."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    # Not as wide as the screen: the ^C that a terminal echoes would begin a line that nobody erases.
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TextColumn("{task.fields[speed]}", style="dim"),
        TextColumn("{task.fields[eta]}", style="dim"),
        console=screen.err,
        transient=True,
    )
