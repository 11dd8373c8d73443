"""The toolbar's price: how fast a run trains while the prompt draws its toolbar, and while it does not.

One small model trains on all cores, followed by a prompt in a pseudo-terminal. The prompt is halted (SIGSTOP)
and let go on in turns, and the steps of each turn are counted in the run's log; ``--each-seconds`` is the
length of a turn. Prints the median of the ratios of neighbouring turns, an interval for it (bootstrap), and
the processor time that the prompt itself has taken (on Linux), which other work disturbs little.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

from prompt import TRAINING, Terminal, prompt

SETTLE_SECONDS = 0.2
"""What follows at once upon halting or going on is not counted."""


def newest_step(events: Path) -> tuple[int, float]:
    """Return the newest step in the log ``events``, and when it was made, in seconds since the epoch."""
    with events.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 8192))
        lines = file.read().split(b"\n")[1:-1]
    steps = [json.loads(line) for line in lines if b'"type": "step"' in line]
    return steps[-1]["step"], steps[-1]["t"]


def speed(terminal: Terminal, events: Path, seconds: float, *, drawn: bool) -> float:
    """Return the steps per second in a turn in which the toolbar is ``drawn``, or not."""
    os.kill(terminal.pid, signal.SIGCONT if drawn else signal.SIGSTOP)
    time.sleep(SETTLE_SECONDS)
    first, began = newest_step(events)
    time.sleep(seconds)
    last, ended = newest_step(events)
    terminal.forget()  # a terminal reads what is drawn
    return (last - first) / (ended - began)


def processor_seconds(pid: int) -> float:
    """Return the processor time that the process ``pid`` has taken, NaN where that cannot be read."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return math.nan
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def interval(ratios: list[float]) -> tuple[float, float]:
    """Return where the median of ``ratios`` lies with 95%, by drawing from them anew."""
    draw = random.Random(1)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(2000))
    return medians[50], medians[1949]


def main() -> int:
    """Measure, print, and return 1 where even the upper end of the interval is a loss."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=20, help="pairs of turns")
    parser.add_argument("--each-seconds", type=float, default=2.0)
    options = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as name, prompt(Path(name)) as terminal:
        folder = Path(name)
        (folder / "tiny.yaml").write_text(TRAINING)
        terminal.wait_for("nanoshell> ")
        terminal.type(":train --config tiny.yaml --data nano-start\r")
        terminal.wait_for("tokens/s")
        events = next(folder.glob("runs/*/events.jsonl"))
        taken = -processor_seconds(terminal.pid)
        try:
            for turn in range(options.turns):
                order = (True, False) if turn % 2 else (False, True)
                found = {drawn: speed(terminal, events, options.each_seconds, drawn=drawn) for drawn in order}
                ratios.append(found[True] / found[False])
            taken += processor_seconds(terminal.pid)
        finally:
            os.kill(terminal.pid, signal.SIGCONT)
            worker = json.loads((events.parent / "process.json").read_text())["pid"]
            os.kill(worker, signal.SIGKILL)
    low, high = interval(ratios)
    print(f"speed with the toolbar drawn / halted: median {statistics.median(ratios):.4f}")
    print(f"  95% interval {low:.4f} to {high:.4f}, from {len(ratios)} pairs of {options.each_seconds:g} s")
    drawn_seconds = len(ratios) * (options.each_seconds + SETTLE_SECONDS)
    print(f"  the prompt took {taken / drawn_seconds:.2%} of one core while its toolbar was drawn")
    return int(high < 1.0)


if __name__ == "__main__":
    sys.exit(main())
