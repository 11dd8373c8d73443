"""A mixture of experts in steps of static shapes: the same as whole, from weights that lie together."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from nanoshell.model import moe
from nanoshell.model.moe import PROJECTIONS, MixtureOfExperts, _of_rows
from nanoshell.model.transformer import Transformer, build_model
from nanoshell.model.weights import load_model, save_model
from nanoshell.plugin.manager import load_plugins
from nanoshell.tokenizer.bpe import cl100k_base

from .mixtures import FORMS, HIDDEN, config_of, mixture_of, watch


def model_of(seed: int = 0, **changes: Any) -> Transformer:
    return build_model(config_of(**changes), load_plugins(safe=True).mixers, seed=seed).double()


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
        assert half.step(ids[:, 0], half.new_cache(1), torch.tensor([0])).dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_bias_is_not_rounded(tmp_path: Path, dtype: torch.dtype) -> None:
    """1 + 2⁻¹⁰ is 1 in bfloat16, and two experts would have equal biases."""
    plugins = load_plugins(safe=True)
    model = build_model(config_of(vocab_size=100_331, router_bias=True), plugins.mixers, seed=1)
    bias = experts_of(model).router.bias
    assert bias is not None
    bias.copy_(torch.tensor([1 + 2**-10, 1.0, 2**-20, -(2**-30)]))
    save_model(tmp_path, model, cl100k_base())
    loaded = load_model(tmp_path, plugins.mixers, dtype=dtype)
    for other in (loaded, copy.deepcopy(model).to(dtype), copy.deepcopy(loaded).to(dtype)):
        router = experts_of(other).router
        assert router.gate.weight.dtype == dtype
        assert router.bias is not None
        assert router.bias.dtype.itemsize >= 4
        assert torch.equal(router.bias.float(), bias)
        assert "bias" in dict(router.named_buffers())
