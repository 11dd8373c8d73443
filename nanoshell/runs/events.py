"""The event log of a run: one JSON object a line, appended by one writer and read by anyone at any time.

A reader may meet a line that is still being written, a log that a crash cut in the middle of a line, or a log
that is not there; none of these is an error. Numbers that JSON does not have are written as ``null``, with
their name beside them: ``{"loss": null, "not_finite": {"loss": "nan"}}``, and `number` gives them back.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanoshell.errors import RunError, StorageError
from nanoshell.files import explain_storage
from nanoshell.runs.process import read_process, worker_alive

if TYPE_CHECKING:
    from nanoshell.runs.directory import RunDirectory

Event = dict[str, Any]

FORMAT = 1
"""The version of the event log, in its first event."""

FINAL_STATES = frozenset({"finished", "stopped", "failed", "crashed"})
"""States after which a worker writes nothing more."""

HEARTBEAT_SECONDS = 3.0
_MEASUREMENTS = ("step", "eval", "sample", "checkpoint")
_CHANGES = ("set", "extend")
_SUMMARY = ("state", "step", "total_steps", "val_loss", "best_val_loss", "best_step")
_OF_A_COURSE = ("val_loss", "best_val_loss", "best_step")
_OF_THE_SPLIT = frozenset({"trainer.val_fraction", "trainer.seed", "trainer.loss_on", "model.max_seq_len"})
"""Keys of the config that decide which tokens are held back, and how they are cut."""
_CHUNK = 1 << 20


def _jsonable(value: Any, name: str, not_finite: dict[str, str]) -> Any:
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        not_finite[name] = "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
        return None
    if isinstance(value, dict):
        return {str(key): _jsonable(item, f"{name}.{key}", not_finite) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item, f"{name}.{index}", not_finite) for index, item in enumerate(value)]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):  # a number of an array library
        return _jsonable(value.item(), name, not_finite)
    return value


def append_line(path: Path, value: dict[str, Any], *, sync: bool = False) -> dict[str, Any]:
    """Append ``value`` to ``path`` as one line in one write, and return it as a reader will see it.

    A half-written line that a crash left at the end is closed first, so that it spoils only itself.
    Raises `StorageError`.
    """
    line, data = _encoded(value)
    _append(path, bytearray(data), sync=sync)
    return line


def _encoded(value: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Return ``value`` as a reader will see it, and as the line that it reads."""
    not_finite: dict[str, str] = {}
    line = {key: _jsonable(item, key, not_finite) for key, item in value.items()}
    if not_finite:
        line["not_finite"] = not_finite
    text = json.dumps(line, ensure_ascii=False, allow_nan=False)
    return line, text.encode("utf-8", "backslashreplace") + b"\n"


def _append(path: Path, data: bytearray, *, sync: bool, within_line: bool = False) -> None:
    """Write ``data`` at the end of ``path`` and take from it what is written, also where that fails.

    ``within_line`` says that the half line at the end is the beginning of ``data``. Raises `StorageError`.
    """
    with explain_storage(path):
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            size = os.fstat(handle).st_size
            if size and not within_line and os.pread(handle, 1, size - 1) != b"\n":
                data[:0] = b"\n"
            while data:
                del data[: os.write(handle, data)]
            if sync:
                os.fsync(handle)
        finally:
            os.close(handle)


