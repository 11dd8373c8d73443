"""Launching: everything that can be wrong is told before anything is made, and run.yaml tells it all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nanoshell.errors import ConfigError, DataError, DeviceError, NanoshellError, UnknownNameError, UsageError
from nanoshell.narrator import SilentNarrator
from nanoshell.training import launch, numerics
from nanoshell.training.record import RunRecord, read_record
from nanoshell.training.request import TrainRequest


def test_run_yaml_holds_config_data_and_origin(lab: Any) -> None:
    corpus = lab.corpus(tokens=400)
    config = lab.config(num_epochs=2, max_steps=0, val_fraction=0.1)
    run = lab.prepare(lab.request(config, corpus, max_steps=7, argv=["nanoshell", "train"], name="mine"))
    assert run.name == "mine-1"
    found = run.record()
    assert (found["name"], found["source"], found["seed"]) == ("mine-1", str(corpus), 1337)
    assert found["corpus"]["num_tokens"] == 400
    assert len(found["corpus"]["sha256"]) == 64
    assert found["tokenizer_fingerprint"] == "letters-1"
    assert found["model"] == config.to_dict()["model"]
    assert found["horizon"] == config.horizon(-(-360 // 8)), "two epochs of what is not held out"
    assert found["stop_at"] == 7
    origin = found["provenance"]
    assert origin["argv"] == ["nanoshell", "train"]
    assert set(origin["versions"]) >= {"nanoshell", "python", "torch", "numpy"}
    assert "letters" in [plugin["name"] for plugin in origin["plugins"]]
    record = read_record(run)
    assert record.config == config
    assert record.last_step == 7
    assert RunRecord.from_dict(record.to_dict(), "x") == record


def test_a_run_is_named_after_its_model(lab: Any) -> None:
    config = lab.config(model_name="../my model (2)")
    assert lab.prepare(lab.request(config, lab.corpus())).name == "my-model-2-1"


class Notes(SilentNarrator):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.parametrize(
    ("keys", "asked", "told"),
    [
        ({"num_epochs": 2, "max_steps": 0}, 200, "its 2 epochs end after 25 steps, before the 200 of"),
        ({"max_steps": 12}, 13, "its config ends it after 12 steps (trainer.max_steps), before the 13 of"),
        ({"max_steps": 12}, 12, ""),
        ({"max_steps": 12}, None, ""),
    ],
)
def test_a_run_that_ends_before_it_was_asked_to_says_why(
    lab: Any, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Any], asked: int | None, told: str
) -> None:
    monkeypatch.setattr(launch, "start_worker", lambda run, arguments, **options: None)
    narrator = Notes()
    request = lab.request(lab.config(**keys), lab.corpus(), max_steps=asked)
    run = launch.start_run(request, lab.plugins, narrator)
    early = [note for note in narrator.notes if "--max-steps" in note]
    assert len(early) == bool(told)
    assert all(note.startswith(told) and "--num-epochs" in note for note in early)
    assert read_record(run).last_step == min(asked or 999, read_record(run).horizon)


def request_with(lab: Any, **changes: Any) -> TrainRequest:
    options = {key: changes.pop(key) for key in list(changes) if key in TrainRequest.__dataclass_fields__}
    source = options.pop("source", lab.corpus())
    made: TrainRequest = lab.request(lab.config(**changes), source, **options)
    return made


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"model_vocab_size": 31}, ConfigError, "vocab_size 31"),
        ({"optimizer": "adamm"}, UnknownNameError, "did you mean 'adamw'"),
        ({"device": "cpuu"}, UnknownNameError, "did you mean 'cpu'"),
        ({"model_mixer": "atention"}, ConfigError, "did you mean 'attention'"),
        ({"model_tokenizer": "leters"}, UnknownNameError, "did you mean 'letters'"),
        ({"max_steps": 0}, UsageError, "--max-steps is 0"),
        ({"name": "a/b"}, UsageError, "cannot be the name"),
        ({"source": None}, UsageError, "no data is chosen"),
        ({"source": "nowhere.txt"}, NanoshellError, "nowhere.txt"),
        ({"chat_template": "rolls"}, UnknownNameError, "did you mean 'roles'"),
    ],
)
def test_a_mistake_is_told_before_anything_is_made(
    lab: Any, changes: dict[str, Any], error: type[NanoshellError], said: str
) -> None:
    if "max_steps" in changes:
        request = lab.request(lab.config(), lab.corpus(), **changes)
    else:
        request = request_with(lab, **changes)
    with pytest.raises(error) as caught:
        lab.prepare(request)
    assert said in caught.value.message + caught.value.hint
    assert not lab.runs_dir.exists()


def test_data_that_is_too_short_or_foreign_is_told_before_anything_is_made(lab: Any) -> None:
    with pytest.raises(DataError, match=r"8 tokens to train on.*seq_len 8 takes 9"):
        lab.prepare(lab.request(lab.config(), lab.corpus(tokens=8)))
    path = lab.folder / "foreign.bin"
    np.array([1, 2, 30, 4] * 9, "<u4").tofile(path)
    with pytest.raises(DataError, match="id 30 at position 2"):
        lab.prepare(lab.request(lab.config(), path))
    path.write_bytes(b"123")
    with pytest.raises(DataError, match="no multiple of 4"):
        lab.prepare(lab.request(lab.config(), path))
    assert not lab.runs_dir.exists()


def test_a_device_that_is_not_there_is_told(lab: Any) -> None:
    import torch

    if torch.backends.mps.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(DeviceError, match="device 'mps' is not available"):
        lab.prepare(lab.request(lab.config(), lab.corpus(), device="mps"))
    assert not lab.runs_dir.exists()


def test_a_worker_that_cannot_be_started_leaves_no_run(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(lab.folder / "no-python"))
    with pytest.raises(NanoshellError, match="cannot start the worker"):
        lab.launch(lab.request(lab.config(), lab.corpus()))
    assert list(lab.runs_dir.iterdir()) == []


def test_keys_that_do_nothing_here_are_told(lab: Any) -> None:
    notes: list[str] = []

    class Ear(SilentNarrator):
        def note(self, text: str) -> None:
            notes.append(text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "start_worker", lambda run, arguments, **options: 0)
        config = lab.config(checkpoint_dir="./x", distributed={"enabled": True}, model_num_experts=4)
        request = lab.request(config, lab.corpus())
        launch.start_run(request, lab.plugins, Ear())
    assert notes == [
        "trainer.checkpoint_dir is read and not used by this run",
        "trainer.distributed is read and not used: --nproc says how many processes train",
        "model.num_experts is read and not used: no layer is of a kind that it is for",
    ]


def test_launching_needs_no_torch(lab: Any, plugins_dir: Path) -> None:
    program = f"""
