"""A mixture of experts: who computes what, and what the router learns from."""

from __future__ import annotations

import copy
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nanoshell.errors import ConfigError
from nanoshell.model.config import ModelConfig, feed_forward_names
from nanoshell.model.mixer import FeedForward, Router
from nanoshell.model.moe import PROJECTIONS, MixtureOfExperts

from .mixtures import FORMS, HIDDEN, config_of, mixture_of, watch


def by_definition(weights: dict[str, Tensor], config: ModelConfig, token: Tensor) -> tuple[Tensor, set[int]]:
    """Return the output for one ``token`` (hidden,), and the experts that it was sent to."""

    def gated(name: str) -> Tensor:
        gate, up, down = (weights[f"{name}.{part}.weight"] for part in PROJECTIONS)
        return down @ (F.silu(gate @ token) * (up @ token))

    logits = weights["router.gate.weight"] @ token
    scores = logits.softmax(0) if config.router_score == "softmax" else 1 / (1 + (-logits).exp())
    bias = weights.get("router.bias", torch.zeros_like(scores))
    ranked = sorted(range(len(scores)), key=lambda expert: -float(scores[expert] + bias[expert]))
    chosen = ranked[: config.num_chosen_experts]
    total = sum(float(scores[expert]) for expert in chosen)
    norm = config.num_chosen_experts > 1 if config.router_norm is None else config.router_norm
    output = gated("shared_expert") if config.shared_expert_enabled else torch.zeros_like(token)
    for expert in chosen:
        weight = scores[expert] * config.router_scale / (total if norm else 1.0)
        output = output + weight * gated(f"experts.{expert}")
    return output, set(chosen)


@pytest.mark.parametrize("form", FORMS)
def test_it_is_its_definition_and_only_the_chosen_compute(form: str) -> None:
    config = config_of(**FORMS[form])
    for seed, shape in enumerate([(1, 1), (2, 9), (3, 4)]):
        mixture = mixture_of(seed, **FORMS[form])
        weights = dict(mixture.state_dict())
        seen = watch(mixture)
        x = torch.randn(*shape, HIDDEN, dtype=torch.float64)
        with torch.no_grad():
            output = mixture(x)
        sent = [0] * len(mixture.experts)
        for token, row in zip(x.flatten(0, 1), output.flatten(0, 1), strict=True):
            expected, chosen = by_definition(weights, config, token)
            torch.testing.assert_close(row, expected, rtol=1e-9, atol=1e-9)
            for expert in chosen:
                sent[expert] += 1
        assert seen == {expert: [tokens] for expert, tokens in enumerate(sent) if tokens}


def test_parameters_are_named_as_the_seed_familys() -> None:
    mixture = MixtureOfExperts(config_of(shared_expert_enabled=True, num_experts=2, router_bias=True))
    owners = ("experts.0", "experts.1", "shared_expert")
    expected = {f"{owner}.{part}.weight" for owner in owners for part in PROJECTIONS}
    assert set(mixture.state_dict()) == expected | {"router.gate.weight", "router.bias"}
    assert "router.bias" not in dict(mixture.named_parameters()), "it is not trained"
    assert isinstance(mixture, Router)
    assert isinstance(mixture, FeedForward)
    assert MixtureOfExperts.name_in_layer == "moe"


@pytest.mark.parametrize("score", ["softmax", "sigmoid"])
@pytest.mark.parametrize("chosen", [1, 2])
def test_the_router_learns_from_the_output(score: str, chosen: int) -> None:
    mixture = mixture_of(router_score=score, experts_per_tok=chosen)
    x = torch.randn(2, 5, HIDDEN, dtype=torch.float64)
    mixture(x).square().sum().backward()
    assert mixture.router.gate.weight.grad is not None
    assert float(mixture.router.gate.weight.grad.norm()) > 1e-3


