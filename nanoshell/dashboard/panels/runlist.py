"""The runs of a folder as rows, read aside: what has ended is looked at once."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nanoshell.dashboard.panels.filter import config_values
from nanoshell.errors import NanoshellError
from nanoshell.runs.directory import RunDirectory, list_runs
from nanoshell.runs.status import RunStatus
from nanoshell.training.keys import config_keys

_SIZE_SECONDS = 15.0
"""The bytes of a run that goes on are counted no more often: its checkpoints are many files."""

Stamp = tuple[int, ...]


@dataclass(frozen=True)
class RunRow:
    """One run: how it stands, when it was ``created``, its bytes, its config by dotted key (None: unread)."""

    run: RunDirectory
    status: RunStatus
    created: float | None = None
    num_bytes: int | None = None
    config: Mapping[str, Any] | None = None

    def values(self) -> dict[str, Any]:
        """Return what a filter may ask, by name."""
        status = self.status
        return {
            **(self.config or {}),
            "name": self.run.name,
            "state": status.state,
            "reason": status.reason,
            "step": status.step,
            "total_steps": status.total_steps,
            "epoch": status.epoch,
            "loss": status.loss,
            "val_loss": status.val_loss,
            "best": status.best_val_loss,
            "rate": status.learning_rate,
            "grad_norm": status.grad_norm,
            "tokens/s": status.tokens_per_second,
            "it/s": status.steps_per_second,
            "bytes": self.num_bytes,
        }


@dataclass(frozen=True)
class RunList:
    """The runs, newest first, and the ``keys`` that configs have."""

    rows: Sequence[RunRow] = ()
    keys: frozenset[str] = frozenset()


@dataclass
class _Known:
    stamp: Stamp
    status: RunStatus
    created: float | None
    num_bytes: int
    counted: float


@dataclass
class RunReader:
    """Reads the runs of a folder again and again; to be used by one thread at a time.

    ``took`` are the seconds of a core that the last reading took.
    """

    took: float = 0.0
    _known: dict[Path, _Known] = field(default_factory=dict)
    _configs: dict[Path, tuple[Stamp, Mapping[str, Any]]] = field(default_factory=dict)

    def read(self, runs_dir: Path, beside: Iterable[RunDirectory], *, configs: bool) -> RunList:
        """Return the runs in ``runs_dir`` and those ``beside`` it, with their ``configs`` where wanted.

        One beside it whose folder is gone is among them: it is still in the charts, and can be taken out.
        """
        began = time.thread_time()
        runs = list_runs(runs_dir)
        there = {run.path for run in runs}
        besides = [run for run in beside if run.path not in there]
        rows = [row for run in runs if (row := self._row(run, configs)) is not None]
        rows += [self._row(run, configs) or _gone_row(run) for run in besides]
        runs += besides
        paths = {run.path for run in runs}
        self._known = {path: known for path, known in self._known.items() if path in paths}
        keys = {*config_keys(), *(key for row in rows for key in row.config or {})}
        self.took = time.thread_time() - began
        return RunList(rows, frozenset(keys))

    def _row(self, run: RunDirectory, configs: bool) -> RunRow | None:
        if not run.path.is_dir():
            return None
        stamp = _stamp(run.events_path, run.process_path, run.checkpoints_dir, run.lock_path)
        known, now = self._known.get(run.path), time.monotonic()
        if known is None or known.stamp != stamp or not known.status.ended:
            status = run.status()
            if known is not None and not status.ended and now - known.counted < _SIZE_SECONDS:
                num_bytes, counted = known.num_bytes, known.counted
            else:  # of what has ended it is the last time
                num_bytes, counted = run.size_bytes(), now
            known = self._known[run.path] = _Known(stamp, status, run.created(), num_bytes, counted)
        config = self._config(run) if configs else None
        return RunRow(run, known.status, known.created, known.num_bytes, config)

    def _config(self, run: RunDirectory) -> Mapping[str, Any]:
        stamp = _stamp(run.record_path)
        found = self._configs.get(run.path)
        if found is None or found[0] != stamp:
            try:
                values = config_values(run.record())
            except NanoshellError:
                values = {}
            found = self._configs[run.path] = (stamp, values)
        return found[1]


def _gone_row(run: RunDirectory) -> RunRow:
    return RunRow(run, RunStatus("gone", "its folder is gone"), config={})


def _stamp(*paths: Path) -> Stamp:
    """Return what changes where one of ``paths`` does."""
    found: list[int] = []
    for path in paths:
        try:
            stat = path.stat()
        except OSError:
            found += (0, 0)
        else:
            found += (stat.st_mtime_ns, stat.st_size)
    return tuple(found)
