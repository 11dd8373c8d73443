"""Which runs of a folder go on now: for the commands that steer them, and for sharing the machine."""

from __future__ import annotations

from pathlib import Path

from nanoshell.runs.directory import RunDirectory, folders, list_runs
from nanoshell.runs.process import worker_alive


def live_runs(runs_dir: Path) -> list[RunDirectory]:
    """Return the runs in ``runs_dir`` that have not ended, newest first; those of other hosts too."""
    return [run for run in list_runs(runs_dir) if worker_alive(run) is not False and not run.status().ended]


def live_runs_here(runs_dir: Path) -> list[RunDirectory]:
    """Return the runs in ``runs_dir`` whose worker lives on this host, by name. Cheap: no log is read."""
    return [run for run in map(RunDirectory, folders(runs_dir)) if worker_alive(run)]


def others_here(run: RunDirectory) -> list[RunDirectory]:
    """Return the runs beside ``run``, in its folder, whose worker lives on this host."""
    return [other for other in live_runs_here(run.path.parent) if other.name != run.name]


def fair_share(cores: int, others: int) -> int:
    """Return how many of ``cores`` a run takes beside ``others`` that are training: at least one.

    Threads beyond the cores wait for each other at every product of matrices: two runs that take the whole
    machine each are slower than one after the other.
    """
    return max(1, cores // (others + 1))