@pytest.mark.parametrize("form", ["two of four", "one of two, shared", "sigmoid, bias, scale"])
def test_gradients_are_right(form: str) -> None:
    mixture = mixture_of(**FORMS[form])
    x = torch.randn(1, 4, HIDDEN, dtype=torch.float64, requires_grad=True)
    names, values = zip(*mixture.named_parameters(), strict=True)
    start = [value.detach().clone().requires_grad_() for value in values]

    def mix(x: Tensor, *parameters: Tensor) -> Any:
        return torch.func.functional_call(mixture, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(mix, (x, *start), fast_mode=True)


def test_an_expert_without_tokens_gets_no_gradient() -> None:
    mixture = mixture_of(router_bias=True)
    assert mixture.router.bias is not None
    mixture.router.bias.copy_(torch.tensor([9.0, 0.0, 9.0, -9.0]))
    mixture(torch.randn(2, 5, HIDDEN, dtype=torch.float64)).sum().backward()
    idle = [all(value.grad is None for value in expert.parameters()) for expert in mixture.experts]
    assert idle == [False, True, False, True]


# Balance


@pytest.mark.parametrize("form", FORMS)
def test_routing_is_told_once_and_in_training_alone(form: str) -> None:
    mixture = mixture_of(**FORMS[form])
    x = torch.randn(2, 9, HIDDEN, dtype=torch.float64)
    mixture(x)
    assert mixture.take_routing() is None
    mixture.train()
    assert mixture.take_routing() is None
    mixture(x)
    routing = mixture.take_routing()
    assert routing is not None
    assert mixture.take_routing() is None
    config = config_of(**FORMS[form])
    assert int(routing.load.sum()) == 18 * config.num_chosen_experts
    weights = dict(mixture.state_dict())
    chosen = [by_definition(weights, config, token)[1] for token in x.flatten(0, 1)]
    experts = range(len(mixture.experts))
    assert routing.load.tolist() == [sum(expert in sent for sent in chosen) for expert in experts]


@pytest.mark.parametrize("way", [copy.deepcopy, lambda whole: pickle.loads(pickle.dumps(whole))])
def test_a_mixture_is_copied_in_the_middle_of_training(way: Callable[[Any], Any]) -> None:
    mixture = mixture_of()
    mixture.prepare_step()
    mixture.train()
    x = torch.randn(2, 9, HIDDEN, dtype=torch.float64)
    expected = mixture(x)
    other = way(mixture)
    assert other.take_routing() is None
    assert torch.equal(other(x), expected)
    with torch.no_grad():
        for value in other.parameters():
            value.mul_(2.0)
        assert torch.equal(mixture(x), expected)
        assert not torch.equal(other.eval().step(x[:, :1]), mixture.eval().step(x[:, :1]))
    mixture.train()(x)
    routing = mixture.take_routing()
    assert routing is not None
    assert routing.balance_loss.requires_grad


def test_who_goes_to_evaluation_keeps_no_graph() -> None:
    mixture = mixture_of().train()
    x = torch.randn(1, 3, HIDDEN, dtype=torch.float64, requires_grad=True)
    inner = x * 2
    gone = weakref.ref(inner)
    mixture(inner)
    del inner
    mixture.eval()
    assert gone() is None
    assert mixture.take_routing() is None


@pytest.mark.parametrize("score", ["softmax", "sigmoid"])
@pytest.mark.parametrize("experts", [2, 5])
def test_the_balance_loss_is_1_where_even_and_all_experts_where_one_takes_all(
    experts: int, score: str
) -> None:
    mixture = mixture_of(num_experts=experts, experts_per_tok=1, router_score=score).train()
    x = torch.eye(HIDDEN, dtype=torch.float64)[None, : 2 * experts]
    with torch.no_grad():
        mixture.router.gate.weight.zero_()
        for token in range(2 * experts):
            mixture.router.gate.weight[token % experts, token] = 2.0
    mixture(x)
    even = mixture.take_routing()
    assert even is not None
    assert float(even.balance_loss.detach()) == pytest.approx(1.0, abs=1e-12)
    with torch.no_grad():
        mixture.router.gate.weight.fill_(-50.0)
        mixture.router.gate.weight[0] = 50.0
    mixture(x)
    skewed = mixture.take_routing()
    assert skewed is not None
    assert float(skewed.balance_loss.detach()) == pytest.approx(experts, rel=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_the_balance_loss_has_the_gradient_of_finite_differences(form: str) -> None:
    mixture = mixture_of(**FORMS[form]).train()
    x = torch.randn(2, 9, HIDDEN, dtype=torch.float64)

    def loss() -> Tensor:
        mixture(x)
        routing = mixture.take_routing()
        assert routing is not None
        return routing.balance_loss

    gate = mixture.router.gate.weight
    (gradient,) = torch.autograd.grad(loss(), gate)
    if mixture.router.num_chosen < len(mixture.experts):  # else the load is even, and the loss always 1
        assert float(gradient.norm()) > 1e-4
    direction = torch.randn_like(gate)
    step = 1e-6
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            gate += sign * step * direction
            values.append(float(loss()))
            gate -= sign * step * direction
    measured = (values[0] - values[1]) / (2 * step)
    assert measured == pytest.approx(float((gradient * direction).sum()), rel=1e-5, abs=1e-8)


def test_the_bias_moves_towards_the_idle_and_changes_no_weight() -> None:
    mixture = mixture_of(router_bias=True, experts_per_tok=1)
    assert mixture.router.bias is not None
    mixture.router.bias.zero_()
    mixture.balance(torch.tensor([6, 1, 3, 2]), 0.25)
    torch.testing.assert_close(mixture.router.bias, torch.tensor([-0.25, 0.25, 0.0, 0.25]).double())
    x = torch.randn(1, 6, HIDDEN, dtype=torch.float64)
    before, _, chosen = mixture.router(x[0])
    mixture.router.bias += 5.0
    scores, weights, _ = mixture.router(x[0])
    torch.testing.assert_close(scores, before)
    torch.testing.assert_close(weights, before.gather(1, chosen))
    plain = mixture_of()
    plain.balance(torch.tensor([6, 1, 3, 2]), 0.25)
    assert plain.router.bias is None


def test_scores_are_exact_under_autocast() -> None:
    mixture = mixture_of(num_experts=4).float()
    rows = torch.randn(50, HIDDEN)
    with torch.no_grad():
        expected, _, chosen = mixture.router(rows)
        with torch.autocast("cpu", torch.bfloat16):
            scores, _, same = mixture.router(rows)
            assert mixture(rows[None]).dtype == torch.bfloat16
    assert torch.equal(scores, expected)
    assert torch.equal(same, chosen)


# Config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_experts": None}, "num_experts is missing, and there are moe layers"),
        ({"num_experts": 0}, "num_experts is missing, and there are moe layers"),
        ({"experts_per_tok": 5}, "experts_per_tok 5 is more than num_experts 4"),
        ({"experts_per_tok": 1, "router_norm": True}, "makes its weight 1 whatever the router says"),
        ({"num_experts": 1, "router_norm": True}, "makes its weight 1 whatever the router says"),
        ({"router_score": "relu"}, "router_score"),
        ({"expert_size": 0}, "expert_size"),
    ],
)
def test_what_cannot_be_built_or_would_not_learn_is_told(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(**changes)


def test_defaults() -> None:
    assert config_of().num_chosen_experts == 2
    assert config_of(num_experts=1).num_chosen_experts == 1
    assert MixtureOfExperts(config_of()).router.norm
    assert not MixtureOfExperts(config_of(experts_per_tok=1)).router.norm
    assert not MixtureOfExperts(config_of(router_norm=False)).router.norm
    seed = {"kv_latent_dim": 4, "num_experts": 2, "feed_forward": None}
    assert feed_forward_names(config_of(**seed)) == ["moe", "moe"]
    assert feed_forward_names(config_of(**{**seed, "num_experts": 0})) == ["swiglu", "swiglu"]
