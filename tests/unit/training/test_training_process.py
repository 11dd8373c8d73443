"""Real worker processes: stopped by a signal, killed, and with a disk that is full."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nanoshell.model.weights import load_model
from nanoshell.runs.directory import RunDirectory
from nanoshell.runs.events import follow, read_events
from nanoshell.runs.process import read_process, worker_alive
from nanoshell.training.worker import run_worker

CONFIG = {"max_steps": 100_000, "gradient_accumulation": 2, "softmax": "sampled", "sampled_negatives": 4}


def await_step(run: RunDirectory, number: int) -> int:
    """Wait until the worker has written step ``number``, and return its process id."""
    for event in follow(run, poll=0.01):
        assert event.get("state") != "failed", event
        if event["type"] == "step" and event["step"] >= number:
            break
    pid = run.status().pid
    assert pid is not None
    return pid


def finish(run: RunDirectory) -> dict[str, Any]:
    """Wait for the end of the worker and return the final event."""
    return list(follow(run, poll=0.01))[-1]


def test_a_signal_saves_and_stops_and_the_rest_is_as_if_it_had_not_come(lab: Any) -> None:
    config = lab.config(**CONFIG)
    run = lab.launch(lab.request(config, lab.corpus(ids=12)))
    os.kill(await_step(run, 5), signal.SIGTERM)
    final = finish(run)
    assert (final["state"], final["reason"]) == ("stopped", "signal SIGTERM")
    stopped_at = final["step"]
    assert run.latest_checkpoint() == run.checkpoints_dir / f"step-{stopped_at:06d}"
    assert worker_alive(run) is False or run.status().ended
    lab.prepare(lab.request(None, None, resume=run.name, max_steps=stopped_at + 4))
    assert run_worker(run, lab.plugins) == 0
    whole = lab.prepare(lab.request(config, lab.corpus(ids=12), max_steps=stopped_at + 4))
    assert run_worker(whole, lab.plugins) == 0
    first, second = (
        [(event["step"], event["loss"], event["grad_norm"]) for event in lab.events(found, "step")]
        for found in (run, whole)
    )
    assert first == second
    assert _weights(run) == _weights(whole)


def _weights(run: RunDirectory) -> bytes:
    checkpoint = run.latest_checkpoint()
    assert checkpoint is not None
    return (checkpoint / "model.safetensors").read_bytes()


def test_a_killed_worker_leaves_whole_checkpoints_and_a_run_that_goes_on(lab: Any) -> None:
    config = lab.config(**CONFIG, save_interval=1)
    run = lab.launch(lab.request(config, lab.corpus(ids=12)))
    os.kill(await_step(run, 30), signal.SIGKILL)
    assert finish(run)["state"] == "crashed"
    assert run.status().state == "crashed"
    checkpoints = run.checkpoints()
    assert 1 <= len(checkpoints) <= 3
    for checkpoint in checkpoints:
        load_model(checkpoint.path, lab.plugins.mixers)
    last = int(str(run.latest_checkpoint())[-6:])
    (run.checkpoints_dir / ".step-099999.part").mkdir(exist_ok=True)
    lab.prepare(lab.request(None, None, resume=run.name, max_steps=last + 2))
    assert run_worker(run, lab.plugins) == 0
    assert lab.events(run, "resume")[-1]["from_step"] == last
    left = [path.name for path in run.checkpoints_dir.iterdir() if path.name.startswith(".")]
    assert left == []
    steps = [event["step"] for event in read_events(run.events_path)[0] if event["type"] == "step"]
    assert steps[-2:] == [last + 1, last + 2]


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="Linux alone changes limits of a process")
def test_a_full_disk_pauses_the_run_until_there_is_room(lab: Any, plugins_dir: Path) -> None:
    config = lab.config(**{**CONFIG, "model_hidden_size": 32}, save_interval=4)
    run = lab.prepare(lab.request(config, lab.corpus(ids=12), max_steps=4))
    assert run_worker(run, lab.plugins) == 0
    good = run.latest_checkpoint()
    lab.prepare(lab.request(None, None, resume=run.name, max_steps=9))
    size = (good / "model.safetensors").stat().st_size
    assert run.events_path.stat().st_size * 2 < size // 2

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, resource.RLIM_INFINITY))

    command = [sys.executable, "-P", "-m", "nanoshell", "--plugins-dir", str(plugins_dir), "train", "--run"]
    with subprocess.Popen([*command, str(run.path)], preexec_fn=limit, stderr=subprocess.PIPE) as worker:
        while (process := read_process(run)) is None or process.pid != worker.pid:
            assert worker.poll() is None
            time.sleep(0.01)
        for event in follow(run, poll=0.01):
            assert event.get("state") != "failed", event
            if event.get("state") == "paused":
                break
        assert sorted(path.name for path in run.checkpoints_dir.iterdir()) == ["latest", good.name]
        load_model(good, lab.plugins.mixers)
        assert "step-000008" in event["reason"]
        assert "a file may not become that large here (ulimit -f" in event["reason"]
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert worker.stderr is not None
        assert b"Traceback" not in worker.stderr.read()
    assert worker.returncode == 0
    assert finish(run)["state"] == "finished"
    full, room = lab.events(run, "alert")
    assert (full["kind"], room["kind"]) == ("storage", "storage")
    assert f"the last good checkpoint is kept: {good.name}" in full["hint"]
    assert "the run goes on once it can be written" in full["hint"]
    assert (room["cleared"], room["message"]) == (True, "writing works again")
    assert [checkpoint.step for checkpoint in run.checkpoints()] == [8, 9]
