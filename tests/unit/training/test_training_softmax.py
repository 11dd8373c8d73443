"""Sampled softmax: the full loss where all is sampled, unbiased where not, and rows outside untouched."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nanoshell.data.tokens import used_ids
from nanoshell.model.transformer import Transformer, build_model
from nanoshell.training.muon import muon
from nanoshell.training.numerics import choose_softmax
from nanoshell.training.optimizer import VOCABULARY_PARAMETERS, adamw
from nanoshell.training.sampled_softmax import CompactVocabulary

IDS = torch.tensor([[1, 4, 4, 9, 2], [7, 1, 9, 9, 0]])
USED = np.array([0, 1, 2, 4, 7, 9])


def model_of(lab: Any, tied: bool, **keys: Any) -> Transformer:
    config = lab.config(model_tie_embeddings=tied, **keys).model
    return build_model(config, lab.plugins.mixers, seed=3).double()


def no_optimizer(model: Transformer) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


def sampled(model: Transformer, vocabulary: CompactVocabulary) -> Tensor:
    slots = vocabulary.slots(IDS)
    return vocabulary.loss(model.hidden(slots[:, :-1]), slots[:, 1:])[0]


def exact(model: Transformer) -> Tensor:
    return F.cross_entropy(model(IDS[:, :-1]).flatten(0, 1), IDS[:, 1:].flatten(), reduction="sum")


@pytest.mark.parametrize(("tied", "cap"), [(True, None), (False, None), (False, 0.3)])
def test_with_all_others_sampled_it_is_the_full_loss_with_its_gradients(
    lab: Any, tied: bool, cap: float | None
) -> None:
    model = model_of(lab, tied, model_logit_soft_cap=cap)
    expected = exact(model)
    expected.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    vocabulary = CompactVocabulary(model, USED, 1000, seed=1)
    assert vocabulary.num_rows == 32
    vocabulary.draw(1, no_optimizer(model))
    loss = sampled(model, vocabulary)
    torch.testing.assert_close(loss, expected, rtol=1e-13, atol=1e-13)
    model.zero_grad()
    loss.backward()
    order = torch.cat([torch.from_numpy(USED), vocabulary._sampled])
    for name, parameter in model.named_parameters():
        reference = gradients[name]
        assert reference is not None
        if name in VOCABULARY_PARAMETERS:
            reference = reference[order]
        torch.testing.assert_close(parameter.grad, reference, rtol=1e-11, atol=1e-13)


def test_the_estimate_of_the_normaliser_has_no_bias(lab: Any) -> None:
    model = model_of(lab, True)
    with torch.no_grad():
        hidden = model.hidden(IDS[:, :-1])
        normaliser = (hidden @ model.head_weight.t()).exp().sum(-1)
        vocabulary = CompactVocabulary(model, USED, 5, seed=1)
        optimizer = no_optimizer(model)
        estimates = []
        for step in range(1500):
            vocabulary.draw(step, optimizer)
            scores = hidden @ model.head_weight.t() + vocabulary._bias
            estimates.append(scores.exp().sum(-1))
    mean, spread = torch.stack(estimates).mean(0), torch.stack(estimates).std(0)
    assert bool((spread > 1e-3).all())
    assert bool(((mean - normaliser).abs() < 4 * spread / 1500**0.5).all())


class Drawing:
    """A random generator that draws what it was told."""

    def __init__(self, chosen: tuple[int, ...]) -> None:
        self.chosen = np.array(chosen)

    def choice(self, population: int, size: int, *, replace: bool, shuffle: bool) -> Any:
        assert max(self.chosen) < population
        assert (len(self.chosen), replace) == (size, False)
        return self.chosen


def test_over_all_samples_the_estimate_is_the_normaliser_exactly(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(lab, False)
    used = np.arange(24)  # so that 8 others remain, of which 56 samples of 3 can be drawn
    vocabulary = CompactVocabulary(model, used, 3, seed=1)
    with torch.no_grad(), vocabulary.full():
        hidden = model.hidden(IDS)
        normaliser = (hidden @ model.head_weight.t()).exp().sum(-1)
    optimizer, estimates = no_optimizer(model), []
    for step, chosen in enumerate(itertools.combinations(range(8), 3)):
        monkeypatch.setattr(np.random, "default_rng", lambda seed, chosen=chosen: Drawing(chosen))
        vocabulary.draw(step, optimizer)
        with torch.no_grad():
            loss, count = vocabulary.loss(hidden[:1, :1], torch.zeros(1, 1, dtype=torch.int64))
            own = hidden[0, 0] @ model.head_weight[0]
        assert count == 1
        estimates.append((loss + own).exp())
    assert len(estimates) == 56
    assert torch.stack(estimates).std() > 1e-3
    torch.testing.assert_close(torch.stack(estimates).mean(), normaliser[0, 0], rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", [adamw, muon])
@pytest.mark.parametrize("tied", [True, False])
def test_an_update_touches_used_and_sampled_rows_alone(lab: Any, tied: bool, kind: Any) -> None:
    model = model_of(lab, tied)
    before = {
        name: p.detach().clone() for name, p in model.named_parameters() if name in VOCABULARY_PARAMETERS
    }
    vocabulary = CompactVocabulary(model, USED, 4, seed=1)
    optimizer = kind(model, lab.config(learning_rate=0.1, weight_decay=0.5).trainer)
    touched = set(USED.tolist())
    for step in range(1, 4):
        vocabulary.draw(step, optimizer)
        touched |= set(vocabulary._sampled.tolist())
        sampled(model, vocabulary).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert 10 < len(touched) < 32
    with vocabulary.full():
        after = {name: p.detach().clone() for name, p in model.named_parameters() if name in before}
    rows = torch.tensor(sorted(touched))
    others = torch.tensor(sorted(set(range(32)) - touched))
    for name, matrix in after.items():
        assert torch.equal(matrix[others], before[name][others])
        changed = (matrix[rows] != before[name][rows]).any(-1)
        assert bool(changed.all()) == (name == "lm_head.weight" or tied)


def test_a_drawn_row_begins_without_state_and_used_rows_keep_theirs(lab: Any) -> None:
    model = model_of(lab, True)
    vocabulary = CompactVocabulary(model, USED, 4, seed=1)
    optimizer = adamw(model, lab.config().trainer)
    vocabulary.draw(1, optimizer)
    sampled(model, vocabulary).backward()
    optimizer.step()
    state = optimizer.state[model.embed_tokens.weight]
    kept = state["exp_avg"][:6].clone()
    assert bool(kept.any())
    assert bool(state["exp_avg"][6:].any())
    vocabulary.draw(2, optimizer)
    assert torch.equal(state["exp_avg"][:6], kept)
    assert not state["exp_avg"][6:].any()
    assert not state["exp_avg_sq"][6:].any()


def test_the_sample_follows_from_seed_and_step_and_is_never_a_used_id(lab: Any) -> None:
    drawn = []
    for seed in (1, 1, 2):
        model = model_of(lab, True)
        vocabulary = CompactVocabulary(model, USED, 8, seed)
        samples = []
        for step in (5, 6):
            vocabulary.draw(step, no_optimizer(model))
            ids = vocabulary._sampled.tolist()
            assert len(set(ids)) == 8
            assert not set(ids) & set(USED.tolist())
            samples.append(ids)
        drawn.append(samples)
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert drawn[0][0] != drawn[0][1]


def test_a_corpus_that_uses_every_id_needs_no_sample(lab: Any) -> None:
    model = model_of(lab, True)
    expected = exact(model)
    vocabulary = CompactVocabulary(model, np.arange(32), 8, seed=1)
    vocabulary.draw(1, no_optimizer(model))
    torch.testing.assert_close(sampled(model, vocabulary), expected)


def test_states_have_rows_for_used_and_sampled_ids_alone(lab: Any) -> None:
    config = lab.config(sampled_negatives=3)
    trainer = lab.trainer(config, lab.corpus(tokens=96, ids=6), softmax="sampled")
    trainer.update()
    shapes = {tuple(state.shape) for state in lab.states(trainer).values()}
    assert (10, 16) in shapes  # 7 used, 3 sampled
    assert not any(32 in shape[:1] for shape in shapes)


def test_evaluation_is_exact_and_leaves_training_as_it_was(lab: Any) -> None:
    config = lab.config(sampled_negatives=3, val_fraction=0.2)
    corpus = lab.corpus(tokens=600, ids=6)
    one, other = (lab.trainer(config, corpus, softmax="sampled") for _ in range(2))
    for _ in range(3):
        one.update()
        other.update()
    found = one.evaluate()
    total, count = 0.0, 0
    with one.full_vocabulary(), torch.no_grad():
        one.model.eval()
        assert one.model.head_weight.shape[0] == 32
        for batch in one.loader.validation_batches():
            logits = one.model(torch.from_numpy(batch.inputs)).double()
            targets = torch.from_numpy(batch.targets)
            total += float(F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum"))
            count += targets.numel()
        one.model.train()
    assert found.loss == pytest.approx(total / count, rel=1e-5)
    assert lab.facts(one.update()) == lab.facts(other.update())


def test_training_with_it_learns_what_full_softmax_learns(lab: Any) -> None:
    corpus = lab.corpus(tokens=96, ids=6)
    losses = {}
    for softmax in ("full", "sampled"):
        config = lab.config(max_steps=60, learning_rate=2e-2, sampled_negatives=6)
        trainer = lab.trainer(config, corpus, softmax=softmax)
        for _ in range(60):
            trainer.update()
        losses[softmax] = trainer.evaluate().loss
    assert len(used_ids(corpus)) == 7
    assert losses["sampled"] < 1.15 * losses["full"] < 2.5


@pytest.mark.parametrize(
    ("asked", "vocabulary", "used", "chosen"),
    [
        ("auto", 100_331, 1_700, "sampled"),
        ("auto", 100_331, 60_000, "full"),
        ("auto", 1_000, 100, "full"),
        ("sampled", 1_000, 900, "sampled"),
        ("full", 100_331, 10, "full"),
    ],
)
def test_auto_samples_where_it_pays(asked: str, vocabulary: int, used: int, chosen: str) -> None:
    assert choose_softmax(asked, vocabulary, used, 1024) == chosen
