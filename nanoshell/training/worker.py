"""The worker: the process that trains one run, obeys signals and requests, and writes the event log.

It is entered by ``python -m nanoshell train --run DIR`` and ends with a final ``state`` event, whatever
happens short of being killed.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

from nanoshell.errors import NanoshellError, StorageError
from nanoshell.runs.control import ControlInbox
from nanoshell.runs.events import EventLog
from nanoshell.runs.process import hold_lock, write_process

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


def run_worker(run: RunDirectory, plugins: Plugins) -> int:
    """Train ``run`` to its end, or until it is asked to stop, and return the exit code of the process.

    It goes on from ``checkpoints/latest`` where there is one. Every failure becomes the final event
    ``{"type": "state", "state": "failed", "reason": …, "hint": …}``; an unexpected one says so
    (``"unexpected": true``) and leaves its traceback on stderr, which is ``worker.log``. Raises `RunError`
    where another process writes the run.
    """
    stop = StopSignal()
    with stop.caught(), hold_lock(run):
        resumed = write_process(run).events_offset > 0
        inbox = ControlInbox(run)
        events = EventLog(run.events_path)
        try:
            events.write("state", state="starting")
            with events.beating():
                final = _train(run, plugins, events, inbox, stop, resumed=resumed)
            events.write("state", **final)
        except StorageError as error:
            print(f"error: {error.message}", file=sys.stderr)
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
) -> dict[str, Any]:
    """Train, and return the fields of the final event."""
    try:
        # Late, so that the log tells that the worker is there while torch takes its two seconds.
        from nanoshell.training.loop import train_run

        return train_run(run, plugins, events, inbox, lambda: stop.name, resumed=resumed)
    except NanoshellError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return {"state": "failed", "reason": error.message, "hint": error.hint}
    except Exception as error:
        traceback.print_exc()
        if isinstance(error, MemoryError) or any(words in str(error).lower() for words in _OUT_OF_MEMORY):
            hint = "lower trainer.batch_size and raise trainer.gradient_accumulation, or lower seq_len"
            return {"state": "failed", "reason": "the memory does not suffice", "hint": hint}
        what = " ".join("".join(traceback.format_exception_only(error)).split())
        hint = f"the traceback is in {run.log_path}"
        return {"state": "failed", "reason": what, "hint": hint, "unexpected": True}
