"""The worker: the process that trains one run, obeys signals and requests, and writes the event log.

It is entered by ``python -m nanoshell train --run DIR`` and ends with a final ``state`` event, whatever
happens short of being killed.
"""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

from nanoshell.errors import NanoshellError, StorageError
from nanoshell.runs.control import ControlInbox
from nanoshell.runs.events import EventLog
from nanoshell.runs.process import hold_lock, write_process
from nanoshell.training.distributed import placement

if TYPE_CHECKING:
    from nanoshell.plugin.manager import Plugins
    from nanoshell.runs.directory import RunDirectory

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")


class StopSignal:
    """Whether the process was asked to end, and by which signal (``name``, empty until then)."""

    def __init__(self) -> None:
        self.name = ""

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.name = signal.Signals(number).name

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Remember signals, in place of dying of them, while the block runs (in the main thread)."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._remember) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run_worker(run: RunDirectory, plugins: Plugins, log: TextIO | None = None) -> int:
    """Train ``run`` to its end, or until it is asked to stop, and return the exit code of the process.

    Under torchrun the process of rank 0 leads the others, which follow it (`nanoshell.training.follower`). It
    goes on from ``checkpoints/latest`` where there is one. Every failure becomes the final event
    ``{"type": "state", "state": "failed", "reason": …, "hint": …}``; an unexpected one says so
    (``"unexpected": true``) and leaves its traceback in ``log``; None is stderr, which is ``worker.log``.
    Raises `RunError` where another process writes the run.
    """
    place = placement()
    if place is not None and place.rank:
        from nanoshell.training.follower import run_follower

        return run_follower(place, plugins)
    log = log or sys.stderr
    stop = StopSignal()
    with stop.caught(), hold_lock(run):
        resumed = write_process(run).events_offset > 0
        inbox = ControlInbox(run)
        events = EventLog(run.events_path)
        try:
            events.write("state", state="starting")
            with events.beating():
                final = _train(run, plugins, events, inbox, stop, resumed=resumed, log=log)
            events.write("state", **final)
            if events.waiting is not None:  # asked to stop on a full disk: its end cannot be told
                raise events.waiting
        except StorageError as error:
            with contextlib.suppress(OSError):  # its log may be on the same full disk
                print(f"error: {error.message}", file=log)
            return 1
    return 1 if final["state"] == "failed" else 0


def _train(
    run: RunDirectory,
    plugins: Plugins,
    events: EventLog,
    inbox: ControlInbox,
    stop: StopSignal,
    *,
    resumed: bool,
    log: TextIO,
) -> dict[str, Any]:
    """Train, and return the fields of the final event."""
    try:
        # Late, so that the log tells that the worker is there while torch takes its two seconds.
        with _nothing_collected():
            from nanoshell.training.opening import train_run
            from nanoshell.training.team import gathered

        with gathered(placement(), run.path, lambda: stop.name) as team:

            def signalled() -> str:
                if stop.name:
                    team.check()  # torchrun signals all processes too when one of them has ended
                return stop.name

            return train_run(run, plugins, events, inbox, signalled, resumed=resumed, team=team)
    except Exception as error:
        return {"state": "failed", **describe_failure(error, log, f"the traceback is in {run.log_path}")}


@contextlib.contextmanager
def _nothing_collected() -> Iterator[None]:
    """Import without looking for garbage, which takes a sixth of torch's time and finds none.

    What is there afterwards stays to the end: later collections, between steps, pass it over.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def describe_failure(error: Exception, log: TextIO, where: str = "") -> dict[str, Any]:
    """Return ``reason`` and ``hint`` of a failure, and write to ``log`` what they leave out.

    ``unexpected`` is true for one that is a fault of the program; its traceback goes to ``log``, and the hint
    is ``where``.
    """
    if isinstance(error, NanoshellError):
        print(f"error: {error.message}", file=log)
        return {"reason": error.message, "hint": error.hint}
    traceback.print_exception(error, file=log)
    if isinstance(error, MemoryError) or any(words in str(error).lower() for words in _OUT_OF_MEMORY):
        hint = "lower trainer.batch_size and raise trainer.gradient_accumulation, or lower seq_len"
        return {"reason": "the memory does not suffice", "hint": hint}
    what = " ".join("".join(traceback.format_exception_only(error)).split())
    return {"reason": what, "hint": where, "unexpected": True}
