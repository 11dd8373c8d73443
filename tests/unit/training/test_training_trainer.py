"""Updates: accumulation, clipping, divergence; evaluation; and going on exactly where one stopped."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nanoshell.data.loader import IGNORED
from nanoshell.errors import CheckpointError, TokenizerError
from nanoshell.model.mixer import Router
from nanoshell.model.weights import read_tensors, write_tensors
from nanoshell.training.config import RunConfig
from nanoshell.training.evaluation import ByteCounter, Evaluation
from nanoshell.training.trainer import Trainer


def test_accumulation_equals_one_large_batch(lab: Any) -> None:
    corpus = lab.corpus()
    whole = lab.trainer(lab.config(batch_size=8, optimizer="sgd"), corpus)
    parts = lab.trainer(lab.config(batch_size=2, gradient_accumulation=4, optimizer="sgd"), corpus)
    for trainer in (whole, parts):
        trainer.model.double()
    for _ in range(3):
        one, many = whole.update(), parts.update()
        assert one.loss == pytest.approx(many.loss, rel=1e-6)
        assert one.grad_norm == pytest.approx(many.grad_norm, rel=1e-9)
        assert (one.tokens, one.epoch) == (many.tokens, many.epoch)
    for name, tensor in lab.weights(whole).items():
        torch.testing.assert_close(tensor, lab.weights(parts)[name], rtol=1e-9, atol=1e-12)


def test_targets_are_counted_over_all_micro_batches(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One micro-batch with many ignored targets, one with none: a mean of means would be wrong."""
    trainer = lab.trainer(lab.config(batch_size=2, gradient_accumulation=2), lab.corpus())
    trainer.model.double()
    batches = [trainer.loader.next_batch() for _ in range(2)]
    batches[0].targets[:, 2:] = IGNORED
    targets = [torch.from_numpy(batch.targets) for batch in batches]
    logits = torch.cat([trainer.model(torch.from_numpy(batch.inputs)) for batch in batches]).flatten(0, 1)
    expected = F.cross_entropy(logits, torch.cat(targets).flatten(), ignore_index=IGNORED)
    feed = iter(batches)
    monkeypatch.setattr(trainer.loader, "next_batch", lambda: next(feed))
    assert trainer.update().loss == pytest.approx(float(expected.detach()), rel=1e-6)


def test_the_gradient_of_this_step_is_clipped(lab: Any) -> None:
    free = lab.trainer(lab.config(max_grad_norm=0, optimizer="sgd", schedule="constant"), lab.corpus())
    tight = lab.trainer(lab.config(max_grad_norm=0.01, optimizer="sgd", schedule="constant"), lab.corpus())
    before = lab.weights(free)
    norms = free.update().grad_norm, tight.update().grad_norm
    assert norms[0] == norms[1] > 0.01
    for name, start in before.items():
        moved = lab.weights(tight)[name] - start
        torch.testing.assert_close(
            moved, (lab.weights(free)[name] - start) * (0.01 / norms[0]), atol=1e-7, rtol=1e-2
        )


def test_the_rate_follows_the_schedule(lab: Any) -> None:
    trainer = lab.trainer(lab.config(max_steps=10, warmup_steps=4, schedule="linear"), lab.corpus())
    rates = [trainer.update().learning_rate for _ in range(10)]
    assert rates == [trainer.schedule.at(step) for step in range(1, 11)]
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(rates[-1])


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_an_update_that_is_not_finite_changes_nothing(lab: Any, what: str) -> None:
    trainer = lab.trainer(lab.config(), lab.corpus())
    trainer.update()
    if what == "loss":
        with torch.no_grad():
            trainer.model.norm.weight[0] = math.nan
    else:
        trainer.model.norm.weight.register_hook(lambda gradient: gradient * math.inf)
    before = lab.weights(trainer)
    optimizer = {key: value.clone() for key, value in lab.states(trainer).items()}
    result = trainer.update()
    assert result.diverged
    assert math.isfinite(result.loss) == (what == "gradient")
    assert trainer.step == 1
    after = lab.weights(trainer)
    assert all(torch.equal(after[name], value) or name == "norm.weight" for name, value in before.items())
    assert lab.same_bits(lab.states(trainer), optimizer)


