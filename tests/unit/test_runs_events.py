"""The event log: what is written can be read at any moment, whatever the writer was doing."""

from __future__ import annotations

import errno
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from nanoshell.errors import RunError, StorageError
from nanoshell.runs.directory import create_run
from nanoshell.runs.events import (
    FORMAT,
    EventLog,
    append_line,
    effective_events,
    follow,
    number,
    read_events,
)
from nanoshell.runs.process import write_process
from nanoshell.runs.telling import tell, tell_changes

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
fields = st.dictionaries(
    st.text(min_size=1).filter(lambda name: name not in ("self", "type")), values, max_size=4
)


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for ``condition``; a generous limit only keeps a broken program from hanging the tests."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def test_the_first_event_carries_the_format_and_later_ones_do_not(path: Path) -> None:
    EventLog(path).write("state", state="running")
    EventLog(path).write("step", step=1, loss=2.5)
    first, second = read_events(path)[0]
    assert first["type"] == "state"
    assert first["format"] == FORMAT
    assert "format" not in second
    assert second["loss"] == 2.5
    assert first["t"] <= second["t"]


@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(fields, min_size=1, max_size=5))
def test_what_was_written_is_read_back(tmp_path: Path, events: list[dict[str, Any]]) -> None:
    path = tmp_path / "round-trip.jsonl"
    path.unlink(missing_ok=True)
    log = EventLog(path)
    for event in events:
        log.write("thing", **event)
    read, _ = read_events(path)
    assert [
        {name: event[name] for name in wanted} for event, wanted in zip(read, events, strict=True)
    ] == events


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.integers(0, 1000), max_size=6))
def test_a_reader_that_comes_in_the_middle_of_a_write_misses_nothing(tmp_path: Path, cuts: list[int]) -> None:
    """Cut the log at arbitrary bytes, read at each cut, and compare with one read of the whole."""
    whole = tmp_path / "whole.jsonl"
    whole.unlink(missing_ok=True)
    log = EventLog(whole)
    for step in range(6):
        log.write("step", step=step, note="ünïcödé\n" * (step % 3))
    content = whole.read_bytes()
    partial = tmp_path / "partial.jsonl"
    seen, offset = [], 0
    for cut in [*sorted(cuts), 1000]:
        partial.write_bytes(content[: len(content) * cut // 1000])
        events, offset = read_events(partial, offset)
        seen += events
    assert seen == read_events(whole)[0]
    assert offset == len(content)


def test_numbers_that_json_does_not_have_stay_valid_json_and_come_back(path: Path) -> None:
    EventLog(path).write("step", step=1, loss=math.nan, grad_norm=math.inf, deep={"x": [-math.inf]})

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    event = json.loads(path.read_text(), parse_constant=refuse)
    assert event["loss"] is None
    assert event["not_finite"] == {"loss": "nan", "grad_norm": "inf", "deep.x.0": "-inf"}
    assert math.isnan(number(event, "loss") or 0.0)
    assert number(event, "grad_norm") == math.inf
    assert number(event, "step") == 1.0
    assert number(event, "absent") is None


def test_numbers_of_array_libraries_are_written_as_numbers(path: Path) -> None:
    import numpy as np

    EventLog(path).write("step", step=np.int64(3), loss=np.float32(0.5), bad=np.float32("nan"))
    event = read_events(path)[0][0]
    assert (event["step"], event["loss"], event["bad"]) == (3, 0.5, None)
    assert event["not_finite"] == {"bad": "nan"}


def test_a_half_line_of_a_crash_spoils_only_itself(path: Path) -> None:
    EventLog(path).write("state", state="running")
    with path.open("ab") as file:
        file.write(b'{"t":1,"type":"step","st')
    events, offset = read_events(path)
    assert [event["type"] for event in events] == ["state"]
    EventLog(path).write("resume", from_step=0)
    later, _ = read_events(path, offset)
    assert [event["type"] for event in later] == ["resume"]


def test_damage_in_the_middle_is_passed_over(path: Path) -> None:
    path.write_bytes(b'{"type":"state","format":1}\n\x00\x00\x00\n[1]\n"x"\n{"type":"step","step":2}\n')
    assert [event["type"] for event in read_events(path)[0]] == ["state", "step"]


def test_a_log_that_is_not_there_has_no_events(tmp_path: Path) -> None:
    assert read_events(tmp_path / "gone" / "events.jsonl", 40) == ([], 40)


def test_a_newer_format_is_said_plainly(path: Path) -> None:
    path.write_text('{"type":"state","format":2}\n')
    with pytest.raises(RunError, match="in format 2, and this nanoshell reads up to 1"):
        read_events(path)


def test_events_of_unknown_types_and_fields_pass_through(path: Path) -> None:
    path.write_text('{"type":"state","format":1,"new":{"a":1}}\n{"type":"weather","sun":true}\n')
    assert read_events(path)[0][1] == {"type": "weather", "sun": True}


def naive_effective(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Forward, one resume after the other: what DESIGN says, word by word."""
    kept: list[dict[str, Any]] = []
    for event in events:
        if event["type"] == "resume":
            limit = event["from_step"]
            kept = [
                e
                for e in kept
                if e["type"] == "alert"
                or e["type"] == "resume"
                or (e["type"] == "control" and (not e["ok"] or e["action"] == "pause"))
                or e["step"] <= limit
            ]
        kept.append(event)
    return kept


event_lists = st.lists(
    st.one_of(
        st.builds(
            lambda kind, step: {"type": kind, "step": step},
            st.sampled_from(["step", "eval", "sample", "checkpoint", "alert"]),
            st.integers(0, 8),
        ),
        st.builds(
            lambda action, ok, step: {"type": "control", "action": action, "ok": ok, "step": step},
            st.sampled_from(["set", "extend", "pause"]),
            st.booleans(),
            st.integers(0, 8),
        ),
        st.builds(lambda step: {"type": "resume", "from_step": step}, st.integers(0, 8)),
    ),
    max_size=25,
)


@given(event_lists)
def test_a_resume_makes_later_steps_void(events: list[dict[str, Any]]) -> None:
    assert effective_events(events) == naive_effective(events)


def test_lines_of_many_processes_do_not_mix(path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from nanoshell.runs.events import append_line\n"
        "for n in range(200):\n"
        "    append_line(Path(sys.argv[1]), {'who': sys.argv[2], 'n': n, 'x': 'y' * (n * 7 % 900)})"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, str(path), str(index)]) for index in range(4)]
    assert [writer.wait() for writer in writers] == [0] * 4
    events, _ = read_events(path)
    assert len([line for line in path.read_bytes().splitlines() if line]) == len(events) == 800
    for index in range(4):
        assert [event["n"] for event in events if event["who"] == str(index)] == list(range(200))


def test_a_state_repeats_the_newest_figures(path: Path) -> None:
    log = EventLog(path)
    log.write("state", state="running", total_steps=10)
    log.write("step", step=4, loss=1.0)
    log.write("eval", step=4, val_loss=2.0)
    assert log.write("state", state="paused") | {"t": 0} == {
        "t": 0,
        "type": "state",
        "state": "paused",
        "total_steps": 10,
        "step": 4,
        "val_loss": 2.0,
    }


def test_the_heart_beats_while_the_worker_is_busy_elsewhere(path: Path) -> None:
    log = EventLog(path)
    log.write("state", state="running")
    with log.beating(every=0.01):
        until(lambda: len(read_events(path)[0]) > 3)
    beats = read_events(path)[0][1:]
    assert {(beat["type"], beat["state"]) for beat in beats} == {("heartbeat", "running")}
    assert not [thread for thread in threading.enumerate() if thread.name == "heartbeat"]


def test_a_log_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot write .*events\.jsonl"):
        append_line(tmp_path / "file" / "events.jsonl", {})
    full = Path("/dev/full")
    if full.exists():
        with pytest.raises(StorageError, match="the disk is full"):
            append_line(full, {"type": "step"})


def test_follow_gives_every_event_once_and_ends_with_the_final_state(runs_dir: Path) -> None:
    run = create_run(runs_dir, "demo", {})
    write_process(run)
    log = EventLog(run.events_path)
    log.write("state", state="running")
    reader = follow(run, poll=0.001)
    assert next(reader)["state"] == "running"
    log.write("step", step=1, loss=1.0)
    assert next(reader)["step"] == 1
    log.write("step", step=2, loss=1.0)
    log.write("state", state="finished")
    assert [event["type"] for event in reader] == ["step", "state"]


def test_follow_passes_over_the_end_of_an_earlier_worker(
    runs_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run(runs_dir, "demo", {})
    log = EventLog(run.events_path)
    log.write("state", state="running")
    log.write("state", state="stopped")
    write_process(run)  # a resumed worker that has written nothing yet

    def write_more(seconds: float) -> None:
        log.write("resume", from_step=0)
        log.write("state", state="finished")

    monkeypatch.setattr("nanoshell.runs.events.time.sleep", write_more)  # when the reader has read it all
    assert [event.get("state") for event in follow(run)] == ["running", "stopped", None, "finished"]


def test_follow_from_now_on_shows_nothing_of_a_run_that_ended(runs_dir: Path) -> None:
    run = create_run(runs_dir, "demo", {})
    write_process(run)
    EventLog(run.events_path).write("state", state="failed")
    assert list(follow(run, from_start=False, poll=0.001)) == []


def test_follow_makes_up_the_end_of_a_run_whose_folder_was_removed(runs_dir: Path) -> None:
    run = create_run(runs_dir, "demo", {})
    run.record_path.unlink()
    run.path.rmdir()
    (event,) = follow(run, poll=0.001)
    assert (event["state"], event["reason"]) == ("crashed", "its folder is gone")


class Disk:
    """Takes so many bytes of the files that this process writes, and then says that it is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 10**9
        write = os.write

        def limited(handle: int, data: Any) -> int:
            if self.left <= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            count = write(handle, bytes(data)[: self.left])
            self.left -= count
            return count

        monkeypatch.setattr("nanoshell.runs.events.os.write", limited)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.integers(0, 120), min_size=1, max_size=12))
def test_no_event_is_lost_or_repeated_where_the_disk_is_full_now_and_then(
    tmp_path: Path, room: list[int]
) -> None:
    """Before each event the disk has room for so many bytes more; at the end it has room for all."""
    path = tmp_path / "full.jsonl"
    path.unlink(missing_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(patch)
        log = EventLog(path)
        for step, left in enumerate(room):
            disk.left = left
            log.write("step", step=step, note="ü")
            written = [event["step"] for event in read_events(path)[0] if event["type"] == "step"]
            assert (log.waiting is None) == (step in written)
            log.write("heartbeat")
        disk.left = 10**9
        assert log.flush()
    assert log.waiting is None
    events = read_events(path)[0]
    assert [event["step"] for event in events if event["type"] == "step"] == list(range(len(room)))
    assert [index for index, event in enumerate(events) if "format" in event] == [0][: len(events)]
    assert all(line.startswith("{") and line.endswith("}") for line in path.read_text().splitlines())


def test_a_half_line_of_an_earlier_worker_is_closed_also_on_a_full_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(b'{"type": "step", "st')
    disk = Disk(monkeypatch)
    log = EventLog(path)
    disk.left = 0
    log.write("step", step=1)
    disk.left = 1
    log.write("step", step=2)
    disk.left = 10**9
    assert log.flush()
    assert [event["step"] for event in read_events(path)[0]] == [1, 2]
    assert path.read_bytes().count(b"\n") == 3


def test_signs_of_life_do_not_pile_up_on_a_full_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    log = EventLog(path)
    log.write("state", state="running")
    disk.left = 0
    log.write("step", step=1)
    for _ in range(50):
        log.write("heartbeat")
    assert log.waiting is not None
    assert "the disk is full" in log.waiting.message
    disk.left = 10**9
    log.write("heartbeat")
    assert [event["type"] for event in read_events(path)[0]] == ["state", "step"]
    log.write("heartbeat")
    assert read_events(path)[0][-1]["step"] == 1


def test_a_failure_that_room_does_not_cure_is_raised(path: Path) -> None:
    log = EventLog(path / "nowhere" / "events.jsonl")
    with pytest.raises(StorageError):
        log.write("step", step=1)
    assert log.waiting is None


def test_signs_of_life_repeat_the_reason_of_a_pause_and_the_best_loss(path: Path) -> None:
    log = EventLog(path)
    log.write("eval", step=4, val_loss=2.5, best=True)
    log.write("eval", step=8, val_loss=2.75, best=False)
    log.write("state", state="paused", reason="the disk is full", step=9)
    told = log.write("heartbeat")
    assert (told["reason"], told["val_loss"], told["best_val_loss"], told["best_step"]) == (
        *("the disk is full", 2.75, 2.5),
        4,
    )
    log.write("state", state="running")
    assert "reason" not in log.write("heartbeat")
    log.write("resume", from_step=2)
    assert {"val_loss", "best_val_loss", "best_step"}.isdisjoint(log.write("heartbeat"))


def test_the_thread_of_heartbeats_calls_who_asks_it_to_and_outlives_its_failures(path: Path) -> None:
    log = EventLog(path)
    calls: list[int] = []

    def look() -> None:
        calls.append(1)
        raise RuntimeError

    log.each_beat = look
    with log.beating(every=0.001):
        until(lambda: len(calls) >= 3)


def test_heartbeats_tell_the_figures_that_they_are_given_and_go_on_without(path: Path) -> None:
    log = EventLog(path)
    calls: list[int] = []

    def figures() -> dict[str, float]:
        calls.append(1)
        if len(calls) == 2:
            raise OSError
        return {"memory": len(calls)}

    log.figures = figures
    with log.beating(every=0.001):
        until(lambda: len(calls) >= 4)
    told = [event.get("memory") for event in read_events(path)[0]]
    assert told[:3] == [1, None, 3]


def test_what_a_forced_resume_begins_anew_is_told() -> None:
    event = {"type": "resume", "from_step": 1200, "begun_anew": ["optimizer state", "data position"]}
    assert tell(event) == "resumed from step 1,200; begun anew: optimizer state, data position"
    assert tell({"type": "resume", "from_step": 3}) == ""
    change = {"values": {"learning_rate": 1e6}, "before": {"learning_rate": 994115.0}}
    assert tell_changes(change) == "learning_rate 1,000,000 (was 994,115)"
