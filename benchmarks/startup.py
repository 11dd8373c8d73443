"""Startup: ``nanoshell --help`` and ``--version`` against ``python -c "import click"``, side by side.

Prints the best of several interleaved runs of each, the ratio, and the limit: twice click's time plus 0.15 s.
Times are processor seconds (user and system) by default, which other work on the machine disturbs little;
``--wall`` takes the clock.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

ALLOWANCE_SECONDS = 0.15

COMMANDS = {
    "import click": ["-c", "import click"],
    "nanoshell --version": ["-m", "nanoshell", "--version"],
    "nanoshell --help": ["-m", "nanoshell", "--help"],
}


def seconds(arguments: list[str], *, wall: bool) -> float:
    """Return the seconds that one run of Python with ``arguments`` takes."""
    # Python keeps compiled modules, as installing does.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before, started = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=env)
    elapsed, after = time.perf_counter() - started, os.times()
    if wall:
        return elapsed
    return after.children_user - before.children_user + after.children_system - before.children_system


def main() -> int:
    """Measure, print a table, and return 1 where a command is over the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--wall", action="store_true", help="measure the clock instead of processor time")
    options = parser.parse_args()
    best = dict.fromkeys(COMMANDS, float("inf"))
    for _ in range(options.runs):
        for name, arguments in COMMANDS.items():
            best[name] = min(best[name], seconds(arguments, wall=options.wall))
    click = best["import click"]
    limit = 2 * click + ALLOWANCE_SECONDS
    print(f"{'':22} seconds  ratio   (limit {limit:.3f} s = 2 x click + {ALLOWANCE_SECONDS} s)")
    for name, figure in best.items():
        print(f"{name:22} {figure:7.3f} {figure / click:6.2f}")
    return int(max(best.values()) > limit)


if __name__ == "__main__":
    sys.exit(main())