@pytest.mark.parametrize("softmax", ["full", "sampled"])
def test_evaluation_is_the_exact_loss_of_what_is_held_out(lab: Any, softmax: str) -> None:
    trainer = lab.trainer(lab.config(val_fraction=0.3, model_dropout=0.5), lab.corpus(), softmax=softmax)
    trainer.update()
    found = trainer.evaluate()
    assert found.split == "validation"
    assert found.tokens == trainer.loader.num_val_tokens - 1
    total = 0.0
    trainer.model.eval()
    with trainer.full_vocabulary(), torch.no_grad():
        for batch in trainer.loader.validation_batches():
            logits = trainer.model(torch.from_numpy(batch.inputs)).flatten(0, 1)
            targets = torch.from_numpy(batch.targets).flatten()
            total += float(F.cross_entropy(logits, targets, reduction="sum"))
    assert found.loss == pytest.approx(total / found.tokens, rel=1e-5)
    assert found.perplexity == pytest.approx(math.exp(found.loss))


def test_bits_per_byte_count_the_bytes_of_the_text_alone() -> None:
    class Syllables:
        vocab_size = 9
        special_tokens = MappingProxyType({"<|endoftext|>": 0})

        def token_bytes(self, token_id: int) -> bytes:
            if token_id == 8:
                raise TokenizerError("no token")
            return b"x" * token_id

    counter = ByteCounter(Syllables())
    assert counter.count(np.array([[0, 3, IGNORED], [7, 3, IGNORED]])) == 13
    assert counter.count(np.array([IGNORED])) == 0
    found = Evaluation(loss=1.5, tokens=4, split="validation", text_bytes=13)
    assert found.bits_per_byte == pytest.approx(1.5 * 4 / math.log(2) / 13)
    assert counter.count(np.array([8])) is None
    assert Evaluation(1.5, 4, "validation").bits_per_byte is None
    assert Evaluation(1.5, 4, "validation", 0).bits_per_byte is None


def test_evaluating_and_saving_disturb_nothing(lab: Any) -> None:
    config = lab.config(model_dropout=0.3, eval_tokens=10_000)
    quiet = lab.trainer(config, lab.corpus(), softmax="sampled")
    for _ in range(4):
        quiet.update()
    disturbed = lab.trainer(config, lab.corpus(), softmax="sampled")
    for step in range(4):
        disturbed.update()
        found = disturbed.evaluate()
        assert found.split == "train"
        assert disturbed.evaluate(lambda: True) is None
        lab.save(disturbed, f"saved-{step}")
    assert disturbed.model.training
    assert lab.same_bits(lab.weights(quiet), lab.weights(disturbed))


HYBRID = {
    "model_num_layers": 3,
    "model_mamba_layers": [0],
    "model_mamba2_head_dim": 8,
    "model_mamba2_state_size": 8,
    "model_mamba2_chunk_size": 4,
    "model_feed_forward": ["none", "moe", "swiglu"],
    "model_num_experts": 4,
    "model_experts_per_tok": 2,
    "model_dropout": 0.2,
}


@pytest.mark.parametrize("keys", [{"model_dropout": 0.2}, HYBRID], ids=["dense", "hybrid"])
def test_checkpointing_gradients_changes_no_bit(lab: Any, keys: dict[str, Any]) -> None:
    def train(on: bool) -> tuple[Trainer, list[dict[str, Any]]]:
        config = lab.config(**keys, gradient_accumulation=2, gradient_checkpointing=on)
        trainer = lab.trainer(config, lab.corpus())
        return trainer, [lab.facts(trainer.update()) for _ in range(3)]

    (lean, told), (plain, expected) = train(True), train(False)
    assert told == expected
    assert lab.same_bits(lab.weights(lean), lab.weights(plain))
    routers = [layer.feed_forward_module for layer in lean.model.layers]
    assert all(router.take_routing() is None for router in routers if isinstance(router, Router))


def test_checkpointing_gradients_keeps_little_between_the_passes(lab: Any) -> None:
    def kept(on: bool) -> int:
        config = lab.config(model_num_layers=8, gradient_checkpointing=on)
        trainer = lab.trainer(config, lab.corpus())
        sizes = {}

        def note(tensor: Tensor) -> Tensor:
            sizes[tensor.data_ptr()] = tensor.nbytes
            return tensor

        weights = {parameter.data_ptr() for parameter in trainer.model.parameters()}
        ids = torch.from_numpy(trainer.loader.next_batch().inputs)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            alive = trainer.model.hidden(ids)
        assert alive.requires_grad
        return sum(size for pointer, size in sizes.items() if pointer not in weights)

    assert kept(True) < kept(False) / 4


