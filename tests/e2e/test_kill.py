"""Workers that are killed with SIGKILL, at any moment: nothing is lost, and no bit is another for it.

The model mixes Mamba, attention and experts, with dropout, accumulation and a validation split. A nursery
that has imported torch once forks the workers of the many kills; few are started by the program itself.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nanoshell.model.weights import load_model
from nanoshell.plugin.manager import Plugins, load_plugins
from nanoshell.runs.directory import RunDirectory
from nanoshell.runs.events import effective_events, follow, parse_line, read_events
from nanoshell.training import launch
from nanoshell.training.checkpoint import check_whole
from nanoshell.training.config import RunConfig
from nanoshell.training.launch import TrainRequest, start_run
from nanoshell.training.worker import run_worker

NURSERY = '''
"""For each line {"run": DIR, "die_at": K}: fork a worker, tell its pid, and then how it ended.

With K, the worker kills itself at its K-th operation on a file of its checkpoints.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch

from nanoshell.plugin.manager import load_plugins
from nanoshell.runs.directory import RunDirectory
from nanoshell.training import opening, worker

OPERATIONS = {"open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.chmod", "os.scandir"}
plugins = load_plugins()
torch.set_num_threads(1)


def watch(folder, die_at):
    seen = 0

    def count(event, arguments):
        nonlocal seen
        if event in OPERATIONS and str(arguments[0]).startswith(folder):
            seen += 1
            if seen == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


