"""How a run stands: told from the end of its log, at any length, by any state that it can be in."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from nanoshell.runs import status as status_module
from nanoshell.runs.directory import RunDirectory, create_run
from nanoshell.runs.events import EventLog, comparable_evaluations, effective_events, read_events
from nanoshell.runs.process import write_process
from nanoshell.runs.status import SILENT_AFTER_SECONDS
from nanoshell.testing import FakeRun


@pytest.fixture
def run(runs_dir: Path) -> RunDirectory:
    return create_run(runs_dir, "demo", {})


@pytest.fixture
def log(run: RunDirectory) -> EventLog:
    """The log of a run whose worker is this very process."""
    write_process(run)
    return EventLog(run.events_path)


def age(run: RunDirectory, seconds: float, **process: Any) -> None:
    """Make everything in ``run`` ``seconds`` older, and change fields of its process.json."""
    lines = [json.loads(line) for line in run.events_path.read_text().splitlines()]
    run.events_path.write_text(
        "".join(json.dumps({**line, "t": line["t"] - seconds}) + "\n" for line in lines)
    )
    if process:
        run.process_path.write_text(json.dumps({**json.loads(run.process_path.read_text()), **process}))
    then = time.time() - seconds
    for path in (run.events_path, run.process_path, run.record_path):
        os.utime(path, (then, then))


def test_a_run_is_starting_until_its_worker_speaks(run: RunDirectory) -> None:
    assert run.status().state == "starting"
    write_process(run)
    assert run.status().state == "starting"
    assert run.status().pid == os.getpid()
    EventLog(run.events_path).write("state", state="running")
    assert run.status().state == "running"


def test_a_run_whose_worker_never_came_is_crashed_in_the_end(run: RunDirectory) -> None:
    then = time.time() - 3600
    os.utime(run.record_path, (then, then))
    assert (run.status().state, run.status().reason) == ("crashed", "its worker never started")


def test_all_figures_of_a_step_are_there(run: RunDirectory, log: EventLog) -> None:
    log.write("state", state="running", total_steps=100)
    log.write("eval", step=40, val_loss=3.5)
    log.write(
        "step",
        step=50,
        loss=2.5,
        grad_norm=math.nan,
        learning_rate=1e-3,
        epoch=1.5,
        **{"it/s": 10.0, "tokens/s": 640.0},
    )
    status = run.status()
    assert (status.state, status.step, status.total_steps, status.epoch) == ("running", 50, 100, 1.5)
    assert (status.loss, status.val_loss, status.learning_rate) == (2.5, 3.5, 1e-3)
    assert (status.steps_per_second, status.tokens_per_second, status.eta_seconds) == (10.0, 640.0, 5.0)
    assert math.isnan(status.grad_norm or 0.0)
    assert status.started is not None
    assert status.updated is not None
    assert status.started <= status.updated <= time.time()


@pytest.mark.parametrize("state", ["paused", "stopping", "finished", "stopped", "failed"])
def test_the_worker_says_its_state_and_why(run: RunDirectory, log: EventLog, state: str) -> None:
    log.write("state", state="running")
    log.write("state", state=state, reason="because")
    status = run.status()
    assert (status.state, status.reason) == (state, "because")
    assert status.ended == (state in ("finished", "stopped", "failed"))
    assert status.eta_seconds is None


def test_a_pause_is_still_known_after_an_hour_of_heartbeats(run: RunDirectory, log: EventLog) -> None:
    log.write("state", state="running", total_steps=9)
    log.write("step", step=3, loss=1.25)
    log.write("state", state="paused")
    for _ in range(1500):
        log.write("heartbeat")
    status = run.status()
    assert (status.state, status.step, status.loss, status.total_steps) == ("paused", 3, 1.25, 9)


def test_a_long_log_is_judged_by_its_end(
    run: RunDirectory, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the part that is read, the beginning of the log still tells the horizon."""
    read: list[int] = []

    def spy(path: Path, length: int) -> tuple[list[tuple[int, bytes]], bool]:
        read.append(length)
        return last_lines(path, length)

    last_lines = status_module._last_lines
    monkeypatch.setattr(status_module, "_last_lines", spy)
    log.write("state", state="running", total_steps=10**6)
    line = json.dumps({"t": 1, "type": "step", "step": 1, "loss": 1.0}) + "\n"
    with run.events_path.open("a") as file:
        file.write(line * (3_000_000 // len(line)))
    log.write("step", step=77, loss=0.5)
    status = run.status()
    assert (status.state, status.step, status.loss, status.total_steps) == ("running", 77, 0.5, 10**6)
    assert max(read) < 3_000_000
    log.write("heartbeat")
    read.clear()
    status = run.status()
    assert (status.state, status.step, status.loss, status.total_steps) == ("running", 77, 0.5, 10**6)
    assert sum(read) < 100_000


def test_the_newest_horizon_counts(run: RunDirectory, log: EventLog) -> None:
    log.write("state", state="running", total_steps=100)
    log.write("state", state="running", total_steps=200)
    assert run.status().total_steps == 200
    log.write("step", step=61)
    assert (run.status().step, run.status().total_steps) == (61, 200)


def test_the_start_is_that_of_the_newest_worker(run: RunDirectory, log: EventLog) -> None:
    log.write("state", state="running")
    log.write("state", state="stopped")
    age(run, 3600)
    run.process_path.unlink()
    write_process(run)
    assert (run.status().state, run.status().started) == ("starting", None)
    begun = EventLog(run.events_path).write("state", state="running")
    assert run.status().started == begun["t"]


def test_after_a_resume_the_void_steps_do_not_count(run: RunDirectory, log: EventLog) -> None:
    log.write("state", state="running", total_steps=50)
    for step in range(1, 31):
        log.write("step", step=step, loss=float(step))
    log.write("eval", step=30, val_loss=9.0)
    log.write("resume", from_step=20)
    log.write("state", state="running")
    status = run.status()
    assert (status.state, status.step, status.loss, status.val_loss) == ("running", 20, 20.0, None)
    log.write("step", step=21, loss=0.1)
    assert (run.status().step, run.status().loss) == (21, 0.1)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.tuples(st.sampled_from(["step", "resume"]), st.integers(1, 9)), max_size=20))
