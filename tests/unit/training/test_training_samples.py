"""Samples from the process that trains: kept, repeated by their seed, and not noticed by the training."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nanoshell.errors import ConfigError
from nanoshell.plugin.manager import Plugins, load_plugins
from nanoshell.runs.directory import RunDirectory
from nanoshell.training.samples import Sample, SampleRequest, SampleTaker, check_samples, configured
from nanoshell.training.state import seed_random
from nanoshell.training.trainer import Trainer
from nanoshell.training.worker import run_worker
from tests.unit.training.steering import answers, asking

SAMPLES = {"sample_interval": 2, "sample_prompts": ["ab", ""], "sample_tokens": 5}
HYBRID = {
    "model_num_layers": 3,
    "model_mamba_layers": [0],
    "model_mamba2_head_dim": 8,
    "model_mamba2_state_size": 8,
    "model_mamba2_chunk_size": 8,
    "model_feed_forward": ["none", "moe", "swiglu"],
    "model_num_experts": 4,
    "model_experts_per_tok": 2,
    "model_router_bias": True,
}


def take(trainer: Trainer, lab: Any, request: SampleRequest | None = None) -> list[Sample]:
    taker = SampleTaker(trainer, lab.tokenizer, lab.plugins.samplers)
    return list(taker.take(request or configured(trainer.config), lambda: False))


@pytest.mark.parametrize("shape", ["dense", "hybrid"])
@pytest.mark.parametrize("softmax", ["full", "sampled"])
def test_training_is_the_same_to_the_bit_with_and_without_samples(lab: Any, shape: str, softmax: str) -> None:
    keys = {"model_dropout": 0.2, "gradient_accumulation": 2, "sampled_negatives": 4}
    config = lab.config(**keys, **SAMPLES, **(HYBRID if shape == "hybrid" else {}))
    found = []
    for sampling in (False, True):
        trainer = lab.trainer(config, lab.corpus(ids=14), softmax=softmax)
        taker = SampleTaker(trainer, lab.tokenizer, lab.plugins.samplers)
        facts = []
        for _ in range(4):
            facts.append(lab.facts(trainer.update()))
            if sampling:
                texts = list(taker.take(configured(config), lambda: False))
                assert [sample.prompt for sample in texts] == ["ab", ""]
                assert all(module.training for module in trainer.model.modules())
        found.append((facts, lab.weights(trainer), lab.states(trainer), torch.rand(3)))
    (facts, weights, states, drawn), (again, same_weights, same_states, same_drawn) = found
    assert facts == again
    assert lab.same_bits(weights, same_weights)
    assert lab.same_bits(states, same_states)
    assert torch.equal(drawn, same_drawn)


def test_large_matrices_stay_as_they_lie(lab: Any) -> None:
    trainer = lab.trainer(lab.config(model_vocab_size=1 << 16, model_tie_embeddings=False), lab.corpus())
    before = {name: (weight.data_ptr(), weight.stride()) for name, weight in trainer.model.named_parameters()}
    assert trainer.model.head_weight.numel() >= 1 << 20, "as large as those that an engine lays out anew"
    take(trainer, lab)
    after = {name: (weight.data_ptr(), weight.stride()) for name, weight in trainer.model.named_parameters()}
    assert after == before


def test_a_sample_repeats_by_seed_step_and_index_and_follows_the_weights(lab: Any) -> None:
    config = lab.config(**{**SAMPLES, "sample_prompts": ["ab", "ab"], "sample_tokens": 6})
    first, second = (lab.trainer(config, lab.corpus()) for _ in range(2))
    first.update()
    second.update()
    assert take(first, lab) == take(second, lab)
    texts = [sample.text for sample in take(first, lab)]
    assert texts == [sample.text for sample in take(first, lab)], "the same, however often it is asked for"
    assert texts[0] != texts[1], "each prompt has a draw of its own"
    taker = SampleTaker(first, lab.tokenizer, lab.plugins.samplers)
    greedy = SampleRequest(["abc"], 4, {"greedy": 1})
    before = list(taker.take(greedy, lambda: False))
    with torch.no_grad(), first.full_vocabulary():
        for weight in first.model.parameters():
            weight += torch.randn(weight.shape, generator=torch.Generator().manual_seed(4))
    after = list(taker.take(greedy, lambda: False))
    reference = SampleTaker(first, lab.tokenizer, lab.plugins.samplers)
    assert after == list(reference.take(greedy, lambda: False)), "nothing of the old weights is kept"
    assert before != after


def test_samples_are_events_with_all_that_tells_of_them(lab: Any) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=5, save_interval=0, **SAMPLES), lab.corpus()))
    with asking(run, {3: [("sample", {}), ("sample", {"prompts": ["c"], "tokens": 2})]}):
        assert run_worker(run, lab.plugins) == 0
    samples = lab.events(run, "sample")
    assert [(event["step"], event["index"], event["prompt"]) for event in samples] == [
        *((2, 0, "ab"), (2, 1, ""), (3, 0, "ab"), (3, 1, ""), (3, 0, "c"), (4, 0, "ab"), (4, 1, ""))
    ]
    for event in samples:
        assert event["tokens"] == len(event["text"]), "a letter is a token"
        assert event["stop"] in ("length", "<|endoftext|>")
        assert event["tokens"] <= 5
    assert [event["samples"] for event in answers(run)] == [2, 1]


def test_a_sample_of_a_config_without_prompts_says_that_it_follows_upon_nothing(lab: Any) -> None:
    run = lab.prepare(lab.request(lab.config(max_steps=2, sample_tokens=2, save_interval=0), lab.corpus()))
    with asking(run, {1: [("sample", {}), ("sample", {"prompts": ["c"]})]}):
        assert run_worker(run, lab.plugins) == 0
    nothing, given = answers(run)
    assert nothing["message"] == "1 sample from nothing: the run's config names no sample_prompts"
    assert nothing["no_prompts"]
    assert given["message"] == "1 sample"
    assert "no_prompts" not in given


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"sample_settings": {"temprature": 0.5}}, "did you mean 'temperature'"),
        ({"sample_settings": {"temperature": -1}}, "temperature is -1"),
        ({"sample_prompts": ["a", "b" * 8]}, "9 tokens, and the model has 8 positions"),
    ],
)
def test_what_cannot_be_sampled_is_refused_before_a_run_is_made(
    lab: Any, keys: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        lab.prepare(lab.request(lab.config(**keys), lab.corpus()))
    assert not lab.runs_dir.exists()
    fine = lab.config(sample_prompts=["b" * 7], sample_settings={"temperature": 0.5})
    run = lab.prepare(lab.request(fine, lab.corpus(), max_steps=1))
    assert run_worker(run, lab.plugins) == 0
    with pytest.raises(ConfigError, match=words):
        lab.prepare(lab.request(None, None, resume=run.name, overrides=keys))


def test_a_prompt_that_fills_the_context_gives_what_fits(lab: Any) -> None:
    trainer = lab.trainer(lab.config(), lab.corpus())
    request = SampleRequest(["b" * 7], 5, {})
    check_samples(request, trainer.config, lab.tokenizer, lab.plugins.samplers)
    (sample,) = take(trainer, lab, request)
    assert sample.tokens <= 1


BROKEN = """
import random

