"""Checkpoint folders: whole or absent, rotated, and nothing left behind by a failure."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from nanoshell.errors import CheckpointError, StorageError
from nanoshell.runs.directory import RunDirectory
from nanoshell.training import checkpoint
from nanoshell.training.checkpoint import (
    clear_parts,
    keep_newest,
    point_latest,
    read_document,
    save_checkpoint,
    save_snapshot,
    write_folder,
)


def fill(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"12345")
    (folder / "config.json").write_bytes(b"{}")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    (tmp_path / "run").mkdir()
    return RunDirectory(tmp_path / "run")


def test_a_folder_appears_whole_with_its_size(tmp_path: Path) -> None:
    def look_and_fill(folder: Path) -> None:
        assert not (tmp_path / "a" / "step-000001").exists()
        fill(folder)

    assert write_folder(tmp_path / "a" / "step-000001", look_and_fill) == 7
    assert names(tmp_path / "a") == ["step-000001"]
    assert names(tmp_path / "a" / "step-000001") == ["config.json", "model.safetensors"]


def test_a_folder_of_the_same_name_is_replaced(tmp_path: Path) -> None:
    write_folder(tmp_path / "step-000001", fill)
    write_folder(tmp_path / "step-000001", lambda folder: None)
    assert names(tmp_path) == ["step-000001"]
    assert names(tmp_path / "step-000001") == []


def test_a_name_is_never_without_a_folder_while_that_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever operation comes last: under the name there is the old folder, or the new one, whole."""
    folder = tmp_path / "step-000001"
    write_folder(folder, fill)
    seen = []

    def look(*given: Any) -> None:
        seen.append(names(folder))

    for name in ("rmdir", "unlink", "mkdir", "rename", "open"):
        original = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *given, original=original, **options: (look(), original(*given, **options))[1]
        )
    write_folder(folder, lambda part: (part / "new").touch())
    monkeypatch.undo()
    assert names(folder) == ["new"]
    assert {tuple(found) for found in seen} == {("config.json", "model.safetensors"), ("new",)}
    assert names(tmp_path) == ["step-000001"]


def test_where_folders_cannot_be_exchanged_one_is_still_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "swap", lambda first, second: False)
    write_folder(tmp_path / "step-000001", fill)
    write_folder(tmp_path / "step-000001", lambda part: (part / "new").touch())
    assert names(tmp_path) == ["step-000001"]
    assert names(tmp_path / "step-000001") == ["new"]