def test_the_status_agrees_with_a_reading_of_all_events(
    run: RunDirectory, events: list[tuple[str, int]]
) -> None:
    write_process(run)
    run.events_path.write_text('{"t":1,"type":"state","state":"running","format":1}\n')
    written = 0
    with run.events_path.open("a") as file:
        for kind, step in events:
            if kind == "resume":
                written = min(step, written)
                file.write(json.dumps({"type": "resume", "from_step": written}) + "\n")
            else:
                written += 1
                file.write(json.dumps({"type": "step", "step": written, "loss": step}) + "\n")
    kept = [event for event in effective_events(read_events(run.events_path)[0]) if event["type"] == "step"]
    status = run.status()
    if events:
        assert status.step == written
    assert status.loss == (kept[-1]["loss"] if kept else None)


def test_another_host_that_says_nothing_is_silent_since(run: RunDirectory, log: EventLog) -> None:
    log.write("state", state="running")
    age(run, 0, host="elsewhere")
    assert run.status().state == "running"
    age(run, SILENT_AFTER_SECONDS + 100, host="elsewhere")
    status = run.status()
    assert status.state == "silent"
    assert status.reason.startswith("silent since ")
    assert status.reason.endswith(" on elsewhere")
    since = time.strptime(
        status.reason.removeprefix("silent since ").removesuffix(" on elsewhere"), "%Y-%m-%d %H:%M:%S"
    )
    assert time.mktime(since) == pytest.approx(status.updated or 0.0, abs=2)
    assert not status.ended


def test_writing_the_record_is_no_sign_of_life(run: RunDirectory, log: EventLog) -> None:
    log.write("state", state="running")
    age(run, SILENT_AFTER_SECONDS + 100, host="elsewhere")
    os.utime(run.record_path)
    assert run.status().state == "silent"


def test_a_live_worker_that_says_nothing_is_remarked(run: RunDirectory, log: EventLog) -> None:
    log.write("state", state="running")
    age(run, 60)
    status = run.status()
    assert status.state == "running"
    assert status.reason.startswith("no sign of life for 6")


def test_an_ended_run_of_another_host_stays_ended(run: RunDirectory, log: EventLog) -> None:
    log.write("state", state="finished")
    age(run, 1000, host="elsewhere")
    assert run.status().state == "finished"


def test_a_newer_format_is_said_and_what_is_known_is_shown(run: RunDirectory) -> None:
    write_process(run)
    run.events_path.write_text(
        '{"t":5,"type":"state","format":7,"state":"running"}\n{"t":6,"type":"step","step":3,"loss":{"v":1}}\n'
        '{"t":7,"type":"state","state":"dreaming"}\n'
    )
    status = run.status()
    assert (status.state, status.step, status.loss) == ("running", 3, None)
    assert status.reason == "written by a newer nanoshell, in format 7"


def test_a_folder_that_vanished_or_holds_nonsense_raises_nothing(run: RunDirectory) -> None:
    run.events_path.write_bytes(b"\xff\x00{{{\n\n[]\n17")
    run.process_path.write_text("nonsense")
    assert run.status().state == "starting"
    assert RunDirectory(run.path / "nowhere").status().state == "crashed"