for line in sys.stdin:
    asked = json.loads(line)
    pid = os.fork()
    if pid == 0:
        if asked["die_at"]:
            watch(str(Path(asked["run"]) / "checkpoints"), asked["die_at"])
        os._exit(worker.run_worker(RunDirectory(Path(asked["run"])), plugins))
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
'''

DENSE: dict[str, Any] = {"num_layers": 2, "num_heads": 2, "dropout": 0.1}
HYBRID: dict[str, Any] = {
    **DENSE,
    "num_layers": 3,
    "mamba_layers": [0],
    "mamba2_head_dim": 8,
    "mamba2_state_size": 8,
    "mamba2_chunk_size": 8,
    "feed_forward": ["none", "moe", "swiglu"],
    "num_experts": 4,
    "experts_per_tok": 2,
}
TRAINER: dict[str, Any] = {
    "batch_size": 2,
    "gradient_accumulation": 2,
    "max_steps": 100_000,
    "warmup_steps": 20,
    "save_interval": 2,
    "eval_interval": 3,
    "eval_tokens": 64,
    "val_fraction": 0.2,
    "shuffle": "documents",
    "device": "cpu",
}


class Bench:
    """Runs of one config on one small text."""

    def __init__(self, folder: Path, model: dict[str, Any], plugins: Plugins) -> None:
        self.folder = folder
        self.plugins = plugins
        self.data = folder / "text.jsonl"
        words = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog"]
        drawn = random.Random(4)
        lines = [json.dumps({"text": " ".join(drawn.choices(words, k=9))}) for _ in range(40)]
        self.data.write_text("\n".join(lines))
        whole = {"name": "small", "hidden_size": 16, "max_seq_len": 16, "tokenizer": "char", **model}
        self.preset = {"model": whole, "trainer": TRAINER}
        self.config = RunConfig.from_dict(self.preset, "test")

    def prepare(self, **options: Any) -> RunDirectory:
        """Do all that `start_run` does, without a worker."""
        request = TrainRequest(self.config, str(self.data), self.folder / "runs", **options)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(launch, "start_worker", lambda *given, **options: 0)
            return start_run(request, self.plugins)

    def uninterrupted(self, steps: int) -> RunDirectory:
        run = self.prepare(name="whole", max_steps=steps)
        assert run_worker(run, self.plugins) == 0
        return run

    def check(self, run: RunDirectory) -> None:
        """Check what a killed worker left: a log to read, and checkpoints that are whole, to the newest."""
        lines = run.events_path.read_bytes().split(b"\n")
        assert all(parse_line(line) is not None for line in lines[:-1] if line)
        found = [checkpoint.path for checkpoint in run.checkpoints()]
        latest = run.latest_checkpoint()
        assert (latest in found) or not found
        for path in found:
            check_whole(path)
        if latest is not None:
            load_model(latest, self.plugins.mixers)


def told(run: RunDirectory) -> dict[int, tuple[Any, ...]]:
    """Return what the log says about each step and evaluation that counts."""
    events = effective_events(read_events(run.events_path)[0])
    steps = {
        e["step"]: (e["loss"], e["grad_norm"], e.get("expert_load")) for e in events if e["type"] == "step"
    }
    losses = {e["step"]: e["val_loss"] for e in events if e["type"] == "eval"}
    assert [e["step"] for e in events if e["type"] == "step"] == sorted(steps)
    return {step: (*facts, losses.get(step)) for step, facts in steps.items()}


def same(run: RunDirectory, whole: RunDirectory) -> None:
    """Check that two runs told the same and ended in the same bytes: weights, optimizer, random states."""
    assert told(run) == told(whole)
    first, second = run.latest_checkpoint(), whole.latest_checkpoint()
    assert first is not None
    assert second is not None
    assert first.name == second.name
    for name in ("model.safetensors", "trainer.safetensors"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    left = [path.name for path in (*run.path.iterdir(), *run.checkpoints_dir.iterdir())]
    assert not [name for name in left if name.startswith(".")]


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return load_plugins()


@pytest.fixture
def bench(tmp_path: Path, plugins: Plugins, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return Bench(tmp_path, HYBRID, plugins)


class Nursery:
    """Forks workers, and tells how they ended."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, run: RunDirectory, die_at: int = 0) -> int:
        """Start a worker and return its process id."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"run": str(run.path), "die_at": die_at}) + "\n")
        self._process.stdin.flush()
        return self._number()

    def end(self) -> int:
        """Wait for the worker and return its exit code, a signal's with a minus."""
        return self._number()

    def _number(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    folder = tmp_path_factory.mktemp("nursery")
    script = folder / "nursery.py"
    script.write_text(NURSERY)
    with (
        (folder / "nursery.log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-P", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        ) as process,
    ):
        yield Nursery(process)
        assert process.stdin is not None
        process.stdin.close()


def await_steps(run: RunDirectory, offset: int, count: int, pid: int) -> None:
    """Wait until ``count`` steps were written after byte ``offset`` of the log."""
    while True:
        events = read_events(run.events_path, offset)[0]
        if sum(event["type"] == "step" for event in events) >= count:
            return
        assert not any(event.get("state") == "failed" for event in events), events
        os.kill(pid, 0)
        time.sleep(0.001)


def await_save(run: RunDirectory) -> None:
    """Wait until a checkpoint is being written."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            if any(path.name.startswith(".step-") for path in run.checkpoints_dir.iterdir()):
                return


def kill_often(bench: Bench, nursery: Nursery, kills: int) -> None:
    """Kill the worker of a run ``kills`` times, every other time while it saves; then let it end."""
    moments = random.Random(kills)
    run = bench.prepare()
    for number in range(kills):
        offset = run.events_path.stat().st_size if number else 0
        pid = nursery.start(run)
        await_steps(run, offset, moments.randint(1, 5), pid)
        if number % 2:
            await_save(run)
        time.sleep(moments.uniform(0, 0.004 if number % 2 else 0.02))
        os.kill(pid, signal.SIGKILL)
        assert nursery.end() == -signal.SIGKILL
        assert run.status().state == "crashed"
        bench.check(run)
        assert bench.prepare(resume="auto") == run
    step = int(json.loads((run.latest_checkpoint() / "trainer.json").read_text())["step"])
    bench.prepare(resume="auto", max_steps=step + 3)
    nursery.start(run)
    assert nursery.end() == 0
    same(run, bench.uninterrupted(step + 3))


def test_kills_at_random_moments_lose_nothing(bench: Bench, nursery: Nursery) -> None:
    kill_often(bench, nursery, 5)


@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_fifty_kills_at_random_moments_lose_nothing(bench: Bench, nursery: Nursery) -> None:
    kill_often(bench, nursery, 50)


def kill_at_operations(bench: Bench, nursery: Nursery, moments: Iterator[int]) -> int:
    """Kill workers of one run at the given operations on its checkpoints, and return how many were killed.

    It ends with the first worker that comes to the end of its few steps before its moment does.
    """
    run = bench.prepare(max_steps=4)
    whole = bench.uninterrupted(4)
    whole_run = run.record_path.read_bytes()
    for killed, moment in enumerate(moments):
        for name in ("checkpoints", "snapshots"):
            subprocess.run(["rm", "-rf", str(run.path / name)], check=True)
        run.events_path.unlink(missing_ok=True)
        run.record_path.write_bytes(whole_run)
        nursery.start(run, die_at=moment)
        if nursery.end() != -signal.SIGKILL:
            return killed
        bench.check(run)
        bench.prepare(resume=run.name, max_steps=4)
        nursery.start(run)
        assert nursery.end() == 0
        same(run, whole)
    return killed + 1


def test_kills_at_some_operations_of_saving_lose_nothing(bench: Bench, nursery: Nursery) -> None:
    assert kill_at_operations(bench, nursery, iter((3, 11, 17, 21, 40))) == 5


@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_kills_at_every_operation_of_saving_lose_nothing(bench: Bench, nursery: Nursery) -> None:
    assert kill_at_operations(bench, nursery, itertools.count(1)) > 40


@pytest.mark.parametrize("model", [DENSE, HYBRID], ids=["dense", "hybrid"])
def test_the_program_goes_on_with_the_same_bits_after_a_kill(
    tmp_path: Path, plugins: Plugins, monkeypatch: pytest.MonkeyPatch, model: dict[str, Any]
) -> None:
    """N steps, kill -9, and ``nanoshell train --resume auto`` for M more are N + M steps without a kill."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    bench = Bench(tmp_path, model, plugins)
    preset = tmp_path / "small.yaml"
    preset.write_text(json.dumps(bench.preset))
    program = [sys.executable, "-P", "-m", "nanoshell", "train", "--config", str(preset)]
    program += ["--data", str(bench.data), "--runs-dir", str(tmp_path / "runs"), "--json"]
    subprocess.run([*program, "--background"], check=True, capture_output=True)
    run = RunDirectory(tmp_path / "runs" / "small-1")
    for event in follow(run, poll=0.01):
        if event["type"] == "step" and event["step"] >= 5:
            break
    pid = run.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert list(follow(run, poll=0.01))[-1]["state"] == "crashed"
    last = int(str(run.latest_checkpoint())[-6:])
    done = subprocess.run(
        [*program, "--resume", "auto", "--max-steps", str(last + 4)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert [event["from_step"] for event in read_events(run.events_path)[0] if event["type"] == "resume"] == [
        last
    ]
    same(run, bench.uninterrupted(last + 4))
