"""Which runs go on, and the share of the machine that a new one takes beside them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from nanoshell.runs.directory import RunDirectory, create_run
from nanoshell.runs.events import EventLog
from nanoshell.runs.live import fair_share, live_runs, live_runs_here, others_here
from nanoshell.runs.process import WorkerProcess, write_process
from nanoshell.training import numerics


def make(runs_dir: Path, name: str, *, host: str | None = None, pid: int | None = None) -> RunDirectory:
    """Return a run that this process writes, or another host, or a process that is gone."""
    run = create_run(runs_dir, name, {})
    mine = write_process(run)
    other = WorkerProcess(host or mine.host, pid or mine.pid, mine.start)
    run.process_path.write_text(json.dumps(asdict(other)))
    EventLog(run.events_path).write("state", state="running")
    return run


def test_live_runs_are_those_with_a_worker(tmp_path: Path) -> None:
    make(tmp_path, "gone", pid=2**22 + 9)
    here, there = make(tmp_path, "here"), make(tmp_path, "there", host="elsewhere")
    ended = make(tmp_path, "ended")
    EventLog(ended.events_path).write("state", state="finished")
    create_run(tmp_path, "never-started", {})
    assert [run.name for run in live_runs(tmp_path)] == [there.name, here.name]
    # A worker that has said its last is about to leave: its process still counts, and no log is read.
    assert [run.name for run in live_runs_here(tmp_path)] == [ended.name, here.name]
    assert [run.name for run in others_here(here)] == [ended.name]
    assert live_runs_here(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("cores", "others", "share"), [(8, 0, 8), (8, 1, 4), (8, 2, 2), (2, 1, 1), (2, 5, 1), (1, 1, 1)]
)
def test_a_share_is_even_and_at_least_one(cores: int, others: int, share: int) -> None:
    assert fair_share(cores, others) == share


def test_what_somebody_decided_is_not_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(numerics, "_physical_cores", lambda: 8)
    monkeypatch.setattr(numerics, "_container_quota", lambda: None)
    assert [numerics.share_of_cores(others) for others in (0, 1, 3)] == [8, 4, 2]
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    assert [numerics.share_of_cores(others) for others in (0, 1)] == [6, 6]
