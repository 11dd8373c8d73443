"""``--resume auto``, and runs that somebody else may be writing."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from typing import Any

import pytest

from nanoshell.errors import (
    ConfigError,
    RunError,
    UsageError,
)
from nanoshell.runs.directory import RunDirectory
from nanoshell.runs.events import read_events
from nanoshell.runs.process import refuse_live
from nanoshell.training import launch
from nanoshell.training.resume import find_resume_point
from nanoshell.training.worker import run_worker


def on_another_host(run: RunDirectory, seconds: float) -> None:
    """Make ``run`` one that a worker of another host wrote to until ``seconds`` ago, and did not end."""
    then = time.time() - seconds
    events = [event for event in read_events(run.events_path)[0] if event.get("state") != "stopped"]
    written = [{**event, "t": then} for event in events if event.get("state") != "finished"]
    run.events_path.write_text("".join(json.dumps(event) + "\n" for event in written))
    process = {**json.loads(run.process_path.read_text()), "host": "elsewhere"}
    run.process_path.write_text(json.dumps(process))
    for path in (run.events_path, run.process_path, run.record_path):
        os.utime(path, (then, then))


def test_a_run_of_another_host_goes_on_once_it_is_silent_and_is_untouched_before(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=6), lab.corpus(), max_steps=2))
    run_worker(run, lab.plugins)
    on_another_host(run, 0)
    record = run.record_path.read_bytes()
    with pytest.raises(RunError, match=r"is being written by process \d+ on elsewhere"):
        lab.prepare(lab.request(None, None, resume=run.name))
    assert run.record_path.read_bytes() == record
    on_another_host(run, 3600)
    started: list[RunDirectory] = []

    def start(run: RunDirectory, arguments: Sequence[str], **options: Any) -> None:
        refuse_live(run)  # as the launch does, after the record has been written
        started.append(run)

    monkeypatch.setattr(launch, "start_worker", start)
    launch.start_run(lab.request(None, None, resume=run.name), lab.plugins)
    assert started == [run]


def test_auto_goes_on_with_the_newest_that_fits_else_begins(lab: Any) -> None:
    config = lab.config(max_steps=4)

    def auto(config: Any, source: Any) -> str:
        run: RunDirectory = lab.prepare(lab.request(config, source, resume="auto", max_steps=2))
        return run.name

    assert auto(config, lab.corpus()) == "small-1", "nothing is there"
    run = RunDirectory(lab.runs_dir / "small-1")
    assert auto(config, lab.corpus()) == "small-1", "it has no checkpoint yet, and begins again"
    assert auto(lab.config(max_steps=4, batch_size=2), lab.corpus()) == "small-2", "the first is another"
    shutil.rmtree(lab.runs_dir / "small-2")
    run_worker(run, lab.plugins)
    assert auto(config, lab.corpus()) == "small-2", "the first is at the last step that is asked for"
    shutil.rmtree(lab.runs_dir / "small-2")
    resumed = lab.prepare(lab.request(None, None, resume="auto", max_steps=3))
    assert resumed == run
    assert auto(lab.config(max_steps=4, model_name="other"), lab.corpus()) == "other-1"


def test_auto_refuses_what_differs_from_the_newest_of_the_name(lab: Any) -> None:
    config = lab.config(max_steps=4)
    run = lab.prepare(lab.request(config, lab.corpus(), max_steps=2))
    run_worker(run, lab.plugins)

    def auto(config: Any, source: Any, **options: Any) -> RunDirectory:
        found: RunDirectory = lab.prepare(lab.request(config, source, resume="auto", **options))
        return found

    with pytest.raises(ConfigError, match=r"model.hidden_size 16 -> 32"):
        auto(lab.config(max_steps=4, model_hidden_size=32), lab.corpus())
    with pytest.raises(UsageError, match="the run was trained on"):
        auto(config, lab.corpus(seed=3))
    assert auto(None, lab.corpus(seed=3)).name == "nano-start-1", "without a name, the data tells runs apart"
    shutil.rmtree(lab.runs_dir / "nano-start-1")
    assert auto(config, lab.corpus(seed=3), name="other").name == "other-1"
    assert auto(config, lab.corpus()) == run


def auto(lab: Any, config: Any, **options: Any) -> RunDirectory:
    found: RunDirectory = lab.prepare(lab.request(config, lab.corpus(), resume="auto", **options))
    return found


def test_auto_looks_at_the_newest_alone(lab: Any) -> None:
    config = lab.config(max_steps=4)
    older, newer = (lab.prepare(lab.request(config, lab.corpus(), max_steps=2)) for _ in range(2))
    for run in (older, newer):
        run_worker(run, lab.plugins)
    assert auto(lab, config) == newer
    run_worker(newer, lab.plugins)
    assert auto(lab, config).name == "small-3", "the newest has finished, and what is older is history"
    newest = RunDirectory(lab.runs_dir / "small-3")
    run_worker(newest, lab.plugins)
    on_another_host(newest, 0)
    with pytest.raises(RunError, match=r"run 'small-3' is training already: .* on elsewhere") as caught:
        auto(lab, config)
    assert "runs attach small-3" in caught.value.hint
    assert len(list(lab.runs_dir.iterdir())) == 3


def test_auto_begins_anew_where_a_crash_was_beyond_the_last_step_that_is_asked_for(lab: Any) -> None:
    config = lab.config(max_steps=9, save_interval=1)
    run = lab.prepare(lab.request(config, lab.corpus(), max_steps=3))
    run_worker(run, lab.plugins)
    lines = run.events_path.read_text().splitlines(keepends=True)
    run.events_path.write_text("".join(line for line in lines if '"finished"' not in line))
    run.process_path.write_text(run.process_path.read_text().replace(f'"pid": {os.getpid()}', '"pid": 1'))
    assert run.status().state == "crashed"
    assert auto(lab, config, max_steps=3) == run, "it may owe its last evaluation"
    assert auto(lab, config, max_steps=2).name == "small-2"


def test_auto_says_which_damaged_run_it_passes_over(lab: Any) -> None:
    config = lab.config(max_steps=4)
    older, newer, other = (
        lab.prepare(lab.request(config, lab.corpus(), max_steps=2, name=name))
        for name in ("small", "small", "other")
    )
    run_worker(older, lab.plugins)
    for run in (newer, other):
        run.record_path.write_text("created: '2099-01-01'\nmodel: [")
    point = find_resume_point(lab.request(config, lab.corpus(), resume="auto"))
    assert point.run == older
    assert "run 'small-2' is passed over: " in point.note
    assert "is damaged" in point.note
    assert "other-1" not in point.note
    assert "other-1" in find_resume_point(lab.request(None, lab.corpus(), resume="auto")).note


def test_the_checkpoint_before_a_damaged_one_is_told_by_its_number(lab: Any) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=4, save_interval=1), lab.corpus(), max_steps=2))
    run_worker(run, lab.plugins)
    for old, new in (("step-000001", "step-999999"), ("step-000002", "step-1000000")):
        (run.checkpoints_dir / old).rename(run.checkpoints_dir / new)
    (run.checkpoints_dir / "latest").write_text("step-1000000\n")
    (run.checkpoints_dir / "step-1000000" / "trainer.safetensors").write_bytes(b"")
    point = find_resume_point(lab.request(None, None, resume=run.name))
    assert point.checkpoint == run.checkpoints_dir / "step-999999"
