"""Asking the worker of a run for something, and waiting for its answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nanoshell_commands.progress import Event

if TYPE_CHECKING:
    from nanoshell import RunDirectory, Session

SLOW_SECONDS = 2.0
"""After so long it is said what is being waited for."""
PATIENCE_SECONDS = 120.0
"""How long an answer may take: a step, a save of a large model, and what was asked for before."""
LONG = frozenset({"evaluate", "sample"})
"""What takes as long as it takes: only Ctrl-C ends waiting for these."""

_POLL_SECONDS = 0.05


def ask(session: Session, run: RunDirectory, action: str, **arguments: Any) -> tuple[Event, list[Event]]:
    """Ask the worker of ``run`` for ``action``; return its answer, and the events from the request to that.

    Raises `RunError` where there is no worker, where it cannot do it (in its own words), or where it does not
    answer in time; `Interrupted` for Ctrl-C, which ends the waiting and nothing else.
    """
    return answered(session, run, action, lambda: session.ask_run(run, action, **arguments))


def answered(
    session: Session, run: RunDirectory, action: str, send: Callable[[], str]
) -> tuple[Event, list[Event]]:
    """Do as `ask` does, for a request that ``send`` makes; it returns the id."""
    from nanoshell import Interrupted, RunError, typed

    offset = run.events_path.stat().st_size if run.events_path.exists() else 0
    request_id = send()
    try:
        answer, events = _wait(session, run, request_id, action, offset)
    except KeyboardInterrupt:
        raise Interrupted(
            f"no longer waiting for {run.name}, which does '{action}' after its step all the same",
            hint=f"see what it did with: {typed(f'runs log {run.name} -f')}",
        ) from None
    if not answer.get("ok"):
        reason = str(answer.get("message") or "it does not say why").removeprefix(f"{action}: ")
        raise RunError(f"run {run.name} could not {action}: {reason}", hint=str(answer.get("hint") or ""))
    return answer, events


def _wait(
    session: Session, run: RunDirectory, request_id: str, action: str, offset: int
) -> tuple[Event, list[Event]]:
    from nanoshell import RunError, read_events, typed

    began = time.monotonic()
    said = False
    events: list[Event] = []
    while True:
        status = run.status()  # before the log is read: what a worker that ended has answered stands there
        found, offset = read_events(run.events_path, offset)
        for event in found:
            if event.get("type") == "control" and event.get("id") == request_id:
                return event, events
            events.append(event)
        if status.ended:
            because = f" ({status.reason})" if status.reason else ""
            raise RunError(
                f"run {run.name} ended before it answered: {status.state}{because}",
                hint=f"see its log: {typed(f'runs log {run.name}')}",
            )
        waited = time.monotonic() - began
        if waited > SLOW_SECONDS and not said:
            session.narrator.note(
                f"{run.name} answers '{action}' after its current step (Ctrl-C stops waiting only)"
            )
            said = True
        if waited > PATIENCE_SECONDS and action not in LONG:
            raise RunError(
                f"run {run.name} has not answered within {PATIENCE_SECONDS:.0f} s: it is {status.state}",
                hint=f"it does '{action}' after its step; look again with: {typed(f'runs show {run.name}')}",
            )
        time.sleep(_POLL_SECONDS)
