"""The fake run: what it writes is what a worker writes, as far as anybody reads it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from nanoshell.errors import RunError
from nanoshell.runs.control import request, wait_for
from nanoshell.runs.directory import find_run
from nanoshell.runs.events import effective_events, number, read_events
from nanoshell.runs.process import hold_lock
from nanoshell.testing import FakeRun, write_run
from nanoshell.training.record import read_record

Begin = Callable[..., FakeRun]


def test_it_runs_until_it_ends_or_crashes(
    nanoshell_fake_run: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanoshell.runs.process._LOCK_PATIENCE_SECONDS", 0.0)
    fake = nanoshell_fake_run(total_steps=40)
    assert find_run(tmp_path / "runs", "latest") == fake.run
    fake.step(10)
    status = fake.run.status()
    assert (status.state, status.step, status.total_steps) == ("running", 10, 40)
    assert status.eta_seconds == pytest.approx(30 * 0.125)
    with pytest.raises(RunError, match="is being written"), hold_lock(fake.run):
        pass
    fake.state("paused")
    assert fake.run.status().state == "paused"
    fake.crash()
    assert fake.run.status().state == "crashed"
    with hold_lock(fake.run):
        pass
    for end in ("finished", "stopped", "failed"):
        other = nanoshell_fake_run()
        other.finish(end, "so it is")
        assert (other.run.status().state, other.run.status().reason) == (end, "so it is")


def test_equal_calls_write_equal_events(tmp_path: Path) -> None:
    def write(folder: Path) -> bytes:
        with FakeRun(folder) as fake:
            fake.step(3, loss=lambda step: math.nan if step == 2 else 1 / step)
            fake.eval()
            fake.sample(index=1)
            fake.alert()
            fake.checkpoint()
            return fake.run.events_path.read_bytes()

    assert write(tmp_path / "one") == write(tmp_path / "two")
    events, _ = read_events(tmp_path / "one" / "fake-1" / "events.jsonl")
    losses = [number(event, "loss") for event in events if event["type"] == "step"]
    assert losses == pytest.approx([1.0, math.nan, 1 / 3], nan_ok=True)


def test_a_resume_is_that_of_a_new_worker(nanoshell_fake_run: Begin) -> None:
    fake = nanoshell_fake_run()
    fake.step(8)
    fake.crash()
    size = fake.run.events_path.stat().st_size
    fake.resume(5)
    assert fake.run.status().step == 5
    fake.step(2, loss=9.0)
    kept = effective_events(read_events(fake.run.events_path)[0])
    assert [event["step"] for event in kept if event["type"] == "step"] == [1, 2, 3, 4, 5, 6, 7]
    assert f'"events_offset": {size},' in fake.run.process_path.read_text()
    assert fake.run.status().state == "running"
    fake.move("afar")
    assert (fake.run.status().state, fake.run.status().host) == ("running", "afar")


def test_a_half_line_can_be_left_or_ended(nanoshell_fake_run: Begin) -> None:
    fake = nanoshell_fake_run()
    for whole in (True, False):
        rest = fake.half_line()
        assert fake.run.status().state == "running"
        fake.raw(rest if whole else b"")
        fake.step()
    steps = [event["step"] for event in read_events(fake.run.events_path)[0] if event["type"] == "step"]
    assert steps == [1, 2, 4]


def test_it_does_what_is_asked(nanoshell_fake_run: Begin) -> None:
    fake = nanoshell_fake_run(total_steps=10)
    fake.step(4)
    with fake.answering():
        for action, arguments, state in (
            ("pause", {}, "paused"),
            ("sample", {"prompts": ["One", "Two"]}, "paused"),
            ("set", {"values": {"learning_rate": 0.1}}, "paused"),
            ("resume", {}, "running"),
            ("evaluate", {}, "running"),
            ("extend", {"steps": 5}, "running"),
            ("stop", {}, "stopped"),
        ):
            answer = wait_for(fake.run, request(fake.run, action, **arguments))
            assert answer is not None, action
            assert answer["ok"] is True, action
            fake.answer_requests()  # after it, what the answer brought is written, too
            assert fake.run.status().state == state
    assert fake.total_steps == 15
    checkpoint = fake.run.latest_checkpoint()
    assert checkpoint is not None
    assert checkpoint.name == "step-000004"


def test_what_is_unknown_is_refused(nanoshell_fake_run: Begin) -> None:
    fake = nanoshell_fake_run()
    asked = request(fake.run, "paus")
    assert [line["id"] for line in fake.answer_requests()] == [asked]
    answer = wait_for(fake.run, asked)
    assert answer is not None
    assert answer["ok"] is False
    assert "pause" in answer["hint"] + answer["message"]


def test_its_record_is_one_of_a_run(nanoshell_fake_run: Begin) -> None:
    fake = nanoshell_fake_run("mine", total_steps=7)
    record = read_record(fake.run)
    assert (record.config.model.name, record.horizon, record.last_step) == ("mine", 7, 7)
    fake.log("a line\n")
    assert fake.run.log_tail() == "a line"
    fake.vanish()
    assert not fake.run.path.exists()


def test_a_written_run_has_ended(tmp_path: Path) -> None:
    assert write_run(tmp_path).status().state == "finished"
    assert write_run(tmp_path, state="failed").status().reason == "as the test wants it"
    assert write_run(tmp_path, state="crashed").status().state == "crashed"
    assert not write_run(tmp_path, state="").events_path.exists()
