"""The dashboard's price: what it takes from a run, from a long log, and when nothing happens.

Three parts; ``--only run``, ``log`` or ``rest`` does one of them. The dashboard stands in a pseudo-terminal
of 160 × 48 that reads what is drawn.

``run``: one small model trains on all cores that this process may use. The dashboard is halted (SIGSTOP) and
let go on in turns: halted, drawn, drawn, halted, so that what else the machine does, and its drift, fall out.
Each turn is judged twice. By the clock: the steps, timed by the run's log; what else the machine and its
host do is in it, so that a percent is hard to see. By the scheduler (Linux): how long the threads of the run
were ready and waited for a core, which only this machine's processes cause. The threads of a step wait for
the one that is held up, so that a second of waiting costs the run at most a second. Prints both with
intervals (Hodges and Lehmann) over blocks of four turns, and the dashboard's share of a core while nobody is
there and while somebody is. The limit is 3%, for the upper end of the interval by the scheduler.

``log``: from the start of the program to its first frame, from there to the newest step of a run that has
1,000,000 events (limit 1 s), and to the end of reading. ``rest``: the share of a core while a run that has
ended is looked at.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from prompt import TRAINING, Terminal, environment
from toolbar import processor_seconds

from nanoshell.dashboard.pace import ATTENTION_SECONDS
from nanoshell.testing import FakeRun

SLOWER_LIMIT = 0.03
NEWEST_LIMIT_SECONDS = 1.0
COLUMNS, ROWS = 160, 48

SETTLE_SECONDS = 1.0
"""What follows upon halting or going on is not counted: the dashboard draws everything anew."""

LONGEST_STEP = 4.0
"""A step counts as at most so many times the median: an update of the dashboard is shorter, what takes longer
is something else on the machine."""

RESTING_SHARE = 0.1
"""Of a core: below it, over a second, a log has been read."""


@contextlib.contextmanager
def dashboard(folder: Path, *arguments: str) -> Iterator[Terminal]:
    """Start the dashboard in ``folder``, with a home of its own there."""
    env = {**home(folder), "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    command = ["-m", "nanoshell", "dashboard", *arguments]
    terminal = Terminal(command, folder, env, columns=COLUMNS, rows=ROWS)
    try:
        yield terminal
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(terminal.pid, signal.SIGCONT)
        terminal.close()


def home(folder: Path) -> dict[str, str]:
    """Return the environment of programs that have their home in ``folder``."""
    return {**environment(), "NANOSHELL_HOME": str(folder / "home")}


@contextlib.contextmanager
def training(folder: Path) -> Iterator[Path]:
    """Train a small model in ``folder`` until the block ends; yield the run's log once it has steps."""
    (folder / "tiny.yaml").write_text(TRAINING)
    command = ["train", "--config", "tiny.yaml", "--data", "nano-start", "--background"]
    subprocess.run([sys.executable, "-m", "nanoshell", *command], cwd=folder, env=home(folder), check=True)
    run = next(folder.glob("runs/*"))
    log, process = run / "events.jsonl", run / "process.json"
    while not process.exists():
        time.sleep(0.1)
    try:
        while not log.exists() or b'"type": "step"' not in log.read_bytes():
            time.sleep(0.1)
        yield log
    finally:
        os.kill(json.loads(process.read_text())["pid"], signal.SIGKILL)


