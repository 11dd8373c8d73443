"""Compiling the step beside the training: what is used, what is said, and that updates stay what they are."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from nanoshell.runs import control
from nanoshell.runs.directory import RunDirectory
from nanoshell.training import compiled_step
from nanoshell.training.compiled_step import MEASURED_STEPS, StepCompiler, compiled_parts, first_of_each
from nanoshell.training.numerics import Numerics
from nanoshell.training.opening import choose_numerics
from nanoshell.training.record import read_record
from nanoshell.training.worker import run_worker
from tests.unit.training.steering import await_event, beside

DONE = [sys.executable, "-c", "import sys; sys.stdin.read()"]
FAILS = [sys.executable, "-c", "import sys; sys.exit('it is too hot to compile')"]
HYBRID = {
    "model_num_layers": 3,
    "model_mamba_layers": [0],
    "model_mamba2_num_heads": 4,
    "model_mamba2_head_dim": 8,
    "model_mamba2_state_size": 8,
    "model_mamba2_chunk_size": 4,
    "model_num_experts": 2,
    "model_kv_latent_dim": 8,
    "model_d_rope": 4,
}
KINDS: dict[str, dict[str, Any]] = {
    "attention": {},
    "hybrid": HYBRID,
    "recomputed": {"gradient_checkpointing": True},
}


@pytest.fixture(autouse=True)
def _prepared(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """A compiler that is there, a cache of one's own, and nothing loaded that a test does not need."""
    monkeypatch.setenv("NANOSHELL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv(compiled_step.CACHE_VARIABLE, str(tmp_path / "inductor"))
    monkeypatch.setattr(compiled_step, "why_not", lambda device: "")
    monkeypatch.setattr(compiled_step, "_load_compiler", lambda: None)


def traced(parts: list[nn.Module]) -> list[Callable[..., Any]]:
    """Compile as far as it goes without a C++ compiler: graphs are captured, and run as they are."""
    return [torch.compile(part.forward, backend="aot_eager", dynamic=False) for part in parts]


def with_compiler(trainer: Any, command: list[str] = DONE, trial: Callable[[], None] | None = None) -> Any:
    shape = (trainer.config.trainer.batch_size, trainer.config.seq_len)
    trainer.compiler = StepCompiler(trainer.model, shape, trial or trainer._try, command, {})
    return trainer


def until_built(compiler: StepCompiler, seconds: float = 1.0) -> dict[str, Any] | None:
    """Tell ``compiler`` of updates until its process has ended, and return what it had to say."""
    while compiler._state in ("waiting", "building"):
        news = compiler.took(seconds)
        if compiler._build is not None:
            compiler._build._process.wait()
            compiler._build._loader.join()
    return news


def measured(compiler: StepCompiler, compiled: float, eager: float) -> dict[str, Any]:
    """Tell ``compiler`` of updates that took so long of either kind, and return its verdict."""
    for _ in range(4 * MEASURED_STEPS):
        news = compiler.took(compiled if compiler._turn else eager)
        if news is not None:
            return news
    raise AssertionError("no verdict")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("softmax", ["full", "sampled"])
def test_updates_with_compiled_layers_are_those_without(
    lab: Any, monkeypatch: pytest.MonkeyPatch, kind: str, softmax: str
) -> None:
    monkeypatch.setattr(compiled_step, "compile_parts", traced)
    config = lab.config(gradient_accumulation=2, sampled_negatives=4, **KINDS[kind])
    corpus = lab.corpus(ids=14)
    plain, other = (lab.trainer(config, corpus, softmax=softmax) for _ in range(2))
    with_compiler(other)
    losses = []
    for _ in range(3):
        losses.append(plain.update().loss)
        assert other.update().loss == losses[-1]
    assert until_built(other.compiler) is None
    assert other.compiler._turn
    assert measured(other.compiler, compiled=1.0, eager=2.0)["used"]
    for _ in range(4):
        losses.append(plain.update().loss)
        assert other.update().loss == pytest.approx(losses[-1], rel=1e-5)
    assert losses[-1] != losses[0]
    evaluations = [trainer.evaluate().loss for trainer in (plain, other)]
    assert evaluations[1] == pytest.approx(evaluations[0], rel=1e-5)
    assert not any("forward" in vars(part) for part in compiled_parts(other.model)), "it is for updates alone"


class BreaksBackward(torch.autograd.Function):
    """Returns its input, and has no gradient to give."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        raise RuntimeError("this backend\nhas a long story to tell")


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_a_trial_that_fails_leaves_no_trace(lab: Any, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def broken(parts: list[nn.Module]) -> list[Callable[..., Any]]:
        def fail(x: torch.Tensor, *_: Any) -> Any:
            torch.rand(3)
            if where == "backward":  # the head has its gradient then
                return BreaksBackward.apply(x)
            raise RuntimeError("this backend\nhas a long story to tell")

        return [fail for _ in parts]

    monkeypatch.setattr(compiled_step, "compile_parts", broken)
    config, corpus = lab.config(model_dropout=0.2), lab.corpus()
    plain = lab.trainer(config, corpus)
    losses = [plain.update().loss for _ in range(5)]
    other = with_compiler(lab.trainer(config, corpus))
    assert [other.update().loss for _ in range(2)] == losses[:2]
    news = until_built(other.compiler)
    assert news == {
        "used": False,
        "message": "not compiled: the compiler failed: RuntimeError: this backend",
    }
    assert not other.compiler._turn
    assert [other.update().loss for _ in range(3)] == losses[2:]
    assert other.compiler.took(1.0) is None, "it is said once"
    assert lab.same_bits(lab.weights(plain), lab.weights(other))


def test_a_trial_that_succeeds_leaves_no_trace_either(lab: Any) -> None:
    config, corpus = lab.config(model_dropout=0.2, **HYBRID), lab.corpus()
    plain = lab.trainer(config, corpus)
    facts = [lab.facts(plain.update()) for _ in range(4)]
    other = lab.trainer(config, corpus)
    other.update()
    other._try()
    assert all(parameter.grad is None for parameter in other.model.parameters())
    assert [lab.facts(other.update()) for _ in range(3)] == facts[1:]


def ready(lab: Any, monkeypatch: pytest.MonkeyPatch) -> StepCompiler:
    """Return a compiler whose layers wait to be measured."""
    monkeypatch.setattr(compiled_step, "compile_parts", lambda parts: [part.forward for part in parts])
    trainer = with_compiler(lab.trainer(lab.config(), lab.corpus()))
    trainer.update()
    assert until_built(trainer.compiler) is None
    compiler: StepCompiler = trainer.compiler
    return compiler


def test_kinds_of_steps_take_turns_and_the_faster_stays(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = ready(lab, monkeypatch)
    turns = []
    for _ in range(4):
        turns.append(compiler._turn)
        compiler.took(1.0)
    assert turns == [True, False, True, False]
    news = measured(compiler, compiled=0.5, eager=1.0)
    assert news["used"]
    assert news["speedup"] > 1
    assert "the step is compiled" in news["message"]
    assert {"seconds", "paused_seconds"} <= news.keys()
    assert compiler._turn
    with compiler.applied((3, 8)):
        assert not any("forward" in vars(part) for part in compiler._parts), "another shape is not compiled"


def test_what_is_no_faster_is_not_used(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = ready(lab, monkeypatch)
    news = measured(compiler, compiled=1.0, eager=1.0)
    assert not news["used"]
    assert news["message"] == "not compiled: it would be 1.00 times as fast (measured)"
    assert not compiler._turn


def test_a_build_that_fails_tells_its_last_words(lab: Any) -> None:
    trainer = with_compiler(lab.trainer(lab.config(), lab.corpus()), FAILS)
    news = until_built(trainer.compiler)
    assert news == {"used": False, "message": "not compiled: the compiler failed: it is too hot to compile"}
    assert not trainer.compiler._turn


def test_a_build_that_cannot_be_started_is_said(lab: Any, tmp_path: Any) -> None:
    trainer = with_compiler(lab.trainer(lab.config(), lab.corpus()), [str(tmp_path / "no such program")])
    news = trainer.compiler.took(1.0)
    assert "cannot be started" in news["message"]


def test_closing_ends_a_build(lab: Any) -> None:
    sleeps = [sys.executable, "-c", "import signal; signal.pause()"]
    trainer = with_compiler(lab.trainer(lab.config(), lab.corpus()), sleeps)
    assert trainer.compiler.took(1.0) is None
    process = trainer.compiler._build._process
    trainer.compiler.close()
    assert process.poll() == -9
    trainer.compiler.close()


def test_without_a_compiler_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert compiled_step.why_not("cpu").startswith("no C++ compiler was found (c++, g++, clang++")
    monkeypatch.setenv("CXX", sys.executable)
    assert not compiled_step.why_not("cpu")
    assert "'mps'" in compiled_step.why_not("mps")


def test_layers_that_choose_experts_have_their_mixers_compiled(lab: Any) -> None:
    model = lab.trainer(lab.config(**HYBRID), lab.corpus()).model
    first, *others = model.layers
    assert compiled_parts(model) == [first, *(layer.mixer_module for layer in others)]
    assert first_of_each("abacb") == [(0, "a"), (1, "b"), (3, "c")]


def test_a_run_without_a_compiler_says_so_once_and_trains(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_step, "why_not", lambda device: "there is none")
    run = lab.prepare(lab.request(lab.config(max_steps=4, compile=True), lab.corpus()))
    assert run_worker(run, lab.plugins) == 0
    (event,) = lab.events(run, "compile")
    assert (event["step"], event["used"]) == (1, False)
    assert event["message"] == "not compiled: there is none"
    document = json.loads((run.latest_checkpoint() / "trainer.json").read_text())
    assert document["numerics"]["compiled"] is True


def test_a_resume_compiles_where_the_run_did(lab: Any) -> None:
    for compiled in (False, True):
        config = lab.config(max_steps=2, compile=compiled)
        run = lab.prepare(lab.request(config, lab.corpus()))
        trainer = lab.trainer(config, lab.corpus())
        trainer.numerics = Numerics("cpu", "float32", "full", 1, compiled=not compiled)
        numerics, _ = choose_numerics(read_record(run), lab.plugins, lab.save(trainer, f"saved-{compiled}"))
        assert numerics.compiled is not compiled, "what the checkpoint was trained with is kept"
        assert choose_numerics(read_record(run), lab.plugins, None)[0].compiled is compiled
    old = {"device": "cpu", "dtype": "float32", "softmax": "full", "threads": 1}
    assert Numerics.from_dict(old, "an older checkpoint") == Numerics("cpu", "float32", "full", 1)


@pytest.mark.campaign
@pytest.mark.parametrize("keys", KINDS.values(), ids=KINDS)
def test_a_run_is_compiled_by_the_compiler_of_this_machine(
    lab: Any, plugins_dir: Any, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Any]
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("NANOSHELL_HOME", str(lab.folder / "home"))
    monkeypatch.delenv(compiled_step.CACHE_VARIABLE, raising=False)
    if compiled_step.why_not("cpu"):
        pytest.skip("there is no C++ compiler")
    config = lab.config(max_steps=10**6, compile=True, save_interval=0, **keys)
    run: RunDirectory = lab.prepare(lab.request(config, lab.corpus()))

    def stop() -> None:
        await_event(run, lambda event: event["type"] == "compile")
        control.request(run, "stop")

    with beside(stop):
        assert run_worker(run, lab.plugins) == 0
    (event,) = lab.events(run, "compile")
    assert event["speedup"] > 0, event["message"]
    assert run.latest_checkpoint() is not None
