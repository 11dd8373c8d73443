"""What ``dtype: auto`` becomes: declared, measured, remembered, or left alone."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from nanoshell import paths
from nanoshell.model.config import ModelConfig
from nanoshell.plugin.manager import load_plugins
from nanoshell.training import probe
from nanoshell.training.opening import choose_numerics
from nanoshell.training.probe import DtypeChoice, Shape, choose_dtype, measure
from nanoshell.training.record import read_record
from nanoshell.training.worker import run_worker


def model(width: int = 256, inner: int = 300) -> ModelConfig:
    return ModelConfig(
        name="m", hidden_size=width, num_layers=1, num_heads=4, intermediate_size=inner, vocab_size=64
    )


class Imagined:
    """A device that declares ``dtype`` and may know bfloat16."""

    name = "imagined"

    def __init__(self, dtype: str, *, bfloat16: bool = True) -> None:
        self.dtype, self.bfloat16 = dtype, bfloat16

    def default_dtype(self) -> str:
        return self.dtype

    def supports_dtype(self, dtype: str) -> bool:
        return dtype != "bfloat16" or self.bfloat16

    def describe(self) -> str:
        return "a device of the mind"


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Shape]:
    """Let bfloat16 be 1.8 times as fast everywhere; what comes back are the shapes that were measured."""
    monkeypatch.setenv("NANOSHELL_HOME", str(tmp_path / "home"))
    asked: list[Shape] = []

    def measure(backend: Any, shape: Shape) -> float:
        asked.append(shape)
        return 1.8

    monkeypatch.setattr(probe, "measure", measure)
    return asked


def test_a_device_that_declares_its_dtype_is_not_measured(measured: list[Shape]) -> None:
    backend: Any = Imagined("float16")
    assert choose_dtype(backend, model(), 64) == DtypeChoice("float16", "")
    assert not measured


def test_narrow_models_and_devices_without_bfloat16_stay_in_float32_unasked(measured: list[Shape]) -> None:
    wants: Any = Imagined("auto")
    assert choose_dtype(wants, model(width=probe.MIN_WIDTH - 8), 64) == DtypeChoice("float32")
    without: Any = Imagined("auto", bfloat16=False)
    assert choose_dtype(without, model(), 64) == DtypeChoice("float32")
    assert not measured


def test_the_answer_is_told_and_kept_for_models_of_about_one_size(measured: list[Shape]) -> None:
    backend: Any = Imagined("auto")
    first = choose_dtype(backend, model(256, 400), 100)
    assert first.dtype == "bfloat16"
    assert "1.8 times as fast as float32" in first.reason
    assert "measured" in first.reason
    assert choose_dtype(backend, model(256, 512), 128) == first
    assert measured == [Shape(128, 256, 512)]
    choose_dtype(backend, model(512, 512), 128)
    assert len(measured) == 2, "another width is another question"
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        choose_dtype(backend, model(256, 512), 128)
    finally:
        torch.set_num_threads(threads)
    assert len(measured) == 3, "so is another number of threads"


def test_too_small_a_gain_is_no_reason(measured: list[Shape], monkeypatch: pytest.MonkeyPatch) -> None:
    backend: Any = Imagined("auto")
    monkeypatch.setattr(probe, "measure", lambda *_: probe.WORTHWHILE - 0.01)
    chosen = choose_dtype(backend, model(), 64)
    assert chosen.dtype == "float32"
    assert "1.1 times" in chosen.reason


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"bfloat16": "much"}', '{"bfloat16": null}'])
def test_a_damaged_record_is_measured_again(measured: list[Shape], damage: str) -> None:
    backend: Any = Imagined("auto")
    choose_dtype(backend, model(), 64)
    (kept,) = (paths.cache_dir() / "probes").iterdir()
    assert json.loads(kept.read_text())["bfloat16"] == 1.8
    kept.write_text(damage)
    assert choose_dtype(backend, model(), 64).dtype == "bfloat16"
    assert len(measured) == 2


def test_a_cache_that_cannot_be_written_costs_a_measurement_each_time(
    measured: list[Shape], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NANOSHELL_HOME", str(tmp_path / "file"))
    backend: Any = Imagined("auto")
    assert choose_dtype(backend, model(), 64).dtype == "bfloat16"
    assert choose_dtype(backend, model(), 64).dtype == "bfloat16"
    assert len(measured) == 2


def test_the_probe_measures_and_leaves_the_random_state_alone() -> None:
    backend = load_plugins(safe=True).backends.get("cpu")()
    before = torch.get_rng_state()
    ratio = measure(backend, Shape(16, 32, 64))
    assert math.isfinite(ratio)
    assert ratio > 0
    assert torch.equal(torch.get_rng_state(), before)


def test_shapes_have_bounds() -> None:
    assert Shape.of(model(4096, 16384), 10**6) == Shape(512, 1024, 2048)
    assert Shape.of(model(264, 300), 65) == Shape(128, 512, 512)


def test_a_run_records_what_was_measured_and_a_resume_does_not_ask_again(
    lab: Any, measured: list[Shape], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = lab.config(max_steps=2, model_hidden_size=probe.MIN_WIDTH, model_intermediate_size=64)
    run = lab.prepare(lab.request(config, lab.corpus()))
    assert run_worker(run, lab.plugins) == 0
    running = lab.events(run, "state")[1]
    assert running["dtype"] == "bfloat16"
    assert "measured" in running["dtype_reason"]
    assert len(measured) == 1

    def refuse(*_: Any) -> float:
        raise AssertionError("a resume measured")

    monkeypatch.setattr(probe, "measure", refuse)
    monkeypatch.setenv("NANOSHELL_HOME", str(lab.folder / "another machine's"))
    numerics, _ = choose_numerics(read_record(run), lab.plugins, run.latest_checkpoint())
    assert (numerics.dtype, numerics.dtype_reason) == ("bfloat16", running["dtype_reason"])


def test_losses_in_bfloat16_follow_those_in_float32(lab: Any) -> None:
    keys = {"model_hidden_size": 64, "model_num_heads": 4, "max_steps": 50, "learning_rate": 3e-3}
    corpus = lab.corpus(tokens=4000, ids=14)
    losses: dict[str, list[float]] = {}
    for dtype in ("float32", "bfloat16"):
        trainer = lab.trainer(lab.config(**keys), corpus, dtype=dtype)
        assert all(parameter.dtype == torch.float32 for parameter in trainer.model.parameters())
        losses[dtype] = [trainer.update().loss for _ in range(50)]
    assert losses["float32"][-1] < 0.9 * losses["float32"][0]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)
    assert losses["bfloat16"] != losses["float32"]
