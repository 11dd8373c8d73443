"""Run directories: made without collisions, found by what people type, listed, removed and pruned."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from nanoshell.errors import NanoshellError, RunError, StorageError, UnknownNameError, UsageError
from nanoshell.runs.directory import RunDirectory, create_run, find_run, list_runs, remove_run
from nanoshell.runs.events import EventLog
from nanoshell.runs.process import write_process
from nanoshell.runs.pruning import prune
from nanoshell.testing import FakeRun


def checkpoint(run: RunDirectory, step: int, num_bytes: int = 10) -> Path:
    path = run.checkpoints_dir / f"step-{step:06d}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(bytes(num_bytes))
    return path


def finish(run: RunDirectory) -> None:
    write_process(run)
    EventLog(run.events_path).write("state", state="finished")


def test_a_run_is_numbered_and_keeps_its_record(runs_dir: Path) -> None:
    record = {"config": {"trainer": {"batch_size": 4}}, "seed": 7, "argv": ["train", "--größe"]}
    first, second = create_run(runs_dir, "demo", record), create_run(runs_dir, "demo", record)
    other = create_run(runs_dir, "demo-2x", {})
    assert [run.name for run in (first, second, other)] == ["demo-1", "demo-2", "demo-2x-1"]
    assert first.record() | record == first.record()
    assert (first.record()["format"], first.record()["name"]) == (1, "demo-1")
    assert "größe" in first.record_path.read_text(encoding="utf-8")


def test_a_number_is_not_used_again_below_the_highest(runs_dir: Path) -> None:
    for _ in range(3):
        create_run(runs_dir, "demo", {})
    finish(RunDirectory(runs_dir / "demo-2"))
    remove_run(RunDirectory(runs_dir / "demo-2"))
    assert create_run(runs_dir, "demo", {}).name == "demo-4"


def test_those_who_race_for_a_number_get_different_ones(runs_dir: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from nanoshell.runs.directory import create_run\n"
        "sys.stdin.read()\n"
        "for _ in range(25): print(create_run(Path(sys.argv[1]), 'race', {}).name)"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(runs_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.close()
        racer.stdin = None
    names = [name for racer in racers for name in racer.communicate()[0].split()]
    assert sorted(names) == sorted(f"race-{number}" for number in range(1, 76))
    assert len(list_runs(runs_dir)) == 75


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a b", "-x", "ü", "a\nb"])
def test_a_name_that_is_no_file_name_is_refused(runs_dir: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a run"):
        create_run(runs_dir, name, {})
    assert not runs_dir.exists()


def test_where_nothing_can_be_written_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        create_run(tmp_path / "file" / "runs", "demo", {})
    with pytest.raises(yaml.YAMLError):
        create_run(tmp_path / "runs", "demo", {"what": object()})
    assert list((tmp_path / "runs").iterdir()) == []


def test_runs_are_listed_newest_first(runs_dir: Path) -> None:
    names = ["b", "a", "c", "a"]
    made = [create_run(runs_dir, name, {}).name for name in names]
    (runs_dir / "not-a-run").mkdir()
    (runs_dir / "file").write_text("")
    assert [run.name for run in list_runs(runs_dir)] == made[::-1]
    # Touching or copying a run does not make it newer.
    os.utime(runs_dir / "b-1" / "run.yaml")
    assert [run.name for run in list_runs(runs_dir)] == made[::-1]
    assert list_runs(runs_dir / "nowhere") == []


def test_a_run_is_found_by_what_people_type(
    runs_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("nano-start", "nano-start", "shakespeare"):
        create_run(runs_dir, name, {})

    def found(ref: str) -> str:
        return find_run(runs_dir, ref).name

    assert found("latest") == "shakespeare-1"
    assert found("nano-start-1") == "nano-start-1"
    assert found("nano-start") == "nano-start-2"
    assert found("shake") == "shakespeare-1"
    assert found(str(runs_dir / "nano-start-1")) == "nano-start-1"
    monkeypatch.chdir(tmp_path)
    assert find_run(Path("elsewhere"), "runs/nano-start-1/").path == runs_dir / "nano-start-1"
    with pytest.raises(UnknownNameError, match="'nano' is the beginning of 2 runs") as ambiguous:
        found("nano")
    assert "nano-start-2, nano-start-1" in ambiguous.value.hint
    with pytest.raises(UnknownNameError, match="unknown run 'shakspeare-1'; did you mean 'shakespeare-1'"):
        found("shakspeare-1")
    with pytest.raises(UnknownNameError):
        found("")


def test_what_cannot_be_undone_wants_a_whole_name(runs_dir: Path) -> None:
    run = create_run(runs_dir, "shakespeare", {})
    for ref in ("shakespeare-1", str(run.path), "latest"):
        assert find_run(runs_dir, ref, whole=True).path == run.path
    for ref in ("shake", "shakespeare", "shakespeare-"):
        with pytest.raises(UnknownNameError, match="only the beginning") as caught:
            find_run(runs_dir, ref, whole=True)
        assert "shakespeare-1" in caught.value.hint


def test_without_any_run_one_is_told_how_to_start_one(runs_dir: Path) -> None:
    with pytest.raises(RunError, match="there are no runs in") as caught:
        find_run(runs_dir, "latest")
    assert "train" in caught.value.hint


def test_a_record_that_cannot_be_read_is_explained(runs_dir: Path) -> None:
    run = create_run(runs_dir, "demo", {})
    run.record_path.write_text("format: 9\n")
    with pytest.raises(RunError, match="in format 9"):
        run.record()
    for damage in ("a: [", "- 1\n"):
        run.record_path.write_text(damage)
        with pytest.raises(RunError, match="is damaged"):
            run.record()
    run.record_path.write_bytes(b"\xff\xfe")
    with pytest.raises(RunError, match="is damaged"):
        run.record()
    run.record_path.unlink()
    with pytest.raises(RunError, match="cannot read"):
        run.record()


def test_only_whole_checkpoints_are_seen_and_latest_is_what_the_pointer_says(runs_dir: Path) -> None:
    run = create_run(runs_dir, "demo", {})
    assert run.checkpoints() == []
    assert run.latest_checkpoint() is None
    for step in (200, 50, 100):
        checkpoint(run, step, num_bytes=step)
    (run.checkpoints_dir / ".step-000300.part").mkdir()
    assert [(entry.step, entry.num_bytes) for entry in run.checkpoints()] == [
        (50, 50),
        (100, 100),
        (200, 200),
    ]
    assert run.latest_checkpoint() == run.checkpoints_dir / "step-000200"
    pointer = run.checkpoints_dir / "latest"
    pointer.write_text("step-000100\n")
    assert run.latest_checkpoint() == run.checkpoints_dir / "step-000100"
    for nonsense in ("step-000999", "../../..", "", ".step-000300.part"):
        pointer.write_text(nonsense)
        assert run.latest_checkpoint() == run.checkpoints_dir / "step-000200"


def test_the_log_tail_shows_what_a_terminal_would_show(runs_dir: Path) -> None:
    run = create_run(runs_dir, "demo", {})
    assert run.log_tail() == ""
    run.log_path.write_bytes(b"begin\n 10%\r 50%\r100%\nend \xff\n\n")
    assert run.log_tail() == "begin\n100%\nend �"
    assert run.log_tail(1) == "end �"
    run.log_path.write_text("x" * 200_000 + "\n" + "last\n")
    assert run.log_tail(1) == "last"


def test_removing_frees_all_bytes(runs_dir: Path) -> None:
    run = create_run(runs_dir, "demo", {})
    checkpoint(run, 10, num_bytes=1000)
    finish(run)
    size = run.size_bytes()
    assert size > 1000
    assert remove_run(run) == size
    assert list(runs_dir.iterdir()) == []
    with pytest.raises(RunError, match="there is no run at"):
        remove_run(run)


def test_a_link_to_a_run_is_removed_without_what_it_points_to(runs_dir: Path, tmp_path: Path) -> None:
    target = create_run(tmp_path / "big-disk", "demo", {})
    runs_dir.mkdir()
    link = RunDirectory(runs_dir / "demo-1")
    link.path.symlink_to(target.path)
    remove_run(link)
    assert not link.path.is_symlink()
    assert target.record_path.is_file()


def test_pruning_keeps_what_is_needed(runs_dir: Path) -> None:
    ended, hollow, alive = (create_run(runs_dir, name, {}) for name in ("ended", "hollow", "alive"))
    for step in (100, 200, 300, 400):
        checkpoint(ended, step)
        checkpoint(alive, step)
    (ended.checkpoints_dir / "latest").write_text("step-000200")
    (ended.checkpoints_dir / "best").write_text("step-000100")
    for folder in (ended.checkpoints_dir / ".step-000500.part", ended.snapshots_dir / "step-000400"):
        folder.mkdir(parents=True)
    finish(ended)
    finish(hollow)
    write_process(alive)
    (runs_dir / ".gone-1.removed-99").mkdir()

    planned = prune(runs_dir, dry_run=True)
    assert len(ended.checkpoints()) == 4
    done = prune(runs_dir)
    assert done == planned
    assert {(entry.run, entry.kind, entry.path.name) for entry in done} == {
        ("", "leftover", ".gone-1.removed-99"),
        ("ended-1", "checkpoint", "step-000300"),
        ("ended-1", "leftover", ".step-000500.part"),
        ("ended-1", "snapshot", "step-000400"),
    }
    assert [entry.step for entry in ended.checkpoints()] == [100, 200, 400]
    assert len(alive.checkpoints()) == 4
    assert prune(runs_dir) == []
    assert [(entry.run, entry.kind) for entry in prune(runs_dir, empty=True)] == [("hollow-1", "run")]
    assert {run.name for run in list_runs(runs_dir)} == {"ended-1", "alive-1"}
    with pytest.raises(NanoshellError, match="at least one"):
        prune(runs_dir, keep=0)


def test_a_link_to_itself_hides_no_run(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with FakeRun(tmp_path, "beside") as fake:
        assert list_runs(tmp_path) == [fake.run]