import json, sys
from pathlib import Path
from nanoshell.plugin.manager import load_plugins
from nanoshell.training import launch
from nanoshell.training.config import RunConfig
launch.start_worker = lambda run, arguments, **options: print(json.dumps(arguments))
plugins = load_plugins(plugins_dir=Path({str(plugins_dir)!r}))
config = RunConfig.from_dict({lab.config().to_dict()!r}, "x")
launch.start_run(launch.TrainRequest(config, {str(lab.corpus())!r}, Path({str(lab.runs_dir)!r})), plugins)
print(sorted(name for name in ("torch", "safetensors", "rich") if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    arguments, loaded = done.stdout.splitlines()
    assert json.loads(arguments) == ["--plugins-dir", str(plugins_dir.resolve())]
    assert loaded == "[]"


def test_cores_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for cpu, core in enumerate((0, 0, 1, 1)):
        topology = tmp_path / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "core_id").write_text(str(core))
        (topology / "physical_package_id").write_text("0")
    monkeypatch.setattr(numerics, "_CPUS", tmp_path)
    monkeypatch.setattr(numerics, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    assert numerics.available_cores() == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {2, 3})
    assert numerics.available_cores() == 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2, 77})
    assert numerics.available_cores() == 3, "where the topology is not told, every CPU counts"
    for quota, cores in (("max 100000", 3), ("150000 100000", 1), ("250000 100000", 2), ("20000 100000", 1)):
        (tmp_path / "cpu.max").write_text(quota)
        assert numerics.available_cores() == cores
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert numerics.available_cores() == 5


def test_auto_is_a_process_for_each_cuda_device(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    started: list[int] = []

    def start(run: Any, arguments: Any, processes: int = 1, *rest: Any, **options: Any) -> None:
        started.append(processes)

    monkeypatch.setattr(launch, "start_worker", start)
    for devices, processes in ((0, 1), (3, 3)):
        monkeypatch.setattr(torch.cuda, "device_count", lambda devices=devices: devices)
        launch.start_run(lab.request(lab.config(), lab.corpus(), processes="auto"), lab.plugins)
        assert started.pop() == processes
