"""Updates: accumulation, clipping, divergence; evaluation; and going on exactly where one stopped."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from nanoshell.data.loader import IGNORED
from nanoshell.errors import CheckpointError
from nanoshell.training.config import RunConfig


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


CASES = {
    "plain": {},
    "accumulation": {"batch_size": 3, "gradient_accumulation": 3},
    "dropout": {"model_dropout": 0.2},
    "sampled": {"softmax": "sampled", "sampled_negatives": 3},
    "tied and sampled": {"softmax": "sampled", "sampled_negatives": 3, "model_tie_embeddings": True},
    "held out": {"val_fraction": 0.2, "schedule": "trapezoid", "shuffle": "documents"},
    "momentum": {"optimizer": "sgd"},
    "bfloat16": {"dtype": "bfloat16"},
    "float16": {"dtype": "float16"},
}


@pytest.mark.parametrize("keys", CASES.values(), ids=CASES.keys())
def test_going_on_gives_the_same_bits_as_never_having_stopped(lab: Any, keys: dict[str, Any]) -> None:
    lab.resumed(lab.config(**keys))


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
