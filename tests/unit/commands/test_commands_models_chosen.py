"""Which model a command takes where none is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nanoshell.model.config import ModelConfig
from nanoshell.opening import open_session
from nanoshell.runs.directory import create_run
from nanoshell.runs.events import EventLog
from tests.unit.commands.conftest import Program


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    """Two model directories of one layer."""
    from nanoshell.model.transformer import build_model
    from nanoshell.model.weights import save_model

    plugins = open_session(safe=True).plugins
    config = ModelConfig(hidden_size=16, num_layers=1, num_heads=2, max_seq_len=48, tie_embeddings=True)
    tokenizer = plugins.tokenizers.get("cl100k_base")()
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
        save_model(folder, build_model(config, plugins.mixers, seed=1), tokenizer)
    return folders


def test_the_model_of_the_last_start_goes_on(nanoshell, models: list[Path]) -> None:
    sample = ("generate", "--max-tokens", "1", "--json", "--prompt", "Hi")
    assert nanoshell(*sample).code == 2  # there is neither a chosen model nor a run
    assert nanoshell("model", "load", str(models[1])).code == 0
    assert nanoshell(*sample).json["model"] == "second"
    assert nanoshell("data", "use", "nano-start").code == 0
    assert nanoshell(*sample, "--model", str(models[0])).json["model"] == "first"
    assert nanoshell(*sample).json["model"] == "first"
    assert nanoshell("data", "list", "--json").out.count('"chosen": true') == 1
    assert nanoshell("--no-history", *sample).code == 2


def runs_with_weights(model: str, runs: Path, *names: str) -> None:
    """Make runs in ``runs``, the last the newest, each with ``model`` as its checkpoint of step 3."""
    for name in names:
        run = create_run(runs, name, {"model": {"name": name}, "trainer": {}, "source": "nano-start"})
        shutil.copytree(model, run.path / "checkpoints" / "step-000003")
        EventLog(run.events_path).write("state", state="finished")


def test_without_a_name_it_is_the_model_chosen_last_and_that_is_said(
    nanoshell: Program, model: str, tmp_path: Path
) -> None:
    """By a run's name as by its path: the newest is another."""
    runs_with_weights(model, tmp_path / "runs", "old", "new")
    sample = ("sample", "Hello", "--max-tokens", "2", "--json")
    first = nanoshell(*sample)
    assert (first.json["model"], "chosen last" in first.err) == ("new-1@3", False)
    assert nanoshell("model", "load", "old-1").code == 0
    assert "the chosen model: old-1\n" in nanoshell("-c", ":model load old-1", "-c", ":model list").out
    again = nanoshell(*sample)
    assert again.json["model"] == "old-1@3"
    assert "the model chosen last: old-1@3; --model names another" in again.err
    shutil.rmtree(tmp_path / "runs" / "old-1")
    gone = nanoshell(*sample)
    assert gone.json["model"] == "new-1@3"
    assert "the model chosen last is gone or has no weights: old-1; this is new-1@3, the newest" in gone.err


def test_why_explains_a_kept_reply_with_the_model_that_wrote_it(
    nanoshell: Program, model: str, tmp_path: Path
) -> None:
    runs_with_weights(model, tmp_path / "runs", "old", "new")
    said = nanoshell("chat", "--model", "old-1", "--message", "Hello", "--max-tokens", "2", "--json")
    assert said.code == 0
    nanoshell("model", "load", "new-1")
    told = nanoshell("why", "--json")
    assert (told.json["model"], told.json["written_by"]) == ("old-1@3", "old-1@3")
    assert "wrote this" not in told.err
    assert nanoshell("sample", "Hello", "--max-tokens", "1", "--json").json["model"] == "new-1@3"
    (tmp_path / "runs" / "old-1" / "checkpoints" / "step-000003").rename(
        tmp_path / "runs" / "old-1" / "checkpoints" / "step-000004"
    )
    later = nanoshell("why", "--json")
    assert (later.json["model"], later.json["written_by"]) == ("old-1@4", "old-1@3")
    shutil.rmtree(tmp_path / "runs" / "old-1")
    gone = nanoshell("why", "--json")
    assert (gone.json["model"], gone.json["written_by"]) == ("new-1@3", "old-1@3")
    assert "old-1@3 wrote this; the probabilities are those of new-1@3" in gone.err