def test_what_a_name_leads_to_is_on_the_disk_before_the_name(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order in which a loss of power can leave no name of something that is not there."""
    trainer = lab.trainer(lab.config(), lab.corpus())
    (lab.folder / "run").mkdir()
    run = RunDirectory(lab.folder / "run")
    done: list[tuple[str, str]] = []
    sync, rename = os.fsync, os.rename

    def note_sync(handle: int) -> None:
        done.append(("sync", str(Path(f"/proc/self/fd/{handle}").readlink())))
        sync(handle)

    def note_rename(source: Any, target: Any) -> None:
        done.append(("rename", str(target)))
        rename(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "rename", note_rename)
    monkeypatch.setattr(os, "replace", note_rename)
    path, _ = save_checkpoint(run, 1, lambda folder: trainer.save(folder, lab.tokenizer, "sha"), 2)
    monkeypatch.undo()
    named = done.index(("rename", str(path)))
    latest = done.index(("rename", str(run.checkpoints_dir / "latest")))
    part = next(Path(what).parent for kind, what in done if kind == "sync" and "model" in what)
    before = [what for kind, what in done[:named] if kind == "sync"]
    for name in ("model.safetensors", "trainer.safetensors"):
        assert str(part / name) in before
    assert before[-1] == str(part)
    assert ("sync", str(run.path)) in done[:named], "the folder of the checkpoints is new"
    assert ("sync", str(run.checkpoints_dir)) in done[named:latest]
    assert done[-1] == ("sync", str(run.checkpoints_dir))
    temporary = [what for kind, what in done[named:latest] if kind == "sync" and ".latest" in what]
    assert temporary, "the name is written before it is the latest"


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), ValueError("bad"), KeyboardInterrupt()]
)
def test_a_failure_leaves_the_old_and_no_part_of_the_new(run: RunDirectory, error: BaseException) -> None:
    save_checkpoint(run, 1, fill, 2)

    def fail(folder: Path) -> None:
        fill(folder)
        raise error

    with pytest.raises(StorageError if isinstance(error, OSError) else type(error)) as caught:
        save_checkpoint(run, 2, fail, 2)
    if isinstance(error, OSError):
        assert "the disk is full" in str(caught.value)
        assert "step-000002" in str(caught.value)
    assert names(run.checkpoints_dir) == ["latest", "step-000001"]
    assert run.latest_checkpoint() == run.checkpoints_dir / "step-000001"


def test_a_file_in_place_of_the_folder_is_told(run: RunDirectory) -> None:
    run.checkpoints_dir.write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        save_checkpoint(run, 1, fill, 2)


@pytest.mark.parametrize(
    ("keep", "left"), [(1, [5]), (2, [4, 5]), (9, [1, 2, 3, 4, 5]), (0, [1, 2, 3, 4, 5])]
)
def test_the_newest_are_kept(run: RunDirectory, keep: int, left: list[int]) -> None:
    for step in range(1, 6):
        save_checkpoint(run, step, fill, keep)
    assert [checkpoint.step for checkpoint in run.checkpoints()] == left
    assert run.latest_checkpoint() == run.checkpoints_dir / "step-000005"
    assert all(not name.startswith(".") for name in names(run.checkpoints_dir))


def test_a_course_that_was_left_goes_with_the_first_checkpoint_of_the_new_one(run: RunDirectory) -> None:
    for step in (10, 20, 30):
        save_checkpoint(run, step, fill, 0)
    point_latest(run, "step-000010")
    assert run.latest_checkpoint() == run.checkpoints_dir / "step-000010"
    assert len(run.checkpoints()) == 3
    save_checkpoint(run, 15, fill, 0)
    assert [checkpoint.step for checkpoint in run.checkpoints()] == [10, 15]


def test_snapshots_are_reused_and_two_are_kept(run: RunDirectory) -> None:
    written = []

    def count(folder: Path) -> None:
        written.append(folder)
        fill(folder)

    for step in (1, 1, 2, 3, 3):
        assert save_snapshot(run, step, count).is_dir()
    assert len(written) == 3
    assert names(run.snapshots_dir) == ["step-000002", "step-000003"]


def test_what_a_killed_writer_left_is_cleared_and_nothing_else(run: RunDirectory) -> None:
    save_checkpoint(run, 1, fill, 2)
    (run.checkpoints_dir / ".step-000002.abc").mkdir()
    (run.checkpoints_dir / ".step-000002.abc" / "model.safetensors").write_bytes(b"half")
    (run.checkpoints_dir / ".latest.xyz.part").write_text("step-00")
    (run.checkpoints_dir / "mine").mkdir()
    clear_parts(run.checkpoints_dir)
    clear_parts(run.snapshots_dir)
    keep_newest(run.checkpoints_dir, 1, 1)
    assert names(run.checkpoints_dir) == ["latest", "mine", "step-000001"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "holds weights alone"),
        ("{", "is damaged"),
        ("[]", "holds no mapping"),
        ('{"format": 2}', "format 2"),
        ("{}", "format None"),
    ],
)
def test_a_trainers_state_that_cannot_be_read_is_told(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "trainer.json").write_text(text)
    with pytest.raises(CheckpointError, match=said):
        read_document(tmp_path)
    with pytest.raises(CheckpointError, match="does not exist"):
        read_document(tmp_path / "nowhere")
