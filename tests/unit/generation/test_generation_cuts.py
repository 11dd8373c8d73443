"""Each cut against its definition in float64 and transformers' own; equals, and tokens removed before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from torch import Tensor

from nanoshell.generation import cuts
from nanoshell.generation.cuts import min_p, top_k, top_p, typical_p

Row = NDArray[np.float64]
NO_HISTORY = torch.zeros((1, 0), dtype=torch.long)


@st.composite
def logits_of_a_model(draw: st.DrawFn) -> Tensor:
    """Two rows of random logits: flat or peaked, perhaps with equals, perhaps with tokens removed."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    vocab = draw(st.integers(2, 400))
    logits = torch.randn(2, vocab, generator=generator) * draw(st.sampled_from([0.01, 1.0, 5.0]))
    if draw(st.booleans()):
        logits = (logits * 2).round() / 2
    if draw(st.booleans()):
        removed = torch.rand(2, vocab, generator=generator) < 0.5
        removed[:, 0] = False
        logits[removed] = -torch.inf
    return logits


def probabilities(logits: Tensor) -> Row:
    values = logits.double().numpy()
    values = np.exp(values - values.max(-1, keepdims=True))
    return np.asarray(values / values.sum(-1, keepdims=True))


def surprise_distance(likely: Row) -> Row:
    """Return how far the surprise of each token is from the entropy, in nats."""
    with np.errstate(divide="ignore"):
        surprise = -np.log(likely)
    entropy = sum(p * s for p, s in zip(likely, surprise, strict=True) if p > 0)
    return np.abs(surprise - entropy)


def kept(logits: Tensor, result: Tensor) -> list[set[int]]:
    """Return the ids that are left of each row, after checking that their logits are as they were."""
    left = torch.isfinite(result)
    assert torch.equal(result[left], logits[left])
    assert (result[~left] == -torch.inf).all()
    return [set(np.flatnonzero(row).tolist()) for row in left.numpy()]


def assert_fewest_that_reach(ids: set[int], keys: Row, likely: Row, mass: float) -> None:
    """Check that ``ids`` are the first by rising key whose probabilities sum to ``mass``, up to rounding."""
    inside = sorted(ids, key=lambda token: keys[token])
    outside = [token for token in np.flatnonzero(likely > 0) if token not in ids]
    assert inside
    assert all(likely[token] > 0 for token in inside)
    assert likely[inside].sum() >= mass - 1e-5
    if outside:
        assert keys[inside[-1]] <= keys[outside].min() + 1e-4
    if len(inside) > 1:
        last = [likely[token] for token in inside if keys[token] > keys[inside[-1]] - 1e-4]
        assert likely[inside].sum() - max(last) < mass + 1e-5


@given(logits_of_a_model(), st.integers(1, 500))
@settings(max_examples=30, deadline=None)
def test_top_k_keeps_the_largest(logits: Tensor, count: int) -> None:
    result = top_k(count)(logits, NO_HISTORY)
    for row, ids in enumerate(kept(logits, result)):
        order = np.sort(logits[row].numpy())[::-1]
        left = np.isfinite(order).sum()
        assert len(ids) == min(count, left)
        assert sorted(logits[row, list(ids)].tolist(), reverse=True) == order[: len(ids)].tolist()
    assert all(len(ids) == 3 for ids in kept(torch.zeros(2, 9), top_k(3)(torch.zeros(2, 9), NO_HISTORY)))


@given(logits_of_a_model(), st.floats(0.0, 0.999))
@settings(max_examples=60, deadline=None)
def test_top_p_keeps_the_smallest_nucleus(logits: Tensor, value: float) -> None:
    for row, ids in enumerate(kept(logits, top_p(value)(logits, NO_HISTORY))):
        likely = probabilities(logits)[row]
        assert_fewest_that_reach(ids, -np.log(np.maximum(likely, 1e-300)), likely, value)


