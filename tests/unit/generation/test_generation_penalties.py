"""Penalties and temperatures against their definitions in float64, and against transformers' own."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from nanoshell.generation.penalties import (
    PENALTY_WINDOW,
    frequency_penalty,
    last_positions,
    presence_penalty,
    repeat_penalty,
)
from nanoshell.generation.sampling import Greedy
from nanoshell.generation.temperature import dynamic_temperature, temperature

NO_HISTORY = torch.zeros((1, 0), dtype=torch.long)
VOCAB = 30
HISTORIES = st.lists(st.integers(0, VOCAB - 1), max_size=100)
WINDOWS = st.sampled_from([-1, 0, 1, 5, 64, 1000])
SEEDS = st.integers(0, 10_000)


def scores(seed: int, vocab: int = VOCAB, spread: float = 3.0, batch: int = 1) -> Tensor:
    logits = torch.randn(batch, vocab, generator=torch.Generator().manual_seed(seed)) * spread
    logits[:, seed % vocab] = -math.inf
    return logits


def as_tensor(history: list[int]) -> Tensor:
    return torch.tensor([history], dtype=torch.long)


def in_window(history: list[int], window: int) -> list[int]:
    """Return what the window shows, its bounds counted one by one."""
    return [token for age, token in enumerate(reversed(history)) if window == -1 or age < window]


@given(SEEDS, HISTORIES, WINDOWS, st.sampled_from([1.3, 0.5]))
@settings(max_examples=40, deadline=None)
def test_repeat_penalty_divides_or_multiplies_once(
    seed: int, history: list[int], window: int, value: float
) -> None:
    logits = scores(seed)
    expected = logits.double()
    for token in set(in_window(history, window)):
        score = float(expected[0, token])
        expected[0, token] = score / value if score > 0 else score * value
    result = repeat_penalty(value, penalty_window=window)(logits, as_tensor(history))
    torch.testing.assert_close(result.double(), expected, rtol=1e-6, atol=1e-6)


@given(SEEDS, HISTORIES, WINDOWS, st.sampled_from([0.7, -0.4]))
@settings(max_examples=40, deadline=None)
def test_frequency_penalty_counts_and_presence_penalty_does_not(
    seed: int, history: list[int], window: int, value: float
) -> None:
    """OpenAI: logit[j] -= count[j] * frequency_penalty + (count[j] > 0) * presence_penalty."""
    logits = scores(seed)
    counts = Counter(in_window(history, window))
    count = torch.tensor([[counts[token] for token in range(VOCAB)]]).double()
    by_frequency = frequency_penalty(value, penalty_window=window)(logits, as_tensor(history))
    by_presence = presence_penalty(value, penalty_window=window)(logits, as_tensor(history))
    close: dict[str, float] = {"rtol": 1e-6, "atol": 1e-5}
    torch.testing.assert_close(by_frequency.double(), logits.double() - count * value, **close)
    torch.testing.assert_close(by_presence.double(), logits.double() - (count > 0) * value, **close)


def test_penalties_look_at_64_positions_by_default() -> None:
    history = as_tensor([3, *[4] * (PENALTY_WINDOW - 1), 5])
    for step in (repeat_penalty(2), frequency_penalty(2), presence_penalty(2)):
        changed = (step(torch.ones(1, VOCAB), history) != 1)[0].nonzero().flatten()
        assert changed.tolist() == [4, 5]
    assert PENALTY_WINDOW == 64


def test_each_row_has_its_own_history() -> None:
    history = torch.tensor([[1, 1, 2], [3, 3, 3]])
    result = frequency_penalty(1.0)(torch.zeros(2, 5), history)
    assert result.tolist() == [[0, -2, -1, 0, 0], [0, 0, 0, -3, 0]]


def test_the_last_positions() -> None:
    history = torch.arange(10).view(2, 5)
    assert last_positions(history, 2).tolist() == [[3, 4], [8, 9]]
    assert last_positions(history, 0).shape == (2, 0)
    assert torch.equal(last_positions(history, 9), history)
    assert torch.equal(last_positions(history, -1), history)


@given(SEEDS, st.integers(2, 400), st.floats(0.05, 5))
@settings(max_examples=30, deadline=None)
def test_temperature_divides(seed: int, vocab: int, value: float) -> None:
    logits = scores(seed, vocab)
    result = temperature(value)(logits, NO_HISTORY)
    torch.testing.assert_close(
        result.double().softmax(-1), (logits.double() / value).softmax(-1), rtol=0, atol=1e-5
    )


def test_a_temperature_near_nothing_is_still_a_distribution() -> None:
    logits = scores(0, 50)
    logits[0, 7] = -math.inf

    def followed(value: float) -> Tensor:
        step = dynamic_temperature(3, temperature=value)
        return temperature(value)(step(logits, NO_HISTORY), NO_HISTORY).softmax(-1)

    for value in (1e-20, 1e-40, 5e-324):
        assert temperature(value)(logits, NO_HISTORY).softmax(-1)[0, int(logits.argmax())] == 1.0
        torch.testing.assert_close(followed(value), followed(1e-9))
    assert isinstance(temperature(0), Greedy)


@given(
    SEEDS, st.integers(2, 400), st.sampled_from([0.01, 1.0, 5.0]), st.floats(0.3, 2), st.floats(0, 3),
    st.floats(0, 3),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_dynamic_temperature_follows_the_entropy(
    seed: int, vocab: int, spread: float, base: float, reach: float, exponent: float
) -> None:
    """llama.cpp: T = low + (high - low) * (entropy / log(tokens left)) ** exponent."""
    logits = scores(seed, vocab, spread)
    likely = [p for p in logits.double().softmax(-1)[0].tolist() if p > 0]
    largest = math.log(len(likely)) or 1.0
    share = -sum(p * math.log(p) for p in likely) / largest
    low, high = max(0.0, base - reach), base + reach
    wanted = low + (high - low) * max(0.0, share) ** exponent
    step = dynamic_temperature(reach, temperature=base, dynamic_exponent=exponent)
    result = temperature(base)(step(logits, NO_HISTORY), NO_HISTORY)
    expected = logits.double()
    expected = ((expected - expected.amax()) / max(wanted, 1e-6)).softmax(-1)
    # The smaller the temperature, the more a rounding of the entropy weighs.
    tolerance = 2e-4 if wanted > 0.1 else 5e-2
    torch.testing.assert_close(result.double().softmax(-1), expected, rtol=0, atol=tolerance)


def test_dynamic_temperature_reaches_both_ends() -> None:
    step = dynamic_temperature(0.5, temperature=1.0)
    flat = torch.zeros(1, 8)
    flat[0, 5:] = -math.inf
    sure = torch.tensor([[0.0, 90.0, 80.0]])
    torch.testing.assert_close(step(sure, NO_HISTORY)[0, 2], torch.tensor(-10 / 0.5), rtol=1e-2, atol=0)
    one = torch.tensor([[3.0, -math.inf]])
    assert step(one, NO_HISTORY).softmax(-1).tolist() == [[1.0, 0.0]]
    assert step(flat, NO_HISTORY).softmax(-1)[0, :5].tolist() == pytest.approx([0.2] * 5)
    assert torch.equal(dynamic_temperature(0.5, temperature=0)(sure, NO_HISTORY), sure)


def test_they_agree_with_transformers() -> None:
    generation: Any = pytest.importorskip("transformers.generation")
    pairs = [
        (temperature(0.6), generation.TemperatureLogitsWarper(0.6)),
        (repeat_penalty(1.2), generation.RepetitionPenaltyLogitsProcessor(1.2)),
        (repeat_penalty(0.8), generation.RepetitionPenaltyLogitsProcessor(0.8)),
    ]
    for seed in range(5):
        logits = scores(seed, 1000, batch=3)
        history = torch.randint(1000, (3, 40), generator=torch.Generator().manual_seed(seed))
        for ours, theirs in pairs:
            expected = theirs(history, logits.clone()).softmax(-1)
            torch.testing.assert_close(ours(logits, history).softmax(-1), expected, rtol=1e-5, atol=1e-6)