class Steps:
    """The times of the steps that are appended to the log of a run."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._read = 0

    def skip(self) -> None:
        """Leave out what the log has by now."""
        self._read = self._log.stat().st_size

    def since(self) -> list[float]:
        """Return how long each step took of those that came since the last call, in seconds."""
        with self._log.open("rb") as file:
            file.seek(self._read)
            lines = file.read()
        lines = lines[: lines.rfind(b"\n") + 1]
        self._read += len(lines)
        events = [json.loads(line) for line in lines.split(b"\n") if b'"type": "step"' in line]
        return [after["t"] - before["t"] for before, after in itertools.pairwise(events)]


def waited_seconds(pid: int) -> float:
    """Return how long the threads of ``pid`` have been ready and waited for a core, all added.

    The second number of ``schedstat`` (Linux, Documentation/scheduler/sched-stats), NaN where there is none.
    """
    waited = 0
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError):  # the thread has ended
                waited += int((thread / "schedstat").read_text().split()[1])
    except OSError:
        return math.nan
    return waited / 1e9 if waited else math.nan


class Turn(NamedTuple):
    """What was seen in one turn."""

    steps: list[float]
    """How long each step took, in seconds."""
    waited: float
    """The share of the time that the threads of the run waited for a core, all added."""
    taken: float
    """The share of a core that the dashboard took."""


def turn(terminal: Terminal, steps: Steps, run: int, seconds: float, *, drawn: bool) -> Turn:
    """Return what a turn shows of the process ``run`` while the dashboard is ``drawn``, or halted."""
    os.kill(terminal.pid, signal.SIGCONT if drawn else signal.SIGSTOP)
    terminal.draw(SETTLE_SECONDS)
    steps.skip()
    began, taken, waited = time.monotonic(), processor_seconds(terminal.pid), waited_seconds(run)
    terminal.draw(seconds)
    passed = time.monotonic() - began
    waited, taken = waited_seconds(run) - waited, processor_seconds(terminal.pid) - taken
    return Turn(steps.since(), waited / passed, taken / passed)


def hodges_lehmann(values: list[float]) -> tuple[float, float, float]:
    """Return the median of the means of all pairs of ``values``, and its 95% interval.

    Hodges and Lehmann 1963, the interval by Tukey from the signed ranks of Wilcoxon; it needs no more than
    that errors are as likely to be above as below.
    """
    n = len(values)
    means = sorted((a + b) / 2 for a, b in itertools.combinations_with_replacement(values, 2))
    outside = n * (n + 1) / 4 - 1.96 * math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    cut = max(0, int(outside))
    return statistics.median(means), means[cut], means[-1 - cut]


Block = tuple[Turn, Turn, Turn, Turn]
"""Halted, drawn, drawn, halted."""


def slower_by_clock(blocks: list[Block]) -> list[float]:
    """Return by what share the steps of each block took longer while the dashboard was drawn."""
    longest = LONGEST_STEP * statistics.median(
        time for block in blocks for turn in block for time in turn.steps
    )
    found = []
    for first, second, third, last in blocks:
        halted, drawn = (
            statistics.fmean(min(step, longest) for step in one.steps + other.steps)
            for one, other in ((first, last), (second, third))
        )
        found.append(1 - halted / drawn)
    return found


def slower_by_waiting(blocks: list[Block]) -> list[float]:
    """Return what share of its time the run waited longer for a core while the dashboard was drawn."""
    return [
        (second.waited + third.waited - first.waited - last.waited) / 2
        for first, second, third, last in blocks
    ]


def measure_run(folder: Path, turns: int, seconds: float) -> bool:
    """Print what the dashboard takes from a run, and return whether the limit is kept."""
    blocks: list[Block] = []
    with training(folder) as log, dashboard(folder) as terminal:
        run = json.loads((log.parent / "process.json").read_text())["pid"]
        terminal.wait_for("loss")
        terminal.draw(3.0)
        taken = -processor_seconds(terminal.pid)
        terminal.draw(ATTENTION_SECONDS / 2)
        attended = (taken + processor_seconds(terminal.pid)) / (ATTENTION_SECONDS / 2)
        terminal.draw(ATTENTION_SECONDS)
        steps = Steps(log)
        for _ in range(turns):
            first, second, third, last = (
                turn(terminal, steps, run, seconds, drawn=drawn) for drawn in (False, True, True, False)
            )
            blocks.append((first, second, third, last))
    alone = statistics.median(
        time for block in blocks for turn in (block[0], block[3]) for time in turn.steps
    )
    share = statistics.fmean(turn.taken for block in blocks for turn in block[1:3])
    clock, waiting = hodges_lehmann(slower_by_clock(blocks)), hodges_lehmann(slower_by_waiting(blocks))
    seen = f"{turns} blocks of four turns of {seconds:g} s"
    print(f"training at {1 / alone:.1f} steps/s, {COLUMNS} × {ROWS}, {os.cpu_count()} cores, {seen}")
    for name, (slower, low, high) in (("clock", clock), ("scheduler", waiting)):
        print(f"  slower by the {name:9} {slower:6.2%}, 95% interval {low:.2%} to {high:.2%}")
    print(f"  the dashboard took {share:.2%} of one core; {attended:.1%} while somebody is there")
    upper = clock[2] if math.isnan(waiting[2]) else waiting[2]
    print(f"  at most {upper:.2%} (limit {SLOWER_LIMIT:.0%})")
    return upper <= SLOWER_LIMIT


def write_log(folder: Path, events: int) -> str:
    """Write a finished run of so many events; return what the dashboard writes of its last step."""
    with FakeRun(folder / "runs", "long", total_steps=events) as fake:
        fake.step(2)
        first, second = fake.run.events_path.read_text().splitlines()[-2:]
        step = json.loads(second)
        assert json.loads(first)["type"] == "step"
        for begin in range(3, events, 10_000):
            lines = []
            for number in range(begin, min(begin + 10_000, events)):
                step.update(t=round(fake.now + number / 8, 3), step=number, tokens=512 * number)
                step["loss"] = round(2 + 1000 / (number + 500) + (number * 7919 % 1000) / 2000, 4)
                lines.append(json.dumps(step))
            fake.raw("\n".join([*lines, ""]).encode())
        fake.at, fake.now = events - 1, fake.now + events / 8
        fake.finish()
    return f"{events - 1:,}"


def resting_since(terminal: Terminal, began: float) -> tuple[float, float]:
    """Return after how many seconds since ``began`` the program rests, and its processor time by then."""
    while True:
        at, taken = time.perf_counter() - began, processor_seconds(terminal.pid)
        terminal.draw(1.0)
        if processor_seconds(terminal.pid) - taken < RESTING_SHARE:
            return at, taken


def measure_log(folder: Path, events: int) -> bool:
    """Print how soon a log of so many ``events`` is on the screen; return whether the limit is kept."""
    last = write_log(folder, events)
    size = next(folder.glob("runs/*/events.jsonl")).stat().st_size
    print(f"a log of {events:,} events, {size / 1e6:.0f} MB")
    with dashboard(folder) as terminal:
        first = terminal.wait_for("Charts")
        newest = terminal.wait_for(last)
        rested, taken = resting_since(terminal, terminal.started)
    print(f"  first frame after {first - terminal.started:.2f} s")
    print(f"  its newest part {newest - first:.2f} s later (limit {NEWEST_LIMIT_SECONDS:g} s)")
    print(f"  all of it after {rested:.1f} s, for {taken:.1f} s of processor time")
    return newest - first <= NEWEST_LIMIT_SECONDS


def measure_rest(folder: Path, seconds: float) -> bool:
    """Print what the dashboard takes while nothing changes."""
    write_log(folder, 2000)
    with dashboard(folder) as terminal:
        terminal.wait_for("Charts")
        resting_since(terminal, terminal.started)
        terminal.draw(2.0)
        taken = -processor_seconds(terminal.pid)
        terminal.draw(seconds)
        taken += processor_seconds(terminal.pid)
    print(f"nothing changes: {taken / seconds:.2%} of one core, over {seconds:g} s")
    return True


def main() -> int:
    """Measure, print, and return 1 where a limit is not kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--turns", type=int, default=6, help="blocks of four turns; an interval of 95%% needs six"
    )
    parser.add_argument("--each-seconds", type=float, default=12.0)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--only", choices=["run", "log", "rest"])
    options = parser.parse_args()
    parts: dict[str, Callable[[Path], bool]] = {
        "run": lambda folder: measure_run(folder, options.turns, options.each_seconds),
        "log": lambda folder: measure_log(folder, options.events),
        "rest": lambda folder: measure_rest(folder, 10.0),
    }
    kept = []
    for name, part in parts.items():
        if options.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                kept.append(part(Path(folder)))
    return int(not all(kept))


if __name__ == "__main__":
    sys.exit(main())