CASES = {
    "plain": {},
    "accumulation": {"batch_size": 3, "gradient_accumulation": 3},
    "dropout": {"model_dropout": 0.2},
    "sampled": {"softmax": "sampled", "sampled_negatives": 3},
    "tied and sampled": {"softmax": "sampled", "sampled_negatives": 3, "model_tie_embeddings": True},
    "held out": {"val_fraction": 0.2, "schedule": "trapezoid", "shuffle": "documents"},
    "momentum": {"optimizer": "sgd"},
    "muon": {"optimizer": "muon", "gradient_accumulation": 2},
    "others' generators": {"optimizer": "noisy"},
    "hybrid": {**HYBRID, "gradient_checkpointing": True, "optimizer": "muon"},
    "bfloat16": {"dtype": "bfloat16"},
    "float16": {"dtype": "float16"},
}


@pytest.mark.parametrize("keys", CASES.values(), ids=CASES.keys())
def test_going_on_gives_the_same_bits_as_never_having_stopped(lab: Any, keys: dict[str, Any]) -> None:
    lab.resumed(lab.config(**keys))


def test_what_was_changed_on_the_way_goes_on_too(lab: Any) -> None:
    config = lab.config(max_steps=8, softmax="sampled", sampled_negatives=3, model_dropout=0.1)

    def train(trainer: Trainer, steps: int) -> list[dict[str, Any]]:
        told = []
        for _ in range(steps):
            if trainer.step == 3:
                trainer.change({"learning_rate": 2e-3, "batch_size": 3, "gradient_accumulation": 2})
                trainer.change({"schedule": "linear", "weight_decay": 0.3, "max_grad_norm": 0.5})
            if trainer.step == 4:
                trainer.extend(20)
            told.append(lab.facts(trainer.update()))
        return told

    straight = lab.trainer(config, lab.corpus(ids=14), softmax="sampled")
    expected = train(straight, 14)
    stopped = lab.trainer(config, lab.corpus(ids=14), softmax="sampled")
    train(stopped, 6)
    saved = lab.save(stopped)
    resumed = lab.trainer(config, lab.corpus(ids=14), softmax="sampled")
    resumed.restore(saved)
    assert train(resumed, 8) == expected[6:]
    assert lab.same_bits(lab.weights(resumed), lab.weights(straight))
    assert lab.same_bits(lab.states(resumed), lab.states(straight))


def _other_width(config: RunConfig) -> RunConfig:
    return config.model_copy(update={"model": config.model.model_copy(update={"hidden_size": 32})})


def test_another_shape_another_optimizer_and_damage_are_told(lab: Any) -> None:
    config = lab.config()
    trainer = lab.trainer(config, lab.corpus())
    trainer.update()
    saved: Path = lab.save(trainer)
    with pytest.raises(CheckpointError, match=r"tensor '.*' of .* has shape \[\d+, 16\]"):
        lab.trainer(_other_width(config), lab.corpus()).restore(saved)
    with pytest.raises(CheckpointError, match="another optimizer or of another model"):
        lab.trainer(lab.config(optimizer="sgd"), lab.corpus()).restore(saved)
    whole = (saved / "trainer.safetensors").read_bytes()
    tensors = read_tensors(saved / "trainer.safetensors")
    for name, kept in tensors.items():
        if name.startswith("random."):
            spoilt = {**tensors, name: torch.zeros_like(kept)}
            write_tensors(saved / "trainer.safetensors", spoilt, {"format": "pt"})
            with pytest.raises(CheckpointError, match="random generators make no sense"):
                lab.trainer(config, lab.corpus()).restore(saved)
    (saved / "trainer.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"trainer\.safetensors is damaged or truncated"):
        lab.trainer(config, lab.corpus()).restore(saved)
    document = json.loads((saved / "trainer.json").read_text())
    (saved / "trainer.json").write_text(json.dumps({**document, "format": 99}))
    with pytest.raises(CheckpointError, match="format 99"):
        lab.trainer(config, lab.corpus()).restore(saved)
    (saved / "trainer.json").unlink()
    with pytest.raises(CheckpointError, match="holds weights alone"):
        lab.trainer(config, lab.corpus()).restore(saved)


def test_a_small_model_learns(lab: Any) -> None:
    trainer = lab.trainer(lab.config(max_steps=80, learning_rate=2e-2), lab.corpus(tokens=60, ids=8))
    losses = [trainer.update().loss for _ in range(80)]
    assert losses[0] > 2.5
    assert losses[-1] < 1.0