import numpy as np
import torch

from nanoshell import hookimpl


@hookimpl
def register_samplers(register):
    def build(value):
        def step(logits, history):
            raise ZeroDivisionError("never mind")

        return step

    def build_drawing(value):
        def step(logits, history):
            return logits + random.random() + np.random.random() + torch.rand(())

        return step

    options = {"default": 0, "neutral": 0, "minimum": 0, "maximum": 1}
    register("broken", build, order=25, summary="fails", **options)
    register("drawing", build_drawing, order=26, summary="draws from the generators of all", **options)
"""


@pytest.fixture
def broken(tmp_path: Path, plugins_dir: Path) -> Plugins:
    """Plugins with a sampler that fails, and one that draws from the generators that training may use."""
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "letters.py").write_text((plugins_dir / "letters.py").read_text())
    (folder / "broken.py").write_text(BROKEN)
    return load_plugins(plugins_dir=folder, only=["letters", "broken"], strict=True)


def test_a_sampler_that_fails_ends_no_run(
    lab: Any, broken: Plugins, capsys: pytest.CaptureFixture[str]
) -> None:
    config = lab.config(max_steps=4, save_interval=0, sample_interval=2, sample_settings={"broken": 1})
    lab.plugins = broken
    run: RunDirectory = lab.prepare(lab.request(config, lab.corpus()))
    with asking(run, {3: [("sample", {})]}):
        assert run_worker(run, broken) == 0
    assert "no sample after step 2: sampling failed: ZeroDivisionError" in capsys.readouterr().err
    (told,) = answers(run)
    assert "ZeroDivisionError: never mind" in told["message"]
    assert run.status().state == "finished"


def test_a_sampler_that_draws_from_the_generators_of_all_disturbs_nobody(lab: Any, broken: Plugins) -> None:
    trainer = lab.trainer(lab.config(model_dropout=0.2), lab.corpus())

    def drawn() -> tuple[float, float, float]:
        return float(torch.rand(())), random.random(), float(np.random.random())

    seed_random(7)
    wanted = drawn()
    seed_random(7)
    taker = SampleTaker(trainer, lab.tokenizer, broken.samplers)
    assert list(taker.take(SampleRequest(["a"], 3, {"drawing": 1}), lambda: False))
    assert drawn() == wanted