@given(logits_of_a_model(), st.floats(0.0, 0.999))
@settings(max_examples=60, deadline=None)
def test_typical_p_keeps_the_tokens_whose_surprise_is_nearest_the_entropy(
    logits: Tensor, value: float
) -> None:
    for row, ids in enumerate(kept(logits, typical_p(value)(logits, NO_HISTORY))):
        likely = probabilities(logits)[row]
        assert_fewest_that_reach(ids, surprise_distance(likely), likely, value)


def test_typical_p_may_drop_the_likeliest() -> None:
    """Half of the mass on one token, half on 128: the entropy is 4.5 bits, nearest to the 8 of the many."""
    logits = torch.tensor([[0.5, *[0.5 / 128] * 128]]).log()
    (ids,) = kept(logits, typical_p(0.4)(logits, NO_HISTORY))
    assert 0 not in ids
    assert len(ids) == pytest.approx(0.4 / 0.5 * 128, abs=1)


@given(logits_of_a_model(), st.floats(0.001, 1))
@settings(max_examples=30, deadline=None)
def test_min_p_is_relative_to_the_likeliest(logits: Tensor, value: float) -> None:
    for row, ids in enumerate(kept(logits, min_p(value)(logits, NO_HISTORY))):
        ratio = probabilities(logits)[row] / probabilities(logits)[row].max()
        clear = np.abs(ratio - value) > 1e-6
        assert {i for i in ids if clear[i]} == set(np.flatnonzero((ratio >= value) & clear))


def test_what_reaches_the_bound_exactly_is_enough() -> None:
    logits = torch.zeros(1, 8)
    for value, count in ((0.5, 4), (0.25, 2), (0.125, 1), (0.126, 2)):
        for cut in (top_p, typical_p):
            assert [len(ids) for ids in kept(logits, cut(value)(logits, NO_HISTORY))] == [count]
    assert len(kept(logits, min_p(1.0)(logits, NO_HISTORY))[0]) == 8


@pytest.mark.parametrize("spread", [0.01, 0.5, 4.0, 60.0])
@pytest.mark.parametrize("mass", [0.0, 0.3, 0.9, 0.9999])
def test_bins_give_what_sorting_gives(spread: float, mass: float) -> None:
    generator = torch.Generator().manual_seed(3)
    logits = (torch.randn(20_000, generator=generator) * spread).double()
    keys, likely = logits.max() - logits, logits.softmax(-1)
    by_bins = cuts._first_of_mass_by_bins(keys, likely, mass)
    by_sorting = cuts._first_of_mass_by_sorting(keys, likely, mass)
    assert torch.equal(by_bins, by_sorting)
    assert by_bins.sum() == 1 + (likely.sort(descending=True).values.cumsum(0) < mass).sum()


@pytest.mark.parametrize("cut", [top_k(2), top_p(0.9), typical_p(0.9), min_p(0.1)])
def test_where_nothing_is_left_a_cut_leaves_nothing(cut: Callable[[Tensor, Tensor], Tensor]) -> None:
    assert cut(torch.full((1, 5), -torch.inf), NO_HISTORY).tolist() == [[-torch.inf] * 5]


@pytest.mark.parametrize("spread", [0.5, 3.0])
def test_cuts_agree_with_transformers(spread: float) -> None:
    generation: Any = pytest.importorskip("transformers.generation")
    pairs = [
        (top_k(17), generation.TopKLogitsWarper(17)),
        (top_p(0.83), generation.TopPLogitsWarper(0.83)),
        (top_p(0.2), generation.TopPLogitsWarper(0.2)),
        (min_p(0.07), generation.MinPLogitsWarper(0.07)),
        (typical_p(0.9), generation.TypicalLogitsWarper(0.9)),
        (typical_p(0.3), generation.TypicalLogitsWarper(0.3)),
    ]
    for seed in range(5):
        logits = torch.randn(3, 3000, generator=torch.Generator().manual_seed(seed)) * spread
        for ours, theirs in pairs:
            expected = theirs(None, logits.clone())
            # One token at the edge may differ: which side of the mass it is on hangs on the rounding.
            differ = (ours(logits, NO_HISTORY) != expected).sum(-1)
            assert (differ <= 1).all()
            assert differ.sum() <= 1
