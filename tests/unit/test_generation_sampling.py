"""Each sampler against its definition in float64 and against transformers' own; the order; the draw."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from nanoshell.errors import NanoshellError, UnknownNameError, UsageError
from nanoshell.generation import sampling
from nanoshell.generation.sampling import (
    Greedy,
    build_chain,
    draw,
    greedy,
    likeliest,
    min_p,
    repeat_penalty,
    temperature,
    top_k,
    top_p,
)
from nanoshell.plugin.manager import load_plugins
from nanoshell.plugin.registry import Registry

NO_HISTORY = torch.zeros((1, 0), dtype=torch.long)


@pytest.fixture(scope="module")
def samplers() -> Registry[Any]:
    return load_plugins(safe=True).samplers


def scores(seed: int, vocab: int, spread: float = 3.0, batch: int = 1) -> Tensor:
    return torch.randn(batch, vocab, generator=torch.Generator().manual_seed(seed)) * spread


def probabilities(logits: Tensor) -> np.ndarray[Any, Any]:
    values = logits.double().numpy()
    values = np.exp(values - values.max(-1, keepdims=True))
    return np.asarray(values / values.sum(-1, keepdims=True))


def kept(logits: Tensor) -> list[set[int]]:
    return [set(np.flatnonzero(row)) for row in torch.isfinite(logits).numpy()]


CASES = st.tuples(st.integers(0, 10_000), st.integers(2, 400), st.sampled_from([0.1, 1.0, 5.0]))


@given(CASES, st.floats(0.05, 5))
@settings(max_examples=30, deadline=None)
def test_temperature_divides(case: tuple[int, int, float], value: float) -> None:
    logits = scores(*case)
    expected = probabilities(logits.double() / value)
    np.testing.assert_allclose(probabilities(temperature(value)(logits, NO_HISTORY)), expected, atol=1e-5)


def test_a_temperature_near_nothing_is_still_a_distribution() -> None:
    logits = scores(0, 50)
    assert probabilities(temperature(1e-40)(logits, NO_HISTORY))[0, int(logits.argmax())] == 1.0


@given(CASES, st.integers(1, 500))
@settings(max_examples=30, deadline=None)
def test_top_k_keeps_the_largest(case: tuple[int, int, float], count: int) -> None:
    logits = scores(*case, batch=2)
    result = top_k(count)(logits, NO_HISTORY)
    for row, ids in enumerate(kept(result)):
        assert ids == set(np.argsort(-logits[row].numpy(), kind="stable")[:count])
        assert all(result[row, i] == logits[row, i] for i in ids)
    assert all(len(ids) == 3 for ids in kept(top_k(3)(torch.zeros(2, 9), NO_HISTORY)))


@given(CASES, st.floats(0.0, 0.999))
@settings(max_examples=60, deadline=None)
def test_top_p_keeps_the_smallest_nucleus(case: tuple[int, int, float], value: float) -> None:
    logits = scores(*case, batch=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "_TOP_P_CANDIDATES", (4, 64))
        result = top_p(value)(logits, NO_HISTORY)
    for row, ids in enumerate(kept(result)):
        likely = probabilities(logits)[row]
        order = np.argsort(-likely, kind="stable")
        mass = np.cumsum(likely[order])
        needed = int(np.searchsorted(mass, value)) + 1
        assert ids == set(order[: len(ids)])
        assert abs(len(ids) - needed) <= (abs(mass - value).min() < 1e-5)
        assert all(result[row, i] == logits[row, i] for i in ids)


@given(CASES, st.floats(0.001, 1))
@settings(max_examples=30, deadline=None)
def test_min_p_is_relative_to_the_likeliest(case: tuple[int, int, float], value: float) -> None:
    logits = scores(*case, batch=2)
    for row, ids in enumerate(kept(min_p(value)(logits, NO_HISTORY))):
        ratio = probabilities(logits)[row] / probabilities(logits)[row].max()
        clear = np.abs(ratio - value) > 1e-6
        assert {i for i in ids if clear[i]} == set(np.flatnonzero((ratio >= value) & clear))


@given(
    st.integers(0, 10_000),
    st.lists(st.integers(0, 29), min_size=1, max_size=100),
    st.sampled_from([1.3, 0.5]),
)
@settings(max_examples=30, deadline=None)
def test_repeat_penalty_looks_at_the_last_64(seed: int, history: list[int], value: float) -> None:
    logits = scores(seed, 30)
    expected = logits.double().clone()
    for token in set(history[-64:]):
        expected[0, token] = (
            expected[0, token] / value if expected[0, token] > 0 else expected[0, token] * value
        )
    result = repeat_penalty(value)(logits, torch.tensor([history]))
    torch.testing.assert_close(result.double(), expected, rtol=1e-6, atol=1e-6)


def test_greedy_keeps_the_first_of_the_largest() -> None:
    logits = torch.tensor([[1.0, 5.0, 5.0], [2.0, 1.0, 0.0]])
    assert kept(greedy(1)(logits, NO_HISTORY)) == [{1}, {0}]
    assert kept(temperature(0)(logits, NO_HISTORY)) == [{1}, {0}]
    assert likeliest(logits[:1]) == 1
    assert likeliest(logits[:1].double()) == 1


def test_samplers_agree_with_transformers() -> None:
    generation = pytest.importorskip("transformers.generation")
    for seed in range(5):
        logits = scores(seed, 1000, batch=3)
        history = torch.randint(1000, (3, 40), generator=torch.Generator().manual_seed(seed))
        pairs = [
            (temperature(0.6), generation.TemperatureLogitsWarper(0.6)),
            (top_k(17), generation.TopKLogitsWarper(17)),
            (top_p(0.83), generation.TopPLogitsWarper(0.83)),
            (min_p(0.07), generation.MinPLogitsWarper(0.07)),
            (repeat_penalty(1.2), generation.RepetitionPenaltyLogitsProcessor(1.2)),
        ]
        for ours, theirs in pairs:
            expected = theirs(history, logits.clone()).softmax(-1)
            torch.testing.assert_close(ours(logits, history).softmax(-1), expected, rtol=1e-5, atol=1e-6)


def test_no_step_changes_what_it_is_given() -> None:
    logits, history = scores(1, 100), torch.tensor([[1, 2, 3]])
    before = logits.clone()
    for step in (temperature(0.5), top_k(5), top_p(0.5), min_p(0.1), repeat_penalty(1.5), greedy(1)):
        step(logits, history)
        assert torch.equal(logits, before)


def test_the_chain_runs_in_the_stated_order(samplers: Registry[Any]) -> None:
    order = {entry.name: entry.options["order"] for entry in samplers}
    assert order == {
        "repeat_penalty": 10,
        "temperature": 20,
        "top_k": 30,
        "top_p": 40,
        "min_p": 50,
        "greedy": 90,
    }
    logits, history = scores(3, 500), torch.tensor([[1, 2, 3]])
    # Given in another order, and with a cut whose result depends on coming after the temperature.
    settings_ = {"top_p": 0.7, "min_p": 0.05, "temperature": 2.0, "repeat_penalty": 1.4, "top_k": 40}
    by_chain = logits
    for step in build_chain(settings_, samplers):
        by_chain = step(by_chain, history)
    by_hand = repeat_penalty(1.4)(logits, history)
    for step in (temperature(2.0), top_k(40), top_p(0.7), min_p(0.05)):
        by_hand = step(by_hand, history)
    assert torch.equal(by_chain, by_hand)
    other = temperature(2.0)(top_p(0.7)(logits, history), history)
    assert kept(by_chain) != kept(other)


def test_neutral_settings_leave_nothing_and_absent_ones_have_defaults(samplers: Registry[Any]) -> None:
    neutral = {entry.name: entry.options["neutral"] for entry in samplers}
    assert build_chain(neutral, samplers) == []
    assert len(build_chain({}, samplers)) == 2
    assert isinstance(build_chain({**neutral, "temperature": 0}, samplers)[0], Greedy)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("temperature", -0.1, "temperature is -0.1, but it must be a number from 0 to 100"),
        ("temperature", math.nan, "temperature is nan"),
        ("temperature", math.inf, "temperature is inf"),
        ("top_p", 1.5, "top_p is 1.5, but it must be a number from 0 to 1"),
        ("min_p", -1, "from 0 to 1"),
        ("top_k", -1, "top_k is -1, but it must be a whole number of at least 0"),
        ("top_k", 2.5, "a whole number"),
        ("repeat_penalty", 0, "from 0.1 to 10"),
        ("greedy", 2, "a whole number from 0 to 1"),
        ("top_p", "high", "top_p is high"),
    ],
)
def test_a_setting_out_of_range_names_the_range(
    samplers: Registry[Any], name: str, value: Any, said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        build_chain({name: value}, samplers)
    assert said in caught.value.message


def test_an_unknown_setting_names_the_nearest(samplers: Registry[Any]) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'temperature'"):
        build_chain({"temprature": 1.0}, samplers)


def test_the_draw_is_the_inverse_of_the_cumulative_distribution() -> None:
    """Evenly spaced draws must hit every token in proportion to its probability, to within one draw."""
    logits = top_k(20)(scores(7, 1000), NO_HISTORY)
    draws = 5000
    counts = np.bincount([draw(logits, (n + 0.5) / draws) for n in range(draws)], minlength=1000)
    assert np.abs(counts - probabilities(logits)[0] * draws).max() <= 1.01
    assert counts[~np.isfinite(logits[0].numpy())].sum() == 0


@given(CASES, st.floats(0, 1, exclude_max=True))
@settings(max_examples=50, deadline=None)
def test_a_draw_never_takes_a_removed_token(case: tuple[int, int, float], uniform: float) -> None:
    logits = scores(*case)
    logits[0, ::2] = -math.inf
    assert draw(logits, uniform) % 2 == 1
    assert draw(logits, 0.0) == 1
    assert draw(logits, math.nextafter(1, 0)) % 2 == 1


def test_nothing_left_to_choose_from_is_said() -> None:
    with pytest.raises(NanoshellError, match="no token to choose from"):
        draw(torch.full((1, 5), -math.inf), 0.5)
