"""Several processes as users start them: ``--nproc``, torchrun, signals, and a process that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from torch.distributed import TCPStore

from nanoshell.errors import UsageError
from nanoshell.plugin.manager import Plugins, load_plugins
from nanoshell.runs.control import request, wait_for
from nanoshell.runs.directory import RunDirectory
from nanoshell.runs.events import Event, follow, read_events
from nanoshell.runs.process import read_process
from nanoshell.training.launch import TrainRequest, start_run
from nanoshell.training.presets import load_config
from nanoshell.training.worker import run_worker

PRESET = """
model:
  name: tiny
  hidden_size: 16
  num_layers: 1
  num_heads: 2
  vocab_size: 100331
  max_seq_len: 16
trainer:
  batch_size: 2
  gradient_accumulation: 2
  learning_rate: 0.003
  max_steps: 100000
  schedule: constant
  warmup_steps: 0
  softmax: sampled
  sampled_negatives: 16
  save_interval: 10
  eval_tokens: 32
  device: cpu
"""
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return load_plugins(safe=True, strict=True)


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(PRESET)
    return path


def until(run: RunDirectory, wanted: Callable[[Event], bool]) -> Event:
    """Return the first event since the newest worker began that is ``wanted``."""
    for event in follow(run, poll=0.01):
        if wanted(event):
            return event
    raise AssertionError(f"it ended before: {event}\n{run.log_tail(40)}")


def at_step(number: int) -> Callable[[Event], bool]:
    return lambda event: event["type"] == "step" and event["step"] >= number


def ranks_of(run: RunDirectory) -> list[psutil.Process]:
    """Return torchrun and the processes that it started, the one of rank 0 first among these."""
    worker = read_process(run)
    assert worker is not None
    launcher = psutil.Process(worker.pid).parent()
    assert launcher is not None
    others = [child for child in launcher.children() if child.pid != worker.pid]
    return [launcher, psutil.Process(worker.pid), *others]


def last(run: RunDirectory) -> Event:
    return [event for event in read_events(run.events_path)[0] if event["type"] == "state"][-1]


def steps(run: RunDirectory) -> dict[int, float]:
    """Return the losses by step; of a step that was made again, the newest."""
    return {e["step"]: e["loss"] for e in read_events(run.events_path)[0] if e["type"] == "step"}


def step_of(run: RunDirectory) -> int:
    checkpoint = run.latest_checkpoint()
    assert checkpoint is not None
    assert json.loads((checkpoint / "trainer.json").read_text())["numerics"]["processes"] == 2
    return int(checkpoint.name.removeprefix("step-"))


def begin(plugins: Plugins, runs_dir: Path, preset: Path, **options: Any) -> RunDirectory:
    wanted = TrainRequest(load_config(preset), "nano-start:completions", runs_dir, **options)
    return start_run(wanted, plugins)


def go_on(plugins: Plugins, run: RunDirectory, **options: Any) -> RunDirectory:
    return start_run(TrainRequest(None, None, run.path.parent, resume=run.name, **options), plugins)


def ask(run: RunDirectory, action: str, **arguments: Any) -> Event:
    found = wait_for(run, request(run, action, **arguments), timeout=300, poll=0.01)
    assert found is not None
    assert found["ok"], found
    return found


def test_two_processes_are_steered_and_killed_and_go_on(
    plugins: Plugins, preset: Path, runs_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin(plugins, runs_dir, preset, processes=2)
    running = until(run, lambda event: event.get("state") == "running")
    assert (running["processes"], running["threads"]) == (2, 1)
    until(run, at_step(3))
    launcher, *ranks = ranks_of(run)
    assert len(ranks) == 2
    assert launcher.pid == os.getsid(launcher.pid), "a session of its own"

    # What is changed and extended holds in both: with another batch they would draw other windows and wait.
    ask(run, "pause")
    changed = ask(run, "set", values={"batch_size": 3, "learning_rate": 0.002})
    assert changed["before"]["batch_size"] == 2
    refused = wait_for(run, request(run, "set", values={"batch_size": 1, "gradient_accumulation": 1}), 60)
    assert refused is not None
    assert "2 processes cannot share an update of 1 window" in refused["message"]
    ask(run, "extend", steps=5)
    ask(run, "resume")
    after = until(run, at_step(changed["step"] + 5))
    assert after["learning_rate"] == 0.002
    # A process that is killed ends it: the first one says why.
    until(run, at_step(changed["step"] + 12))
    launcher, first, second = ranks_of(run)
    second.kill()
    for _ in follow(run, poll=0.05):
        pass
    failed = last(run)
    assert failed["state"] == "failed"
    assert failed["reason"].startswith(f"the process of rank 1 has ended (process {second.pid} on ")
    assert psutil.wait_procs([launcher, first], timeout=300)[1] == []

    # The checkpoint is whole, and tells that two go on. Without the first there is nobody to say why.
    saved = step_of(run)
    go_on(plugins, run)
    until(run, at_step(saved + 12))
    everyone = ranks_of(run)
    everyone[1].kill()
    assert [event["state"] for event in follow(run, poll=0.05) if event["type"] == "state"][-1] == "crashed"
    assert psutil.wait_procs(everyone, timeout=300)[1] == []
    assert "Signal 9 (SIGKILL) received" in run.status().reason, "as torchrun says in the log"

    # One process makes the steps again that two have made since they saved.
    before, saved = steps(run), step_of(run)
    monkeypatch.setattr("nanoshell.training.launch.start_worker", lambda *_, **options: 0)
    go_on(plugins, run, processes=1, max_steps=saved + 2)
    monkeypatch.undo()
    assert run_worker(run, plugins) == 0
    again = steps(run)
    made_again = [step for step in (saved + 1, saved + 2) if step in before]
    assert [again[step] for step in made_again] == pytest.approx(
        [before[step] for step in made_again], rel=1e-5
    )


def test_under_torchrun_the_command_is_the_worker(preset: Path, runs_dir: Path) -> None:
    command = ["nanoshell", "train", "--config", str(preset), "--data", "nano-start:completions", "--json"]
    command += ["--runs-dir", str(runs_dir)]
    pipe = subprocess.PIPE
    with subprocess.Popen([*TORCHRUN, *command], stdout=pipe, stderr=pipe, bufsize=0) as process:
        assert process.stdout is not None
        lines = [json.loads(process.stdout.readline()) for _ in range(5)]
        process.send_signal(signal.SIGINT)
        rest, narrated = process.communicate()
    assert process.returncode == 1, "torchrun's own code after a signal"
    lines += [json.loads(line) for line in rest.splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1)), "of the first process alone"
    run = RunDirectory(runs_dir / "tiny-1")
    assert (last(run)["state"], last(run)["reason"]) == ("stopped", "signal SIGINT")
    assert run.latest_checkpoint() == run.checkpoints_dir / f"step-{len(lines):06d}"
    assert narrated.decode().count(f"run tiny-1 saved and stopped at step {len(lines)}") == 1
    assert len(list(runs_dir.iterdir())) == 1


def test_a_mistake_is_told_by_the_first_process_alone_and_makes_no_run(preset: Path, runs_dir: Path) -> None:
    command = [sys.executable, "-m", "nanoshell", "train", "--config", str(preset), "--data", "nowhere.txt"]
    # The store lives here, as torchrun's does, so that nobody else can take its port in between.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    place |= {"TORCHELASTIC_USE_AGENT_STORE": "True"}
    both = [
        subprocess.Popen(
            [*command, "--runs-dir", str(runs_dir)],
            env={**os.environ, **place, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for rank in "01"
    ]
    (_, first_said), (_, second_said) = (process.communicate() for process in both)
    assert both[0].returncode > 0
    assert b"nowhere.txt" in first_said
    assert (both[1].returncode, second_said) == (0, b"")
    assert not runs_dir.exists()


def test_processes_are_not_started_twice_nor_without_rows(
    plugins: Plugins, preset: Path, runs_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="5 processes cannot share an update of 4 windows"):
        begin(plugins, runs_dir, preset, processes=5)
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")
    for name, value in {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="torchrun has started 2 processes already"):
        begin(plugins, runs_dir, preset, processes=2)
    assert not runs_dir.exists()
