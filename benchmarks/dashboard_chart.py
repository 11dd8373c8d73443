"""The chart's price: a redraw of 120 x 40 cells, beside what plotext and textual-plot take for the same.

A redraw is everything from the series in memory to the text that a terminal is sent, anew each time, in
milliseconds of one processor, which other work disturbs little. The peers are measured by the interpreter
that ``--peers`` names (a venv with ``plotext<6`` and textual-plot; they are no dependencies of ours), in the
same run, unless a redraw would take longer than ``--peer-seconds``. Prints the median of each, and the peers'
divided by ours; further what following a live run costs (one new point in each series), and a move of the
crosshair.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

SIZE = (120, 40)
COUNTS = (1, 2, 4)
POINTS = (1_000, 100_000, 1_000_000)
PEERS = ("plotext", "textual-plot")


def series(points: int, count: int) -> list[tuple[Any, Any]]:
    """Return ``count`` noisy losses of ``points`` points."""
    random = np.random.default_rng(1)
    x = np.arange(points, dtype=np.float64)
    return [
        (x, 9 * np.exp(-8 * x / points) + 2 + k / 3 + random.normal(0, 0.2, points)) for k in range(count)
    ]


def milliseconds(redraw: Callable[[], object], times: int) -> float:
    """Return the median processor time of ``times`` redraws, after one that is not counted."""
    redraw()
    taken = []
    for _ in range(times):
        began = time.process_time()
        redraw()
        taken.append(1e3 * (time.process_time() - began))
    return statistics.median(taken)


def ours(times: int) -> dict[str, dict[str, float]]:
    """Return what our chart takes, by kind of redraw and ``points/series``."""
    from textual.app import App, ComposeResult

    from nanoshell.dashboard.chart.curve import ChartSeries
    from nanoshell.dashboard.chart.line_chart import LineChart

    class Alone(App[None]):
        def compose(self) -> ComposeResult:
            yield LineChart("loss", depth="true")

    found: dict[str, dict[str, float]] = {"redraw": {}, "follow": {}, "crosshair": {}}

    async def act() -> None:
        app = Alone()
        async with app.run_test(size=SIZE):
            chart = app.query_one(LineChart)

            def paint() -> None:
                chart._styles_cache.clear()
                for strip in chart.render_lines(chart.size.region):
                    strip.render(app.console)

            def redraw() -> None:
                chart._redraw()
                paint()

            for points, count in itertools.product(POINTS, COUNTS):
                data = series(points + times + 2, count)
                lengths = itertools.count(points)
                cursors = itertools.cycle(np.linspace(0, points, 100).tolist())

                def show(length: int, data: list[tuple[Any, Any]] = data) -> None:
                    parts = [(x[:length], y[:length]) for x, y in data]
                    chart.set_series([ChartSeries(f"run-{k}", x, y, k) for k, (x, y) in enumerate(parts)])

                def follow(lengths: Iterator[int] = lengths, show: Callable[[int], None] = show) -> None:
                    show(next(lengths))
                    paint()

                def move(cursors: Iterator[float] = cursors) -> None:
                    chart.look(replace(chart.sight, cursor=next(cursors)))
                    paint()

                show(next(lengths))
                key = f"{points}/{count}"
                found["redraw"][key] = milliseconds(redraw, times)
                found["follow"][key] = milliseconds(follow, times)
                found["crosshair"][key] = milliseconds(move, times)
                chart.look(replace(chart.sight, cursor=None))

    asyncio.run(act())
    return found


def plotext(data: list[tuple[Any, Any]], times: int) -> float:
    """Return the milliseconds of a redraw by plotext, in braille."""
    import plotext as plt

    listed = [(x.tolist(), y.tolist()) for x, y in data]

    def redraw() -> str:
        plt.clear_figure()
        plt.plot_size(*SIZE)
        for x, y in listed:
            plt.plot(x, y, marker="braille")
        return str(plt.build())

    return milliseconds(redraw, times)


def textual_plot(data: list[tuple[Any, Any]], times: int) -> float:
    """Return the milliseconds of a redraw by textual-plot, in braille."""
    from textual.app import App
    from textual_plot import HiResMode, PlotWidget

    class Alone(App[None]):
        def compose(self) -> Any:
            yield PlotWidget()

    async def act() -> float:
        app = Alone()
        async with app.run_test(size=SIZE) as pilot:
            plot = app.query_one(PlotWidget)
            for k, (x, y) in enumerate(data):
                plot.plot(
                    x, y, line_style=("red", "green", "blue", "yellow")[k], hires_mode=HiResMode.BRAILLE
                )
            await pilot.pause()

            def redraw() -> None:
                plot._render_plot()
                for part in plot.walk_children():
                    part._styles_cache.clear()
                    for strip in part.render_lines(part.size.region):
                        strip.render(app.console)

            return milliseconds(redraw, times)

    return asyncio.run(act())


def peers(limit: float) -> None:
    """Print what the peers take, a JSON line for each size."""
    for name, measure in zip(PEERS, (plotext, textual_plot), strict=True):
        for count in COUNTS:
            expected = 0.0
            for points in POINTS:
                if expected > limit:
                    continue
                taken = measure(series(points, count), 1 if points > 1000 else 3)
                print(json.dumps([name, f"{points}/{count}", taken]), flush=True)
                expected = taken / 1e3 * 10


def main() -> int:
    """Measure and print; return 1 where a redraw of 100,000 points takes longer than 10 ms."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=30, help="redraws of our chart")
    parser.add_argument("--peers", metavar="PYTHON", help="an interpreter that has plotext and textual-plot")
    parser.add_argument("--peer-seconds", type=float, default=5.0)
    parser.add_argument("--only-peers", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only_peers:
        peers(options.peer_seconds)
        return 0
    own = ours(options.times)
    theirs: dict[tuple[str, str], float] = {}
    if options.peers:
        command = [options.peers, __file__, "--only-peers", "--peer-seconds", str(options.peer_seconds)]
        output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        theirs = {(name, key): taken for name, key, taken in map(json.loads, output.splitlines())}
    print(
        f"{'points':>9} {'series':>6} {'redraw':>9} {'follow':>9} {'crosshair':>9}",
        *(f"{name:>22}" for name in PEERS),
    )
    for key, taken in own["redraw"].items():
        points, count = key.split("/")
        times = (f"{own[kind][key]:6.2f} ms" for kind in ("redraw", "follow", "crosshair"))
        beside = (
            f"{theirs[name, key]:9.0f} ms {theirs[name, key] / taken:8.1f}x"
            if (name, key) in theirs
            else f"{'-':>22}"
            for name in PEERS
        )
        print(f"{int(points):>9,} {count:>6}", *times, *beside)
    return int(max(taken for key, taken in own["redraw"].items() if key.startswith("100000/")) > 10)


if __name__ == "__main__":
    sys.exit(main())
