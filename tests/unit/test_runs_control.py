"""Requests to a worker and its answers. What a real worker does with them is in test_runs_process."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from nanoshell.errors import RunError
from nanoshell.runs.control import ControlInbox, request, wait_for
from nanoshell.runs.directory import RunDirectory, create_run
from nanoshell.runs.events import EventLog, append_line
from nanoshell.runs.process import write_process


@pytest.fixture
def run(runs_dir: Path) -> RunDirectory:
    run = create_run(runs_dir, "demo", {})
    write_process(run)
    EventLog(run.events_path).write("state", state="running")
    return run


def test_requests_arrive_once_in_order_with_their_arguments(run: RunDirectory) -> None:
    inbox = ControlInbox(run)
    assert inbox.poll() == []
    first = request(run, "set", name="learning_rate", value=0.01)
    second = request(run, "pause")
    got = inbox.poll()
    assert [(asked["id"], asked["action"]) for asked in got] == [(first, "set"), (second, "pause")]
    assert (got[0]["name"], got[0]["value"]) == ("learning_rate", 0.01)
    assert first != second
    assert inbox.poll() == []
    request(run, "resume")
    assert [asked["action"] for asked in inbox.poll()] == ["resume"]


def test_requests_older_than_the_worker_are_ignored(run: RunDirectory) -> None:
    request(run, "stop")
    run.process_path.unlink()
    write_process(run)  # the next worker
    assert ControlInbox(run).poll() == []
    request(run, "pause")
    assert [asked["action"] for asked in ControlInbox(run).poll()] == ["pause"]


def test_requests_older_than_a_given_time_are_ignored(run: RunDirectory) -> None:
    append_line(run.control_path, {"id": "a", "action": "stop", "t": 100.0})
    append_line(run.control_path, {"id": "b", "action": "pause", "t": 200.0})
    append_line(run.control_path, {"id": "c", "action": "stop"})
    assert [asked["id"] for asked in ControlInbox(run, since=150.0).poll()] == ["b"]


def test_a_request_that_is_half_written_waits_and_nonsense_is_passed_over(run: RunDirectory) -> None:
    inbox = ControlInbox(run)
    with run.control_path.open("ab") as file:
        file.write(b'no json\n{"id": 5, "action": "stop"}\n{"id": "x"}\n{"id": "y", "action": "pau')
    assert inbox.poll() == []
    with run.control_path.open("ab") as file:
        file.write(b'se"}\n')
    assert [asked["id"] for asked in inbox.poll()] == ["y"]


def test_the_answer_is_waited_for(run: RunDirectory) -> None:
    asked = request(run, "snapshot")

    def answer() -> None:
        log = EventLog(run.events_path)
        log.write("control", id="another", action="pause", ok=True, message="")
        log.write("control", id=asked, action="snapshot", ok=False, message="disk full")

    thread = threading.Thread(target=answer)
    thread.start()
    event = wait_for(run, asked, timeout=300, poll=0.001)
    thread.join()
    assert event is not None
    assert (event["ok"], event["message"]) == (False, "disk full")


def test_waiting_ends_with_the_time(run: RunDirectory) -> None:
    begin = time.monotonic()
    assert wait_for(run, "nobody", timeout=0.02, poll=0.001) is None
    assert time.monotonic() - begin >= 0.02


def test_an_answer_far_back_in_a_long_log_is_found(run: RunDirectory) -> None:
    asked = request(run, "pause")
    log = EventLog(run.events_path)
    log.write("control", id=asked, action="pause", ok=True, message="")
    for step in range(1000):
        log.write("step", step=step, loss=1.0)
    assert wait_for(run, asked, timeout=300) is not None


@pytest.mark.parametrize("state", ["finished", "stopped", "failed"])
def test_nothing_is_asked_of_a_run_that_ended(run: RunDirectory, state: str) -> None:
    EventLog(run.events_path).write("state", state=state)
    with pytest.raises(RunError, match=f"run 'demo-1' is not running: it is {state}"):
        request(run, "pause")
    assert not run.control_path.exists()
