"""``train``: real runs of a model of one layer, and what is refused before a run exists."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
import yaml

from nanoshell.runs.directory import RunDirectory
from nanoshell.runs.events import follow
from nanoshell_commands.inputs import key_values
from nanoshell_commands.progress import STEP_FIELDS, step_line
from nanoshell_commands.runs import runs
from nanoshell_commands.steer import run
from nanoshell_commands.train import train

PRESET = """# a test of one layer
model: {name: tiny, hidden_size: 16, num_layers: 1, num_heads: 2, intermediate_size: 32, max_seq_len: 32}
trainer: {batch_size: 2, num_epochs: 1000, softmax: sampled, sampled_negatives: 64, learning_rate: 0.01}
"""


@pytest.fixture
def preset(tmp_path: Path) -> str:
    (tmp_path / "tiny.yaml").write_text(PRESET)
    return "tiny.yaml"


def test_a_run_from_its_first_step_to_its_sample(nanoshell, preset: str, tmp_path: Path) -> None:
    said = nanoshell(
        *("train", "--config", preset, "--data", "nano-start:chat", "--headless"),
        *("--max-steps", "4", "--grad-accum", "2", "--set", "trainer.save_interval=2", "--seed", "7"),
    )
    assert said.code == 0, said.err
    assert [line["step"] for line in said.lines] == [1, 2, 3, 4]
    assert all(tuple(line) == STEP_FIELDS for line in said.lines)
    record = nanoshell("runs", "show", "latest", "--json").json
    trainer = record["record"]["trainer"]
    assert (trainer["gradient_accumulation"], trainer["save_interval"], trainer["seed"]) == (2, 2, 7)
    assert [kept["step"] for kept in record["checkpoints"]] == [2, 4]
    events = (tmp_path / "runs" / "tiny-1" / "events.jsonl").read_text().splitlines()
    steps = [event for event in map(json.loads, events) if event["type"] == "step"]
    assert [step["loss"] for step in steps] == [line["loss"] for line in said.lines]
    sampled = nanoshell("generate", "--model", "latest", "--prompt", "Hi", "--max-tokens", "3", "--json").json
    assert sampled["model"] == "tiny-1@4"
    older = nanoshell("generate", "--model", "tiny-1@2", "--prompt", "Hi", "--max-tokens", "3", "--json").json
    assert older["model"] == "tiny-1@2"
    nothing = nanoshell("train", "--resume", "tiny-1", "--max-steps", "4")
    assert nothing.code == 1
    assert "nothing left to do" in nothing.err
    other = nanoshell("train", "--resume", "tiny-1", "--batch-size", "3")
    assert other.code == 2
    assert "batch_size" in other.err


def test_the_last_step_is_known_from_the_first_line(nanoshell, preset: str) -> None:
    said = nanoshell(
        *("train", "--config", preset, "--data", "nano-start:chat", "--max-steps", "9"),
        *("--set", "trainer.max_steps=2"),
    )
    assert said.code == 0
    lines = [line for line in said.err.splitlines() if "  lr " in line]
    assert lines
    assert all(line.startswith(("step 1/2 ", "step 2/2 ")) for line in lines)
    assert "after 2 steps (trainer.max_steps), before the 9 of --max-steps" in said.err


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("[swiglu,moe]", ["swiglu", "moe"]),
        ("[0,1]", [0, 1]),
        ("1e-3", 0.001),
        ("{conv: {width: 3}}", {"conv": {"width": 3}}),
        ("off", False),
        ("cosine", "cosine"),
        ("2024-01-01", "2024-01-01"),
        ("a: b: c", "a: b: c"),
        ("", ""),
    ],
)
def test_a_value_of_set_is_what_it_would_be_in_a_config(written: str, value: object) -> None:
    import click

    ctx, param = click.Context(train), train.params[0]
    assert key_values(ctx, param, (f" model.x ={written}",)) == (("model.x", value),)


def test_a_script_is_told_the_load_of_experts_where_there_are_some() -> None:
    event = {"t": 1.0, "type": "step", **dict.fromkeys(STEP_FIELDS, 1), "tokens": 8}
    assert tuple(step_line(event)) == STEP_FIELDS
    routed = {"balance_loss": 1.5, "expert_load": {"3": [0.25, 0.75]}}
    assert step_line({**event, **routed}) == {**dict.fromkeys(STEP_FIELDS, 1), **routed}
    assert step_line({"step": 1, "loss": None, "not_finite": {"loss": "nan"}})["not_finite"] == {
        "loss": "nan"
    }


def test_a_run_in_the_background_is_seen_sampled_and_stopped_from_elsewhere(nanoshell, preset: str) -> None:
    nanoshell("data", "use", "nano-start:chat")
    said = nanoshell("-c", ":data use nano-start:chat", "-c", f":train --config {preset} --background --json")
    run = json.loads(said.out.splitlines()[-1])
    assert run["run"] == "tiny-1"
    assert nanoshell("runs", "rm", "tiny-1", "--yes").code == 1
    assert nanoshell("sample", "--model", "tiny-1", "--max-tokens", "2", "Hi").code == 0  # of a snapshot
    stopped = nanoshell("runs", "stop", "tiny-1", "--json").json
    assert stopped["state"] == "stopped"
    assert stopped["step"] > 0
    assert nanoshell("runs", "stop", "tiny-1").code == 1


def test_a_run_records_the_words_of_its_own_command_alone(
    nanoshell, preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--config", preset, "--data", "nano-start:chat", "--max-steps", "1"]
    lines = ["-c", ":system my password is hunter2", "-c", f":train {' '.join(words)} --background"]
    monkeypatch.setattr("sys.argv", ["nanoshell", *lines])
    assert nanoshell(*lines).code == 0
    record = (tmp_path / "runs" / "tiny-1" / "run.yaml").read_text()
    assert "hunter2" not in record
    assert yaml.safe_load(record)["provenance"]["argv"] == ["nanoshell", "train", *words, "--background"]
    list(follow(RunDirectory(tmp_path / "runs" / "tiny-1")))


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--config", "nano-strat", "--data", "nano-start"), 2, "did you mean 'nano-start'"),
        (("--config", "missing.yaml", "--data", "nano-start"), 2, "missing.yaml"),
        (("--config", "tiny.yaml"), 2, "no data is chosen"),
        (("--config", "tiny.yaml", "--data", "nano-strat"), 2, "did you mean 'nano-start'"),
        (("--config", "tiny.yaml", "--data", "missing.txt"), 2, "missing.txt"),
        (("--config", "tiny.yaml", "--data", "nano-start", "--device", "cud"), 2, "did you mean 'cuda'"),
        (("--config", "tiny.yaml", "--data", "nano-start", "--batch-size", "x"), 2, "batch-size"),
        (
            ("--config", "tiny.yaml", "--data", "nano-start", "--set", "trainer.lerning_rate=1"),
            2,
            "learning_rate",
        ),
        (("--config", "tiny.yaml", "--data", "nano-start", "--seq-len", "64"), 2, "max_seq_len"),
        (("--config", "tiny.yaml", "--data", "nano-start", "--learning-rat", "1"), 2, "--learning-rate"),
        (("--config", "tiny.yaml", "--data", "short.txt"), 1, "short.txt"),
        (("--resume", "tiny-1"), 2, "no runs"),
    ],
)
def test_what_cannot_be_trained_is_said_and_no_run_is_left(
    nanoshell, preset: str, tmp_path: Path, arguments: tuple[str, ...], code: int, told: str
) -> None:
    (tmp_path / "short.txt").write_text("too short")
    said = nanoshell("train", *arguments)
    assert (said.code, said.out) == (code, "")
    assert told in said.err
    assert "Traceback" not in said.err
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.parametrize("command", [train, *run.commands.values(), *runs.commands.values()])
def test_the_options_fit_the_menu_of_a_prompt_of_80_columns(command: click.Command) -> None:
    """Two columns around each name, two around what is said of it, one for the bar beside."""
    options = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
    names = [name for each in options for name in (*each.opts, *each.secondary_opts)]
    for option in options:
        assert len(option.help or "") <= 75 - max(map(len, names)), option.opts
