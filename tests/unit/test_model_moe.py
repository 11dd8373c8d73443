"""A mixture of experts: who computes what, what the router learns from, and steps of static shapes."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor
from torch.nn import functional as F

from nanoshell.errors import ConfigError
from nanoshell.model import moe
from nanoshell.model.config import ModelConfig, feed_forward_names
from nanoshell.model.mixer import FeedForward, Router
from nanoshell.model.moe import PROJECTIONS, MixtureOfExperts, _of_rows
from nanoshell.model.transformer import Transformer, build_model
from nanoshell.model.weights import load_model, save_model
from nanoshell.plugin.manager import load_plugins
from nanoshell.tokenizer.bpe import cl100k_base

HIDDEN = 12
FORMS: dict[str, dict[str, Any]] = {
    "two of four": {},
    "one of two, shared": {"num_experts": 2, "experts_per_tok": 1, "shared_expert_enabled": True},
    "all of three": {"num_experts": 3, "experts_per_tok": 3},
    "one alone": {"num_experts": 1},
    "sigmoid, bias, scale": {
        "num_experts": 6,
        "experts_per_tok": 3,
        "router_score": "sigmoid",
        "router_bias": True,
        "router_scale": 2.5,
    },
    "weights as they are": {"num_experts": 5, "router_norm": False},
    "other sizes": {"expert_size": 7, "shared_expert_enabled": True, "shared_expert_size": 9},
}


def config_of(**changes: Any) -> ModelConfig:
    shape = {
        "hidden_size": HIDDEN,
        "intermediate_size": 16,
        "num_layers": 2,
        "num_heads": 2,
        "vocab_size": 40,
        "max_seq_len": 16,
        "num_experts": 4,
        "feed_forward": "moe",
    }
    return ModelConfig.from_dict({**shape, **changes})


def mixture_of(seed: int = 0, **changes: Any) -> MixtureOfExperts:
    """Return a mixture in float64 whose scores are far from even, in evaluation mode."""
    torch.manual_seed(seed)
    mixture = MixtureOfExperts(config_of(**changes)).double()
    with torch.no_grad():
        for parameter in mixture.parameters():
            parameter.normal_(std=0.5)
        if mixture.router.bias is not None:
            mixture.router.bias.normal_(std=0.2)
    return mixture.eval()


def model_of(seed: int = 0, **changes: Any) -> Transformer:
    return build_model(config_of(**changes), load_plugins(safe=True).mixers, seed=seed).double()


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


def watch(mixture: MixtureOfExperts) -> dict[int, list[int]]:
    """Return where the tokens of every call of an expert will be noted, by expert."""
    seen: dict[int, list[int]] = {}
    for index, expert in enumerate(mixture.experts):
        expert.register_forward_hook(
            lambda module, inputs, output, index=index: seen.setdefault(index, []).append(
                inputs[0].shape[:-1].numel()
            )
        )
    return seen


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


# Steps


@given(st.sampled_from(sorted(FORMS)), st.integers(1, 6), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_a_step_of_static_shapes_equals_the_forward_pass(form: str, batch: int, seed: int) -> None:
    mixture = mixture_of(seed, **FORMS[form])
    x = torch.randn(batch, 1, HIDDEN, dtype=torch.float64)
    seen = watch(mixture)
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        expected = mixture(x)
        torch.testing.assert_close(mixture.step(x), expected, rtol=1e-12, atol=1e-12)
        called = {expert: len(calls) for expert, calls in seen.items()}
        patch.setattr(torch.compiler, "is_compiling", lambda: True)
        unprepared = mixture.step(x)
        mixture.prepare_step()
        prepared = mixture.step(x)
    assert called == {expert: len(calls) for expert, calls in seen.items()}, "no shape depends on the choice"
    torch.testing.assert_close(unprepared, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(prepared, expected, rtol=1e-9, atol=1e-9)


def test_weights_are_indexed_where_that_reads_fewer_than_all(monkeypatch: pytest.MonkeyPatch) -> None:
    mixture = mixture_of(num_experts=6, experts_per_tok=2)
    mixture.prepare_step()
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    indexed: list[int] = []

    def noted(stack: Tensor, expert: Tensor, rows: Tensor) -> Tensor:
        indexed.append(len(expert))
        return _of_rows(stack, expert, rows)

    monkeypatch.setattr(moe, "_of_rows", noted)
    for batch, expected in ((1, [1] * 6), (2, [2] * 6), (3, [])):
        indexed.clear()
        mixture.step(torch.randn(batch, 1, HIDDEN, dtype=torch.float64))
        assert indexed == expected, "three projections for each of two experts, or none"


def test_rows_times_their_matrices_are_the_same_compiled_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    stack, rows = torch.randn(5, 7, 3).double(), torch.randn(4, 3).double()
    expert = torch.tensor([4, 0, 4, 2])
    expected = torch.stack([stack[index] @ row for index, row in zip(expert, rows, strict=True)])
    torch.testing.assert_close(_of_rows(stack, expert, rows), expected)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(_of_rows(stack, expert, rows), expected)


def test_steps_trace_whole_and_follow_other_choices() -> None:
    """With latent attention, whose step is traced here too."""
    latent = {"kv_latent_dim": 8, "q_latent_dim": 8, "mla_rope_query": "latent", "mla_latent_norm": True}
    model = model_of(**FORMS["sigmoid, bias, scale"], **latent).eval()
    ids = torch.randint(40, (2, 8), generator=torch.Generator().manual_seed(4))
    cache = model.new_cache(2)
    graphs: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    step = torch.compile(model.step, backend=keep, fullgraph=True)
    with torch.no_grad():
        full = model(ids)
        for at in range(8):
            logits = step(ids[:, at], cache, torch.tensor([at, at]))
            torch.testing.assert_close(logits, full[:, at], rtol=1e-9, atol=1e-9)
    assert len(graphs) == 1
    assert "autocast" not in graphs[0].code, "a cache of compiled graphs refuses it"
    assert "stack" not in re.sub(r"\w*_stacks\w*", "", graphs[0].code), "the weights lie behind one another"


def experts_of(model: Transformer) -> MixtureOfExperts:
    mixture: Any = model.layers[0].feed_forward_module
    assert isinstance(mixture, MixtureOfExperts)
    return mixture


def test_experts_laid_out_for_steps_are_one_copy_that_goes_on_training() -> None:
    model = model_of()
    model.new_cache(1)
    mixture = experts_of(model)
    places = [weight.data_ptr() for name in PROJECTIONS for weight in mixture._weights(name)]
    model.new_cache(1)
    assert places == [weight.data_ptr() for name in PROJECTIONS for weight in mixture._weights(name)]
    assert mixture._stacks is not None
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    ids = torch.randint(40, (2, 8), generator=torch.Generator().manual_seed(4))
    model(ids).square().mean().backward()
    optimizer.step()
    for name, stack in zip(PROJECTIONS, mixture._stacks, strict=True):
        assert torch.equal(stack, torch.stack(list(mixture._weights(name))))


@pytest.mark.parametrize("change", ["dtype", "load", "copy", "inference mode"])
def test_weights_that_were_changed_are_laid_out_anew(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of().eval()
    if change == "inference mode":
        with torch.inference_mode():
            model.new_cache(1)
    else:
        model.new_cache(1)
    if change == "dtype":
        model = model.float()
    elif change == "load":
        other = model_of(seed=9).state_dict()
        model.load_state_dict(other, assign=True)
    elif change == "copy":
        model = copy.deepcopy(model)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.5)
    ids = torch.randint(40, (1, 8), generator=torch.Generator().manual_seed(4))
    model.train()(ids).square().mean().backward()
    model.eval()
    cache = model.new_cache(1)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    with torch.no_grad():
        full = model(ids)
        stepped = [model.step(ids[:, at], cache, torch.tensor([at])) for at in range(8)]
    torch.testing.assert_close(torch.stack(stepped, 1), full, rtol=1e-4, atol=1e-5)


def test_a_model_with_experts_and_bias_is_saved_and_loaded(tmp_path: Path) -> None:
    plugins = load_plugins(safe=True)
    model = build_model(config_of(vocab_size=100_331, router_bias=True), plugins.mixers, seed=1).eval()
    bias = experts_of(model).router.bias
    assert bias is not None
    bias.copy_(torch.tensor([0.5, -1.0, 0.25, 0.125]))
    model.new_cache(1)  # weights lie behind one another in one piece of memory
    save_model(tmp_path, model, cl100k_base())
    loaded = load_model(tmp_path, plugins.mixers)
    assert torch.equal(experts_of(loaded).router.bias, bias)
    ids = torch.randint(40, (1, 8))
    with torch.no_grad():
        assert torch.equal(loaded(ids), model(ids))
        cache = loaded.new_cache(1)
        loaded.step(ids[:, 0], cache, torch.tensor([0]))
    half = load_model(tmp_path, plugins.mixers, dtype=torch.bfloat16)
    with torch.no_grad():
        assert half(ids).dtype == torch.bfloat16


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