def test_the_best_loss_is_that_of_the_evaluations_that_count(run: RunDirectory, log: EventLog) -> None:
    assert (run.status().best_val_loss, run.status().best_step) == (None, None)
    log.write("eval", step=10, val_loss=3.0, best=True)
    log.write("eval", step=20, val_loss=2.5, best=True)
    log.write("eval", step=30, val_loss=2.75, best=False)
    status = run.status()
    assert (status.val_loss, status.best_val_loss, status.best_step) == (2.75, 2.5, 20)
    for step in range(31, 2000):
        log.write("step", step=step, loss=1.0)
    log.write("heartbeat")
    status = run.status()
    assert (status.val_loss, status.best_val_loss, status.best_step) == (2.75, 2.5, 20)
    log.write("resume", from_step=15)
    log.write("state", state="running", step=15)
    assert (run.status().best_val_loss, run.status().best_step) == (3.0, 10)


@pytest.mark.parametrize(("from_step", "later", "best"), [(700, 2.5, (1.5, 700)), (600, 1.75, (1.75, 900))])
def test_a_best_loss_from_before_a_resume_is_known_to_the_end(
    tmp_path: Path, from_step: int, later: float, best: tuple[float, int]
) -> None:
    """The evaluations after it are worse, and the last word of the run names none; `runs show` reads all."""
    with FakeRun(tmp_path) as fake:
        for step, loss in ((500, 2.0), (700, 1.5)):
            fake.step(step - fake.at)
            fake.eval(val_loss=loss)
        fake.resume(from_step)
        fake.step(900 - fake.at)
        fake.eval(val_loss=later)
        fake.finish("stopped")
    status = fake.run.status()
    assert (status.best_val_loss, status.best_step) == best
    counted = comparable_evaluations(effective_events(read_events(fake.run.events_path)[0]))
    assert best == min((event["val_loss"], event["step"]) for event in counted)


def test_a_process_file_that_cannot_be_read_is_not_said_to_be_missing(tmp_path: Path) -> None:
    with FakeRun(tmp_path) as fake:
        fake.step()
    then = time.time() - 3600
    for damage, reason in (("half a lin", "its process.json cannot be read"), ("", "it has no process.json")):
        fake.run.process_path.write_text(damage)
        if not damage:
            fake.run.process_path.unlink()
        for path in fake.run.path.iterdir():
            os.utime(path, (then, then))
        assert (fake.run.status().state, fake.run.status().reason) == ("crashed", reason)


def test_a_pause_keeps_its_reason_behind_signs_of_life(run: RunDirectory, log: EventLog) -> None:
    log.write("state", state="paused", step=3, reason="cannot write there: the disk is full")
    log.write("heartbeat")
    assert (run.status().state, run.status().reason) == ("paused", "cannot write there: the disk is full")
    log.write("state", state="running", step=3)
    log.write("heartbeat")
    assert (run.status().state, run.status().reason) == ("running", "")


def test_the_end_of_a_run_follows_an_extension(run: RunDirectory, log: EventLog) -> None:
    log.write("state", state="running", step=0, total_steps=100, horizon=100)
    log.write("step", step=1, loss=1.0)
    log.write("control", id="a", action="extend", ok=True, horizon=150, total_steps=150, step=1)
    assert run.status().total_steps == 150
    for step in range(2, 2000):
        log.write("step", step=step, loss=1.0)
    log.write("heartbeat")
    assert run.status().total_steps == 150


@pytest.mark.parametrize("seconds", [0.04, 1.0])
def test_the_time_that_is_left_is_by_the_speed_of_the_last_minute(tmp_path: Path, seconds: float) -> None:
    with FakeRun(tmp_path, total_steps=10_000, seconds=seconds) as run:
        run.step(round(30 / seconds), **{"it/s": 1.0})
        run.step(round(62 / seconds), **{"it/s": 4.0})
        left = run.run.status().eta_seconds
        assert left == pytest.approx((10_000 - run.at) / 4)
        run.step(**{"it/s": 400.0})  # one moment changes it little
        status = run.run.status()
        assert status.steps_per_second == 400.0
        assert status.eta_seconds == pytest.approx(left, rel=0.15)


def test_a_log_of_one_step_tells_the_time_that_is_left(tmp_path: Path) -> None:
    with FakeRun(tmp_path, total_steps=11) as run:
        run.step(**{"it/s": 2.0})
        assert run.run.status().eta_seconds == 5.0


@pytest.mark.parametrize("ending", ["\n", "", "\r"])
def test_the_last_words_of_a_worker_are_words(tmp_path: Path, ending: str) -> None:
    with FakeRun(tmp_path) as fake:
        fake.log("10%\r20%\r" + "x" * 5000 + ending)
        fake.crash()
    reason = fake.run.status().reason
    assert "last words: xxx" in reason
    assert reason.endswith("x…")
    assert 300 < len(reason) < 400