class EventLog:
    """The writer of ``path``. Safe to use from several threads of the process that holds the run's lock.

    Where the disk has no room no event is lost: what cannot be written waits in memory, in its order, and
    goes first with the next event. The writer must then look at `waiting`, and wait itself.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.each_beat: Callable[[], None] | None = None
        self.figures: Callable[[], Mapping[str, Any]] | None = None
        self._lock = threading.Lock()
        self._summary: dict[str, Any] = {}
        self._unwritten = bytearray()
        self._within_line = False
        self._waiting: StorageError | None = None

    @property
    def waiting(self) -> StorageError | None:
        """Why events wait in memory for room on the disk; None where all are written."""
        return self._waiting

    def flush(self) -> bool:
        """Write what waits for room, and return whether all is written. Raises `StorageError`."""
        with self._lock:
            self._write(b"", sync=True)
            return self._waiting is None

    def write(self, type: str, **fields: Any) -> Event:  # noqa: A002 - the name of the field
        """Append one event and return it as written. Raises `StorageError`, but not where there is no room.

        ``t`` (seconds since the epoch) is added, and ``format`` to the first event of the log. Events of type
        ``state`` and ``heartbeat`` repeat the newest ``state``, its ``reason``, ``step``, ``total_steps`` and
        the newest and the best validation loss, so that the end of a long log tells how the run stands.
        """
        with self._lock:
            event: Event = {"t": round(time.time(), 3), "type": type}
            if not self._unwritten and (not self.path.exists() or self.path.stat().st_size == 0):
                event["format"] = FORMAT
            event.update(fields)
            self._note(type, fields)
            if type in ("state", "heartbeat"):
                for key, value in self._summary.items():
                    event.setdefault(key, value)
            line, data = _encoded(event)
            # Signs of life would pile up, and tell nothing later.
            wanted = b"" if type == "heartbeat" and self._waiting else data
            self._write(wanted, sync=type in ("state", "checkpoint"))
            return line

    def _note(self, type: str, fields: Event) -> None:  # noqa: A002
        if type == "resume":
            self._summary["step"] = fields.get("from_step")
            for key in _OF_A_COURSE:
                self._summary.pop(key, None)
        if type == "state":
            self._summary.pop("reason", None)
            if fields.get("reason"):
                self._summary["reason"] = fields["reason"]
        if type == "eval" and fields.get("best"):
            self._summary.update(best_val_loss=fields.get("val_loss"), best_step=fields.get("step"))
        self._summary.update({key: fields[key] for key in _SUMMARY if fields.get(key) is not None})

    def _write(self, data: bytes, *, sync: bool) -> None:
        self._unwritten += data
        if not self._unwritten and self._waiting is None:
            return
        before = len(self._unwritten)
        try:
            _append(self.path, self._unwritten, sync=sync, within_line=self._within_line)
        except StorageError as error:
            if not error.no_room:
                raise
            self._waiting = error
            # The newline that closes a half line of another writer is part of what waits, too.
            self._within_line = self._within_line or len(self._unwritten) != before
        else:
            self._waiting, self._within_line = None, False

    def _figures(self) -> Mapping[str, Any]:
        """Return the figures for a heartbeat; none where they cannot be had: the beat goes on."""
        with contextlib.suppress(Exception):
            return dict(self.figures()) if self.figures is not None else {}
        return {}

    @contextlib.contextmanager
    def beating(self, every: float = HEARTBEAT_SECONDS) -> Iterator[None]:
        """Write a ``heartbeat`` event every ``every`` seconds from a thread while the block runs.

        The event has what ``figures`` returns, and the thread then calls ``each_beat``, where they are set.
        """
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(every):
                # A full disk is the main thread's to report, with the write that matters.
                with contextlib.suppress(Exception):
                    self.write("heartbeat", **self._figures())
                with contextlib.suppress(Exception):
                    if self.each_beat is not None:
                        self.each_beat()

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def number(event: Event, name: str) -> float | None:
    """Return the number ``name`` of ``event``, NaN and infinities restored; None where there is none."""
    value = event.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return None
    spelled = event.get("not_finite")
    if value is None and isinstance(spelled, dict) and name in spelled:
        try:
            return float(spelled[name])
        except (TypeError, ValueError):
            return None
    return None


def parse_line(line: bytes) -> Event | None:
    """Return the JSON object on ``line``, or None where it holds none (cut by a crash, damaged)."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def read_lines(path: Path, offset: int = 0) -> Iterator[tuple[int, Event]]:
    """Yield ``(end, event)`` for each whole line of ``path`` from byte ``offset``; the next begins at
    ``end``.

    A line that is still being written is left for the next call. A file that is not there yields nothing.
    """
    try:
        file = path.open("rb")
    except OSError:
        return
    with file:
        file.seek(offset)
        rest = b""
        while block := file.read(_CHUNK):
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                offset += len(line) + 1
                event = parse_line(line)
                if event is not None:
                    yield offset, event


