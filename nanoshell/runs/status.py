"""How a run stands, read from the end of its event log and from whether its process lives."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, cast, get_args

from nanoshell.runs.events import FINAL_STATES, FORMAT, Event, number, parse_line, splits_anew
from nanoshell.runs.process import WorkerProcess, is_alive, read_process

if TYPE_CHECKING:
    from nanoshell.runs.directory import RunDirectory

State = Literal[
    "starting",
    "running",
    "paused",
    "stopping",
    "finished",
    "stopped",
    "failed",
    "crashed",
    "silent",
    "gone",
]
"""``gone`` is said of a run by who has seen its directory and no longer finds it."""

SILENT_AFTER_SECONDS = 20.0
"""A worker says something at least every 5 seconds; the rest is for slow disks and clocks that differ."""

_NEVER_STARTED_SECONDS = 60.0
_TAIL_BYTES = 1 << 15
_TAIL_LIMIT = 1 << 21
_MOST_LETTERS = 300  # of a worker's last words: a line of its log may be a whole tensor
_STEP = b'"type": "step"'
_SPEED_SECONDS = 60.0
_SPEED_MOMENTS = 12
"""The time that is left is by the speed of the last minute, of so many moments in it: that of a few steps
jumps with whatever else the machine does."""


@dataclass(frozen=True)
class RunStatus:
    """How a run stands. What is not known (yet) is None; times are seconds since the epoch.

    ``started`` is when the newest worker began, ``updated`` when it last wrote.
    ``reason`` says in words what the state does not: what failed, since when the run is silent; ``hint``
    says of a failure what to do about it.
    ``best_val_loss`` is the lowest of the evaluations that count, ``best_step`` where it was met.
    """

    state: State
    reason: str = ""
    step: int | None = None
    total_steps: int | None = None
    epoch: float | None = None
    loss: float | None = None
    val_loss: float | None = None
    best_val_loss: float | None = None
    best_step: int | None = None
    hint: str = ""
    learning_rate: float | None = None
    grad_norm: float | None = None
    tokens_per_second: float | None = None
    steps_per_second: float | None = None
    eta_seconds: float | None = None
    started: float | None = None
    updated: float | None = None
    pid: int | None = None
    host: str | None = None

    @property
    def ended(self) -> bool:
        """Whether no worker will write any more, unless the run is resumed."""
        return self.state in FINAL_STATES


@dataclass
class _Tail:
    """What the end of an event log tells: the newest of each kind, without what a resume made void."""

    last: Event | None = None
    last_end: int = 0
    state: Event | None = None
    state_end: int = 0
    step: Event | None = None
    resumed_from: int | None = None
    val_loss: float | None = None
    best: tuple[float, int] | None = None
    split_anew: bool = False
    total_steps: float | None = None
    summarised: bool = False

    @property
    def complete(self) -> bool:
        judged = self.val_loss is None or self.best is not None or self.split_anew
        return self.state is not None and self.step is not None and self.summarised and judged


def _last_lines(path: Path, length: int) -> tuple[list[tuple[int, bytes]], bool]:
    """Return ``(end, line)`` of the last ``length`` bytes, and whether that is all.

    The first line may lack its beginning: then it is no JSON. One that is still being written is left out.
    """
    try:
        with path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - length)
            file.seek(start)
            block = file.read(length)
    except OSError:
        return [], True
    lines = []
    end = start
    for line in block.split(b"\n")[:-1]:
        end += len(line) + 1
        lines.append((end, line))
    return lines, start == 0


def _scan(lines: Iterable[tuple[int, bytes]]) -> _Tail:
    """Return what ``lines``, newest first, tell; the oldest are not even parsed where the newer tell all."""
    tail = _Tail()
    limit = math.inf
    lowest = (math.inf, 0)  # what does not count any more may have been lower, and named the best
    for end, line in lines:
        if tail.step is not None and _STEP in line:
            continue  # an older one tells nothing, and there are many between two heartbeats
        event = parse_line(line)
        if event is None:
            continue
        kind = event.get("type")
        step = number(event, "step")
        valid = step is None or step <= limit
        if tail.last is None:
            tail.last, tail.last_end = event, end
        tail.total_steps = tail.total_steps or number(event, "total_steps")
        if kind in ("state", "heartbeat"):
            if tail.state is None and "state" in event:
                tail.state, tail.state_end = event, end
            tail.summarised = tail.summarised or step is not None
        if kind in ("state", "heartbeat", "eval") and tail.val_loss is None and valid:
            tail.val_loss = number(event, "val_loss")
        if valid and tail.best is None and not tail.split_anew:
            found = _best(event)
            if kind == "eval" and math.isfinite(loss := number(event, "val_loss") or math.nan):
                lowest = min(lowest, (loss, int(step or 0)))
            if found is not None and found[1] <= limit:
                tail.best = min(lowest, found)
        if kind == "resume":
            tail.split_anew = tail.split_anew or splits_anew(event)
            limit = min(limit, number(event, "from_step") or 0.0)
            if tail.step is None and tail.resumed_from is None:
                tail.resumed_from = int(limit)
        if kind == "step" and tail.step is None and valid:
            tail.step = event
        if tail.complete:
            break
    return tail


def _best(event: Event) -> tuple[float, int] | None:
    """Return the lowest validation loss and its step, as of ``event``; None where that does not tell."""
    named = event.get("type") == "eval" and event.get("best") is True
    loss = number(event, "val_loss" if named else "best_val_loss")
    step = number(event, "step" if named else "best_step")
    return (loss, int(step)) if loss is not None and step is not None else None


def _read_tail(path: Path) -> _Tail:
    length = _TAIL_BYTES
    while True:
        lines, whole = _last_lines(path, length)
        tail = _scan(reversed(lines))
        if tail.complete or whole or length >= _TAIL_LIMIT:
            return tail
        length *= 4


def _event_at(path: Path, offset: int) -> Event:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return parse_line(file.readline(_TAIL_BYTES)) or {}
    except OSError:
        return {}


def _steady_speed(path: Path, step: Event) -> float | None:
    """Return the steps per second over the minute before ``step``, the newest; None where it has none.

    It looks at a few places of the log, which are found by how fast its end was written.
    """
    speed, moment = number(step, "it/s"), number(step, "t")
    if not speed or moment is None:
        return speed
    found = [speed]
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            reach = min(end, _TAIL_BYTES)
            before = number(_step_behind(file, end - reach), "t")
            if before is None or before >= moment:
                return speed
            reach = min(end, int(reach * _SPEED_SECONDS / (moment - before)))
            for part in range(1, _SPEED_MOMENTS + 1):
                event = _step_behind(file, end - reach * part // _SPEED_MOMENTS)
                then, value = number(event, "t"), number(event, "it/s")
                if value and then is not None and moment - _SPEED_SECONDS <= then <= moment:
                    found.append(value)
    except OSError:
        return speed
    return len(found) / sum(1 / value for value in found)


def _step_behind(file: BinaryIO, offset: int) -> Event:
    """Return the first step that begins behind ``offset``, {} where none does soon."""
    file.seek(offset)
    if offset:
        file.readline(_TAIL_BYTES)
    for _ in range(_SPEED_MOMENTS):
        event = parse_line(file.readline(_TAIL_BYTES))
        if event is not None and event.get("type") == "step":
            return event
    return {}


def read_status(run: RunDirectory) -> RunStatus:
    """Return how ``run`` stands. Cheap: it reads the end of the event log, however long that is."""
    # Liveness first: a worker that ends between the two looks has written its final state before the second.
    process = read_process(run)
    alive = is_alive(process)
    tail = _read_tail(run.events_path)
    first = _event_at(run.events_path, 0)
    first_of_worker = _event_at(run.events_path, process.events_offset if process else 0)
    step = tail.step or {}
    updated = number(tail.last or {}, "t")
    state, reason = _judge(run, tail, process, alive)
    newest = int(number(step, "step") or 0) if tail.step else None
    if tail.resumed_from is not None:
        newest = tail.resumed_from
    total = tail.total_steps or number(first, "total_steps")
    speed = number(step, "it/s")
    steady = _steady_speed(run.events_path, step) if state == "running" else speed
    eta = (total - newest) / steady if total and steady and newest is not None else None
    found = first.get("format")
    if isinstance(found, int) and found > FORMAT:
        reason = f"written by a newer nanoshell, in format {found}"
    return RunStatus(
        state=state,
        reason=reason,
        hint=str((tail.state or {}).get("hint") or "") if state == "failed" else "",
        step=newest,
        total_steps=int(total) if total else None,
        epoch=number(step, "epoch"),
        loss=number(step, "loss"),
        val_loss=tail.val_loss,
        best_val_loss=tail.best[0] if tail.best else None,
        best_step=tail.best[1] if tail.best else None,
        learning_rate=number(step, "learning_rate"),
        grad_norm=number(step, "grad_norm"),
        tokens_per_second=number(step, "tokens/s"),
        steps_per_second=speed,
        eta_seconds=max(0.0, eta) if eta is not None and state == "running" else None,
        started=number(first_of_worker, "t"),
        updated=updated,
        pid=process.pid if process else None,
        host=process.host if process else None,
    )


def _judge(
    run: RunDirectory, tail: _Tail, process: WorkerProcess | None, alive: bool | None
) -> tuple[State, str]:
    """Return the state and the reason, from what the log says and from whether the worker is there."""
    said, reason = None, ""
    began = process.events_offset if process else 0
    if tail.state is not None and tail.state_end > began:
        said = tail.state.get("state")
        reason = str(tail.state.get("reason") or "")
    elif tail.state is None and tail.last_end > began:
        said = "running"  # so many events since it said so that the beginning is out of sight
    if said in FINAL_STATES:
        return cast(State, said), reason
    quiet = time.time() - _last_sign(run, tail)
    if process is None:
        if said is None and quiet < _NEVER_STARTED_SECONDS:
            return "starting", ""
        if not run.path.is_dir():
            return "crashed", "its folder is gone"
        wrong = "its process.json cannot be read" if run.process_path.exists() else "it has no process.json"
        return "crashed", "its worker never started" if said is None else wrong
    if alive is False:
        words = run.log_tail(1)
        if len(words) > _MOST_LETTERS:
            words = words[: _MOST_LETTERS - 1] + "…"
        return "crashed", f"process {process.pid} is gone" + (f"; its last words: {words}" if words else "")
    if alive is None and quiet > SILENT_AFTER_SECONDS:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() - quiet))
        return "silent", f"silent since {since} on {process.host}"
    fallback: State = "starting" if said is None else "running"
    state = cast(State, said) if said in get_args(State) else fallback
    if said is not None and quiet > SILENT_AFTER_SECONDS:
        reason = f"no sign of life for {quiet:.0f} s"
    return state, reason


def _last_sign(run: RunDirectory, tail: _Tail) -> float:
    """Return when the run last wrote: by its own clock or by the file system's, whichever is later."""
    signs = [number(tail.last or {}, "t") or 0.0]
    # Once there is a worker only what it writes counts: the record is written by whoever resumes the run.
    written = run.process_path if run.process_path.exists() else run.record_path
    for path in (run.events_path, written):
        try:
            signs.append(path.stat().st_mtime)
        except OSError:
            continue
    return max(signs)
