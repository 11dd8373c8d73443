"""Giving disk space back: what of the runs in a folder nobody needs any more."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nanoshell.errors import RunError
from nanoshell.files import explain_storage
from nanoshell.runs.directory import RunDirectory, folder_bytes, folders, list_runs, remove_run
from nanoshell.runs.process import hold_lock
from nanoshell.spelling import typed


@dataclass(frozen=True)
class Pruned:
    """One thing that was removed (or would be): of which run, what, where, how many bytes."""

    run: str
    kind: Literal["checkpoint", "snapshot", "leftover", "run"]
    path: Path
    num_bytes: int


def prune(runs_dir: Path, *, keep: int = 1, empty: bool = False, dry_run: bool = False) -> list[Pruned]:
    """Remove what the ended runs in ``runs_dir`` do not need and return it, by run, newest run first.

    That is: checkpoints but for the ``keep`` newest and those that ``latest`` and ``best`` name, snapshots,
    and what interrupted writes left behind; with ``empty`` also whole runs that have no checkpoint. Runs
    that are alive, or may be alive on another host, are not touched. With ``dry_run`` nothing is removed.
    Raises `StorageError` where something cannot be removed.
    """
    if keep < 1:
        raise RunError(
            "at least one checkpoint of each run is kept", hint=f"to remove whole runs: {typed('runs rm')}"
        )
    pruned = [
        Pruned("", "leftover", path, folder_bytes(path))
        for path in folders(runs_dir)
        if path.name.startswith(".") and ".removed-" in path.name
    ]
    if not dry_run:
        _remove(pruned)
    for run in list_runs(runs_dir):
        pruned += _prune_run(run, keep, empty, dry_run)
    return pruned


def _prune_run(run: RunDirectory, keep: int, empty: bool, dry_run: bool) -> list[Pruned]:
    if not run.status().ended:
        return []
    if empty and run.latest_checkpoint() is None:
        pruned = Pruned(run.name, "run", run.path, run.size_bytes())
        if not dry_run:
            remove_run(run)
        return [pruned]
    if dry_run:
        return list(_superfluous(run, keep))
    try:
        with hold_lock(run):
            found = list(_superfluous(run, keep))
            _remove(found)
            return found
    except RunError:  # resumed in this moment, so it needs its checkpoints again
        return []


def _superfluous(run: RunDirectory, keep: int) -> Iterator[Pruned]:
    named = (run.latest_checkpoint(), run.best_checkpoint())
    checkpoints = run.checkpoints()
    for checkpoint in checkpoints[:-keep]:
        if checkpoint.path not in named:
            yield Pruned(run.name, "checkpoint", checkpoint.path, checkpoint.num_bytes)
    for folder in (run.checkpoints_dir, run.snapshots_dir):
        for path in folders(folder):
            if path.name.startswith("."):
                yield Pruned(run.name, "leftover", path, folder_bytes(path))
            elif folder == run.snapshots_dir:
                yield Pruned(run.name, "snapshot", path, folder_bytes(path))


def _remove(found: list[Pruned]) -> None:
    for entry in found:
        with explain_storage(entry.path), contextlib.suppress(FileNotFoundError):
            shutil.rmtree(entry.path)
