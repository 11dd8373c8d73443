"""The panel of the machine: what the worker of the run in focus takes of it, over time."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult

from nanoshell.dashboard.actions import Action
from nanoshell.dashboard.panel import Panel
from nanoshell.dashboard.panels.aside import Aside
from nanoshell.dashboard.panels.bars import bars, highest, newest
from nanoshell.dashboard.panels.lines import Line, TextLines, span
from nanoshell.dashboard.panels.words import figure
from nanoshell.wording import human_bytes

if TYPE_CHECKING:
    from nanoshell.dashboard.course import Course, Snapshot

READ_SECONDS = 2.0

_FIRST_SECONDS = 0.2
"""So long the first reading lasts: how busy the cores are shows between two moments."""

_NAME, _VALUE, _PEAK = 12, 18, 18
_GPU = frozenset({"gpu", "gpu_memory"})
_HOW_BUSY = "; for an NVIDIA GPU: pip install 'nanoshell[gpu]'"
_SMALL_DISK = 2e9
"""Bytes below which what is free is told as a warning: a checkpoint may need as many."""


@dataclass(frozen=True)
class Machine:
    """This machine and the disk of the run, in bytes, cores and shares; None where that is not known.

    ``busy`` is the share of the cores that were at work since the reading before.
    """

    host: str
    cores: int
    memory: float
    used: float
    busy: float | None
    free: float | None = None
    disk: float | None = None


class MachineReader:
    """Reads how the machine stands, again and again; to be used by one thread at a time."""

    def __init__(self) -> None:
        self._before: tuple[float, float] | None = None

    def read(self, folder: Path) -> Machine:
        """Return how the machine stands, and the disk on which ``folder`` lies."""
        import psutil

        memory = psutil.virtual_memory()
        free = disk = None
        try:
            usage = shutil.disk_usage(folder)
            free, disk = float(usage.free), float(usage.total)
        except OSError:
            pass
        if self._before is None:
            self._before = _worked()
            time.sleep(_FIRST_SECONDS)
        before, self._before = self._before, _worked()
        busy = share_of(before, self._before)
        used = float(memory.total - memory.available)
        cores = os.cpu_count() or 1
        return Machine(socket.gethostname(), cores, float(memory.total), used, busy, free, disk)


def share_of(before: tuple[float, float], now: tuple[float, float]) -> float | None:
    """Return the share of the time between two readings of (at work, in all) that went into work.

    None where none passed or none was at work: this process was, so that the system does not tell.
    """
    worked, passed = now[0] - before[0], now[1] - before[1]
    return min(1.0, worked / passed) if worked > 0 and passed > 0 else None


def _worked() -> tuple[float, float]:
    """Return the seconds that all cores were at work, and those that have passed for them."""
    import psutil

    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)  # in user already
    return total - idle, total


@dataclass(frozen=True)
class Gauge:
    """A row: a series of the course, how its values are written, and what its top is on this machine."""

    series: str
    title: str
    write: Callable[[float], str]
    top: Callable[[Machine], float] | None = None
    of: str = ""


GAUGES = (
    Gauge("cpu", "processor", lambda value: f"{value:.1f}", lambda machine: float(machine.cores), "cores"),
    Gauge("memory", "memory", human_bytes, lambda machine: machine.memory),
    Gauge("gpu", "GPU", lambda value: f"{value:.0%}", lambda machine: 1.0),
    Gauge("gpu_memory", "GPU memory", human_bytes),
    Gauge("tokens/s", "tokens/s", lambda value: figure(value, 3)),
    Gauge("it/s", "steps/s", lambda value: figure(value, 3)),
)


class SystemPanel(Panel):
    """Processor, memory, GPU and speed of the run in focus over time, and what the machine has."""

    panel_id = "system"
    title = "System"
    place = "run"
    most_rows = len(GAUGES) + 3
    about = (
        "What the worker of the run in focus takes: cores of the processor, memory, GPU, and how fast it "
        "trains. Each row of letters is the run from its beginning to now, each letter the highest value "
        "of its time; where a total is known, the full height is that total. Below: the machine as a "
        "whole, where it is this one, and the disk on which the run lies. Logs of older versions hold no "
        "processor and no memory: not recorded. How busy an NVIDIA GPU is, its driver's library "
        "tells: where the run trains, pip install 'nanoshell[gpu]'."
    )
    actions: ClassVar[tuple[Action, ...]] = (
        Action("scroll_by(-1)", "Up", ("up", "k"), "System"),
        Action("scroll_by(1)", "Down", ("down", "j"), "System"),
    )
    DEFAULT_CSS = "SystemPanel { layout: vertical; }"

    def __init__(self) -> None:
        super().__init__()
        self._course: Course | None = None
        self._machine: Machine | None = None
        self._reader = MachineReader()
        self._aside: Aside[Machine] = Aside(self, self._take, self._fail)

    def compose(self) -> ComposeResult:
        yield TextLines(id="system-lines")

    def on_mount(self) -> None:
        self.every(READ_SECONDS, self._read)

    @property
    def _lines(self) -> TextLines:
        return self.query_one("#system-lines", TextLines)

    def update(self, snapshot: Snapshot) -> None:
        """Show the figures of the run that has the focus."""
        self._course = snapshot.focused
        if self._machine is None:
            self._read()
        self._draw()

    def _read(self) -> None:
        if self._course is not None and not self._aside.busy:
            folder = self._course.run.path
            self._aside.ask(lambda: self._reader.read(folder))

    def _take(self, machine: Machine) -> None:
        self._machine = machine
        self._draw()

    def _fail(self, error: Exception) -> None:
        self.desk.tell(f"cannot read the machine: {error}", severity="warning")

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        if not self.is_mounted:
            return
        if self._course is None:
            self._lines.show([span("no run is shown", "quiet")])
            return
        width = max(30, self.size.width - 1)
        self._lines.show(system_lines(self._course, self._machine, width, ascii=self.desk.ascii))

    def action_scroll_by(self, by: int) -> None:
        """Scroll by so many lines."""
        self._lines.move(by)


def system_lines(
    course: Course,
    machine: Machine | None,
    width: int,
    *,
    ascii: bool = False,  # noqa: A002
) -> list[Line]:
    """Return a line for each gauge, and those of the machine."""
    host = course.status.host
    here = machine if machine is not None and host in (None, machine.host) else None
    # Who records the processor would record a GPU that it has.
    without = course.series.keys() & {"cpu", "memory"} and not course.series.keys() & _GPU
    gauges = [gauge for gauge in GAUGES if not (without and gauge.series in _GPU)]
    lines = [_gauge_line(gauge, course, here, width, ascii) for gauge in gauges]
    if without:
        lines.append((("GPU".ljust(_NAME), "quiet"), ("none", "quiet")))
    if machine is None:
        return lines
    if here is not None:
        memory = f"{human_bytes(here.used)} of {human_bytes(here.memory)} in use"
        busy = f"{here.cores} cores, how busy is not known"
        if here.busy is not None:
            busy = f"{here.busy:.0%} of {here.cores} cores busy"
        told = f"{busy}, {memory}"
        lines.append((("machine".ljust(_NAME), "quiet"), (told, "")))
    else:
        lines.append(
            (("machine".ljust(_NAME), "quiet"), (f"it trains on {host}, which cannot be seen from here", ""))
        )
    if machine.free is None:
        disk: Line = (("the folder is gone", "error"),)
    else:
        role = "warning" if machine.free < _SMALL_DISK else ""
        disk = ((f"{human_bytes(machine.free)} free of {human_bytes(machine.disk)}", role),)
    lines.append((("disk".ljust(_NAME), "quiet"), *disk))
    return lines


def _gauge_line(gauge: Gauge, course: Course, machine: Machine | None, width: int, ascii_only: bool) -> Line:
    series = course.series.get(gauge.series)
    now = newest(series)
    name = (gauge.title.ljust(_NAME), "quiet")
    if series is None or now is None:
        without = gauge.series == "gpu" and "gpu_memory" in course.series
        return (name, (f"not recorded{_HOW_BUSY}" if without else "not recorded", "quiet"))
    top = gauge.top(machine) if gauge.top is not None and machine is not None else None
    total = f" of {gauge.write(top)}" if top is not None and gauge.series != "gpu" else ""
    if gauge.of:
        total = f" of {top:.0f} {gauge.of}" if top is not None else f" {gauge.of}"
    most = highest(series)
    value = f"{gauge.write(now)}{total}"
    peak = f"  at most {gauge.write(most)}" if most is not None else ""
    told = f"  {value:<{_VALUE}}"
    room = max(8, width - _NAME - len(told) - _PEAK)
    role = "warning" if top is not None and gauge.series == "memory" and now > 0.9 * top else ""
    return (
        name,
        (bars(series, room, top, ascii=ascii_only), "accent"),
        ("  " + value, role),
        (peak, "quiet"),
    )
