"""DRY against a direct reading of its definition, which looks at every pair of positions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from nanoshell.generation.dry import continued_repeats, dry
from nanoshell.tokenizer.base import Tokenizer

A, B, C, NEWLINE = b"abc\n"
AB, UNUSED, USER = 260, 256, 259  # the tokens of "ab", of nothing, and of <|user|>
VOCAB = 265


def penalties(history: list[int], multiplier: float, base: float, allowed: int, window: int) -> list[float]:
    """Return what each token loses: the longest end of the history that it once followed decides."""
    breakers = {NEWLINE, USER, UNUSED}
    seen = history if window == -1 else history[max(0, len(history) - window) :]
    lost = [0.0] * VOCAB
    for token in set(seen) - breakers:
        longest = 0
        for position in (index for index, other in enumerate(seen) if other == token):
            for n in range(1, position + 1):
                end = seen[len(seen) - n :]
                if seen[position - n : position] == end and not breakers & set(end):
                    longest = max(longest, n)
        if longest >= allowed:
            lost[token] = multiplier * base ** (longest - allowed)
    return lost


@given(
    st.lists(st.sampled_from([A, A, A, B, B, C, AB, NEWLINE, USER, UNUSED]), max_size=40),
    st.floats(0.1, 2),
    st.sampled_from([1.0, 1.05, 1.75]),
    st.integers(1, 4),
    st.sampled_from([-1, 0, 1, 6, 20, 100]),
)
@settings(max_examples=200, deadline=None)
def test_dry_is_its_definition(
    tokenizer: Tokenizer, history: list[int], multiplier: float, base: float, allowed: int, window: int
) -> None:
    step = dry(multiplier, tokenizer=tokenizer, dry_base=base, dry_allowed_length=allowed, dry_window=window)
    result = step(torch.zeros(1, VOCAB, dtype=torch.float64), torch.tensor([history], dtype=torch.long))
    expected = penalties(history, multiplier, base, allowed, window)
    np.testing.assert_allclose(-result[0].numpy(), expected, rtol=1e-6)


@given(st.integers(0, 1000), st.integers(1, 9))
@settings(max_examples=20, deadline=None)
def test_a_text_that_repeats_itself_throughout_is_one_long_sequence(seed: int, period: int) -> None:
    block = np.random.default_rng(seed).permutation(50)[:period]
    ids = np.resize(block, 500)
    found = continued_repeats(ids, lambda token: False, longest=1000)
    assert found == {int(ids[500 % period]): 500 - period}


def test_every_breaker_stops_a_sequence_and_is_never_penalised(tokenizer: Tokenizer) -> None:
    step = dry(1.0, tokenizer=tokenizer, dry_allowed_length=1)
    for breaker in (*b'\n:"*', USER, UNUSED):
        across = torch.tensor([[A, breaker, B, C, A, breaker, B]])
        assert step(torch.zeros(1, VOCAB), across).nonzero().tolist() == [[0, C]]
        assert float(step(torch.zeros(1, VOCAB), across)[0, C]) == -1.0
        follows = torch.tensor([[A, B, breaker, A, B]])
        assert not step(torch.zeros(1, VOCAB), follows).any()
        assert not step(torch.zeros(1, VOCAB), torch.tensor([[breaker, A, breaker]])).any()


def test_a_penalty_stays_finite_and_stops_growing_after_50_tokens(tokenizer: Tokenizer) -> None:
    def lost(count: int, base: float) -> float:
        step = dry(2.0, tokenizer=tokenizer, dry_base=base)
        return -float(step(torch.zeros(1, VOCAB), torch.full((1, count), A))[0, A])

    assert lost(20, 1.1) == pytest.approx(2 * 1.1**17)
    assert lost(53, 1.1) == pytest.approx(2 * 1.1**50)
    assert lost(500, 1.1) == pytest.approx(2 * 1.1**50)
    assert lost(500, 10.0) == pytest.approx(1e30)


def test_rows_have_histories_of_their_own_and_removed_tokens_stay_removed(tokenizer: Tokenizer) -> None:
    step = dry(0.8, tokenizer=tokenizer)
    logits = torch.zeros(2, VOCAB)
    logits[1, C] = -torch.inf
    result = step(logits, torch.tensor([[A, B, A, B, A], [A, B, C, A, B]]))
    assert result[0].nonzero().flatten().tolist() == [B]
    assert float(result[0, B]) == pytest.approx(-0.8 * 1.75)
    assert result[1].nonzero().flatten().tolist() == [C]
    assert float(result[1, C]) == -torch.inf
