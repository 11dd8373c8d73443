"""Startup: from the command that trains to the first step of nano-start, beside ``import torch``.

Two ways lead there: ``nanoshell train`` in a new process, and the command at a prompt that is open already,
for which only the program's own start is left out. They take turns with ``python -c "import torch"``, and
medians are printed: by the clock, and in processor seconds of the command and the worker together, which
other work on the machine disturbs less. The limit is one second more than the import.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

ALLOWANCE_SECONDS = 1.0
PATIENCE_SECONDS = 120.0

# What the prompt has done before a line is typed: plugins are loaded, and nothing of training is.
PROMPT = """
import json, sys, time
from nanoshell.cli import build
from nanoshell.command.script import argument_lines, run_lines
from nanoshell.command.render import TerminalScreen
from nanoshell.opening import open_session
session = open_session()
began, used = time.time(), time.process_time()
run_lines(session, argument_lines([sys.argv[1]]), TerminalScreen(), debug=True)
print(json.dumps({"began": began, "processor": used}), flush=True)
session.close()
"""


@dataclass(frozen=True)
class Taken:
    """Seconds by the clock, and of processors."""

    clock: float
    processor: float


def first_step(runs_dir: Path) -> tuple[float, float]:
    """Return when the run in ``runs_dir`` wrote its first step (seconds since the epoch), and the processor
    seconds that its worker had taken."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        for path in runs_dir.glob("*/events.jsonl"):
            for line in path.read_text(encoding="utf-8").splitlines():
                event = json.loads(line)
                if event["type"] == "step":
                    pid = json.loads(path.with_name("process.json").read_text())["pid"]
                    used = psutil.Process(pid).cpu_times()
                    return float(event["t"]), used.user + used.system
        time.sleep(0.005)
    raise TimeoutError(f"no step in {runs_dir} within {PATIENCE_SECONDS:.0f} s")


def wait_for_end(runs_dir: Path) -> None:
    """Return once the run has written its last event, so that it does not disturb the next one."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if any('"stopped"' in path.read_text() for path in runs_dir.glob("*/events.jsonl")):
            return
        time.sleep(0.02)


def children_seconds() -> float:
    """Return the processor seconds of the processes that ended and were ours."""
    times = os.times()
    return times.children_user + times.children_system


def import_torch() -> Taken:
    """Return what ``python -c "import torch"`` takes."""
    began, before = time.perf_counter(), children_seconds()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return Taken(time.perf_counter() - began, children_seconds() - before)


def train(kind: str, environment: dict[str, str]) -> Taken:
    """Return what it takes from the command to the first step: ``kind`` is ``program`` or ``prompt``."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["train", "--config", "nano-start", "--data", "nano-start"]
        words += ["--runs-dir", folder, "--background"]
        command = [sys.executable, "-m", "nanoshell", *words]
        if kind == "prompt":
            command = [sys.executable, "-c", PROMPT, ":" + " ".join(words)]
        began, before = time.time(), children_seconds()
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            stepped, worker = first_step(Path(folder))
            lines = process.communicate()[0].splitlines()
        used = children_seconds() - before + worker
        if kind == "prompt":
            said = json.loads(lines[-1])
            began, used = said["began"], used - said["processor"]
        stop = [sys.executable, "-m", "nanoshell", "runs", "stop", "latest", "--runs-dir", folder]
        subprocess.run(stop, check=True, env=environment, capture_output=True)
        wait_for_end(Path(folder))
        return Taken(stepped - began, used)


def main(arguments: list[str]) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="train.py start", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fresh", action="store_true", help="tokenize the corpus anew in each round")
    options = parser.parse_args(arguments)
    taken: dict[str, list[Taken]] = {"import torch": [], "program": [], "prompt": []}
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "NANOSHELL_HOME": home}
        train("program", environment)  # the corpus is tokenized, and files are in memory
        import_torch()
        for _ in range(options.rounds):
            taken["import torch"].append(import_torch())
            for kind in ("program", "prompt"):
                with tempfile.TemporaryDirectory() as other:
                    place = {**environment, "NANOSHELL_HOME": other} if options.fresh else environment
                    taken[kind].append(train(kind, place))
    clock = {name: statistics.median(one.clock for one in all_) for name, all_ in taken.items()}
    processor = {name: statistics.median(one.processor for one in all_) for name, all_ in taken.items()}
    print(f"medians of {options.rounds}; in brackets what is beyond the import (limit {ALLOWANCE_SECONDS} s)")
    print(f"{'':14} {'clock s':>16} {'processor s':>16}")
    for name in taken:
        cells = [(times[name], times[name] - times["import torch"]) for times in (clock, processor)]
        print(f"{name:14}" + "".join(f" {time:7.2f} [{more:+6.2f}]" for time, more in cells))
