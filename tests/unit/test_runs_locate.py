"""Which model directory a reference means."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanoshell.errors import CheckpointError, RunError, UnknownNameError
from nanoshell.runs.directory import RunDirectory, create_run
from nanoshell.runs.events import EventLog
from nanoshell.runs.locate import locate_model, model_name, split_step


def trained(runs_dir: Path, name: str, *steps: int) -> RunDirectory:
    """Return a finished run with a checkpoint of each of ``steps``."""
    run = create_run(runs_dir, name, {})
    for step in steps:
        folder = run.checkpoints_dir / f"step-{step:06}"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    EventLog(run.events_path).write("state", state="finished")
    return run


def test_a_run_means_its_newest_checkpoint(runs_dir: Path) -> None:
    run = trained(runs_dir, "tiny", 200, 1000, 400)
    for reference in ("tiny-1", "tiny", "latest", str(run.path)):
        found = locate_model(runs_dir, reference)
        assert (found.path.name, found.step, found.label) == ("step-001000", 1000, "tiny-1@1000")


def test_a_step_is_named_behind_the_run(runs_dir: Path) -> None:
    trained(runs_dir, "tiny", 200, 400)
    assert locate_model(runs_dir, "tiny-1@200").path.name == "step-000200"
    with pytest.raises(UnknownNameError, match="unknown checkpoint of tiny-1 '300'"):
        locate_model(runs_dir, "tiny-1@300")


def test_a_run_is_named_by_its_name_however_its_path_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = trained(Path("runs"), "tiny", 200)
    for reference in ("tiny-1", "runs/tiny-1", str(run.path.resolve())):
        assert model_name(reference) == "tiny-1"
    assert model_name(str(run.checkpoints_dir.resolve() / "step-000200")) == "tiny-1@200"
    assert model_name("gpt2/small") == "gpt2/small"


def test_the_latest_is_the_newest_run_that_has_weights(runs_dir: Path) -> None:
    trained(runs_dir, "old", 5)
    trained(runs_dir, "new", 7)
    trained(runs_dir, "empty")
    assert locate_model(runs_dir, "latest").label == "new-1@7"


def test_a_folder_knows_its_run(runs_dir: Path, tmp_path: Path) -> None:
    run = trained(runs_dir, "tiny", 9)
    inside = locate_model(runs_dir, str(run.checkpoints_dir / "step-000009"))
    assert inside.run == run
    alone = tmp_path / "me@home"
    alone.mkdir()
    (alone / "config.json").write_text("{}")
    assert (found := locate_model(runs_dir, str(alone))).run is None
    assert found.label == "me@home"


def test_a_run_at_a_path_with_an_at_sign_is_found(tmp_path: Path) -> None:
    run = trained(tmp_path / "me@home", "tiny", 3)
    assert locate_model(tmp_path / "runs", str(run.path)).step == 3
    assert locate_model(tmp_path / "runs", f"{run.path}@3").step == 3


def test_what_has_no_weights_is_told(runs_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run in .* has weights yet"):
        locate_model(runs_dir, "latest")
    trained(runs_dir, "empty")
    with pytest.raises(RunError, match=r"empty-1 has no weights yet \(finished\)"):
        locate_model(runs_dir, "empty-1")
    with pytest.raises(CheckpointError, match="holds no model"):
        locate_model(runs_dir, str(tmp_path))
    with pytest.raises(UnknownNameError, match="did you mean 'empty-1'"):
        locate_model(runs_dir, "emptie-1")


def test_the_best_is_named_behind_the_run(runs_dir: Path) -> None:
    run = trained(runs_dir, "tiny", 200, 400)
    with pytest.raises(RunError, match="tiny-1 has no best checkpoint"):
        locate_model(runs_dir, "tiny@best")
    (run.checkpoints_dir / "best").write_text("step-000200\n")
    for reference in ("tiny@best", "latest@best", f"{run.path}@best"):
        assert locate_model(runs_dir, reference).label == "tiny-1@200"
    assert locate_model(runs_dir, "tiny").step == 400
    assert split_step("a@b@best") == ("a@b", "best")
    assert split_step("@best") == ("@best", None)


def test_what_is_not_there_is_a_mistake_of_usage(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("latest", "nano-1", str(tmp_path / "empty")):
        with pytest.raises((RunError, CheckpointError)) as caught:
            locate_model(tmp_path / "runs", name)
        assert caught.value.exit_code == 2