def check_format(event: Event, path: Path) -> None:
    """Raise `RunError` where ``event`` opens a log of a newer format than this program reads."""
    found = event.get("format")
    if isinstance(found, int) and found > FORMAT:
        raise RunError(
            f"{path} is in format {found}, and this nanoshell reads up to {FORMAT}",
            hint="update nanoshell: pip install -U nanoshell",
        )


def read_events(path: Path, offset: int = 0) -> tuple[list[Event], int]:
    """Return the events of ``path`` from byte ``offset`` on, and the offset for the next call.

    Half-written and damaged lines are left out; a file that is not there has no events. Raises `RunError`
    where the log is of a newer format.
    """
    events: list[Event] = []
    for end, event in read_lines(path, offset):
        check_format(event, path)
        events.append(event)
        offset = end
    return events, offset


def effective_events(events: Iterable[Event]) -> list[Event]:
    """Return ``events`` without the measurements and changes that a resume made void.

    After ``{"type": "resume", "from_step": n}`` the steps, evaluations, samples, checkpoints and what was
    ``set`` or extended above ``n``, written before it, belong to a course that was left.
    """
    kept: list[Event] = []
    limit = math.inf
    for event in reversed(list(events)):
        step = number(event, "step")
        if is_of_a_course(event) and step is not None and step > limit:
            continue
        kept.append(event)
        if event.get("type") == "resume":
            limit = min(limit, number(event, "from_step") or 0.0)
    kept.reverse()
    return kept


def is_of_a_course(event: Event) -> bool:
    """Whether ``event`` counts no longer once a resume has gone back to a step below its own."""
    if event.get("type") == "control":
        return bool(event.get("ok")) and event.get("action") in _CHANGES
    return event.get("type") in _MEASUREMENTS


def comparable_evaluations(events: Iterable[Event]) -> list[Event]:
    """Return the evaluations of held-out text among ``events`` whose losses compare with that of the newest.

    Others were before a resume that was forced onto other data or another split, or on more or fewer tokens.
    ``events`` are those that count, see `effective_events`.
    """
    found: list[Event] = []
    for event in events:
        if event.get("type") == "resume" and splits_anew(event):
            found.clear()
        elif event.get("type") == "eval" and math.isfinite(number(event, "val_loss") or math.nan):
            if found and found[-1].get("tokens") != event.get("tokens"):
                found.clear()
            found.append(event)
    return found


def splits_anew(resume: Event) -> bool:
    """Whether a ``resume`` event tells of other held-out text than was there before."""
    changed = [str(difference.get("what")) for difference in resume.get("forced") or ()]
    return any(what in _OF_THE_SPLIT or not what.startswith(("model.", "trainer.")) for what in changed)


def follow(run: RunDirectory, *, from_start: bool = True, poll: float = 0.1) -> Iterator[Event]:
    """Yield the events of ``run`` as they are written, until its worker has written a final state.

    Without ``from_start``, only events from now on. Where the worker ends without a final state, one is made
    up: ``{"type": "state", "state": "crashed", "reason": …}``. ``poll`` is in seconds. Raises `RunError`
    where the log is of a newer format.
    """
    path = run.events_path
    offset = 0
    ended_at: int | None = None
    if not from_start:
        for end, event in read_lines(path):
            offset, ended_at = end, _ended_at(event, end, ended_at)
    while True:
        before = offset
        gone = worker_alive(run) is False
        for end, event in read_lines(path, before):
            check_format(event, path)
            ended_at = _ended_at(event, end, ended_at)
            offset = end
            yield event
        if ended_at is not None and ended_at > worker_offset(run):
            return
        if gone and offset == before:
            status = run.status()
            if status.state == "crashed":
                yield {
                    "t": round(time.time(), 3),
                    "type": "state",
                    "state": "crashed",
                    "reason": status.reason,
                }
                return
        time.sleep(poll)


def _ended_at(event: Event, offset: int, ended_at: int | None) -> int | None:
    if event.get("type") == "state":
        return offset if event.get("state") in FINAL_STATES else None
    return None if event.get("type") == "resume" else ended_at


def worker_offset(run: RunDirectory) -> int:
    """Return the byte of the event log at which the newest worker of ``run`` began."""
    process = read_process(run)
    return process.events_offset if process else 0
