"""Live control: any face writes requests into ``control.jsonl``; the worker answers in the event log."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

from nanoshell.errors import RunError
from nanoshell.runs.events import Event, append_line, number, read_lines
from nanoshell.runs.process import read_process, worker_alive
from nanoshell.spelling import typed

if TYPE_CHECKING:
    from nanoshell.runs.directory import RunDirectory

_RECENT_BYTES = 1 << 18


def request(run: RunDirectory, action: str, **arguments: Any) -> str:
    """Ask the worker of ``run`` for ``action`` and return the id of the request.

    The answer is an event ``{"type": "control", "id": …, "action": …, "ok": bool, "message": …}``; `wait_for`
    returns it. Raises `RunError` where no worker is there to answer.
    """
    if not run.path.is_dir():
        raise RunError(f"run '{run.name}' is gone: its folder is gone")
    status = run.status()
    if status.ended:
        raise RunError(
            f"run '{run.name}' is not running: it is {status.state}" + _because(status.reason),
            hint=f"continue it with: {typed(f'train --resume {run.name}')}",
        )
    line = new_request(action, **arguments)
    append_line(run.control_path, line)
    return str(line["id"])


def new_request(action: str, **arguments: Any) -> dict[str, Any]:
    """Return a request for ``action`` as it stands in ``control.jsonl``, with an ``id`` of its own."""
    return {"id": secrets.token_hex(6), "t": round(time.time(), 3), "action": action, **arguments}


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""


class ControlInbox:
    """The worker's side: the requests to ``run`` that are meant for this worker.

    Requests older than ``since`` (seconds since the epoch) are ignored; by default those that stood in the
    file before this worker was started, which is right also where the clocks of two machines differ.
    """

    def __init__(self, run: RunDirectory, since: float | None = None) -> None:
        self._path = run.control_path
        self._since = since
        process = read_process(run)
        self._offset = process.control_offset if process and since is None else 0

    def poll(self) -> list[dict[str, Any]]:
        """Return the requests since the last call, oldest first, each with an ``id`` and an ``action``."""
        requests: list[dict[str, Any]] = []
        try:
            if self._path.stat().st_size == self._offset:  # nearly always, and the loop asks after every step
                return requests
        except OSError:
            return requests
        for end, line in read_lines(self._path, self._offset):
            self._offset = end
            written = number(line, "t")
            if not isinstance(line.get("action"), str) or not isinstance(line.get("id"), str):
                continue
            if self._since is None or (written is not None and written >= self._since):
                requests.append(line)
        return requests


def wait_for(
    run: RunDirectory, request_id: str, timeout: float = 10.0, *, poll: float = 0.05
) -> Event | None:
    """Return the answer to ``request_id``; None after ``timeout`` seconds, or once the worker is gone."""
    path = run.events_path
    offset = max(0, path.stat().st_size - _RECENT_BYTES) if path.exists() else 0
    deadline = time.monotonic() + timeout
    while True:
        gone = worker_alive(run) is False
        for end, event in read_lines(path, offset):
            offset = end
            if event.get("type") == "control" and event.get("id") == request_id:
                return event
        if gone or time.monotonic() >= deadline:
            return None
        time.sleep(poll)
