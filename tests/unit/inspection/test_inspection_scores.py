"""Losses of tokens and next tokens, against the same figures in float64 from the logits of the model."""

from __future__ import annotations

import copy
import math
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from nanoshell.errors import NanoshellError, UsageError
from nanoshell.inspection.scores import next_scores, sampled_probabilities, token_losses


def exact(model: Any, ids: list[int]) -> np.ndarray:
    """Return the log-probabilities (positions, vocab) after each of ``ids``, in float64."""
    with torch.no_grad():
        logits = copy.deepcopy(model).double()(torch.tensor([ids]))[0].numpy()
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def some_ids(count: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(0, 97, count).tolist()


def test_each_token_has_its_loss_rank_entropy_and_alternatives(build) -> None:
    model, ids = build(), some_ids(20)
    expected = exact(model, ids)
    found = list(token_losses(model, ids, top=3))
    assert [each.id for each in found] == ids[1:]
    for row, (token, each) in enumerate(zip(ids[1:], found, strict=True)):
        assert each.logprob == pytest.approx(expected[row, token], abs=1e-5)
        assert each.rank == 1 + (expected[row] > expected[row, token]).sum()
        assert each.entropy == pytest.approx(-(np.exp(expected[row]) * expected[row]).sum(), abs=1e-4)
        best = np.argsort(-expected[row])[:3]
        assert [score.id for score in each.top] == best.tolist()
        assert [score.logprob for score in each.top] == pytest.approx(expected[row, best].tolist(), abs=1e-5)


def test_rows_of_the_head_beyond_the_vocabulary_are_left_out(build) -> None:
    model, ids = build(), [3, 4, 5]
    logits = np.log(
        np.exp(exact(model, ids)[:, :50]) / np.exp(exact(model, ids)[:, :50]).sum(-1, keepdims=True)
    )
    found = [each.logprob for each in token_losses(model, ids, vocab_size=50)]
    assert found == pytest.approx([logits[0, 4], logits[1, 5]], abs=1e-5)
    assert next_scores(model, ids, 50).shape == (50,)


@settings(max_examples=25, deadline=None)
@given(length=st.integers(2, 90))
def test_a_long_text_is_read_in_windows_that_show_each_token_half_the_positions(build, length: int) -> None:
    model, ids = build(), some_ids(length, length)
    positions = model.config.max_seq_len
    found = list(token_losses(model, ids))
    assert [each.id for each in found] == ids[1:]
    start, end = 0, min(positions, length - 1)
    for index in range(1, length):
        if index > end:
            start = end + 1 - positions // 2
            end = min(start + positions, length - 1)
        assert index - start >= min(index, positions // 2)
        if index in (1, end, length - 1):
            expected = exact(model, ids[start:index])[-1, ids[index]]
            assert found[index - 1].logprob == pytest.approx(expected, abs=1e-4)


def test_small_portions_of_logits_give_the_same(build, monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = build(), some_ids(22)
    whole = list(token_losses(model, ids, top=2))
    monkeypatch.setattr("nanoshell.inspection.scores.CHUNK_ELEMENTS", 3 * 97)
    parts = list(token_losses(model, ids, top=2))
    assert [each.rank for each in parts] == [each.rank for each in whole]
    assert [each.logprob for each in parts] == pytest.approx([each.logprob for each in whole], abs=1e-6)


@pytest.mark.parametrize("count", [1, 10, 24, 40])
def test_next_scores_are_those_after_the_last_positions(build, count: int) -> None:
    model, ids = build(), some_ids(count)
    with torch.no_grad():
        expected = model(torch.tensor([ids[-24:]]))[0, -1]
    torch.testing.assert_close(next_scores(model, ids), expected)


def test_what_cannot_be_scored_is_an_error(build) -> None:
    model = build()
    with pytest.raises(UsageError):
        next_scores(model, [])
    with pytest.raises(NanoshellError, match="id 97"):
        list(token_losses(model, [1, 97]))
    with pytest.raises(NanoshellError, match="id 60, and the model knows the ids below 50"):
        list(token_losses(model, [1, 60], vocab_size=50))
    with torch.no_grad():
        model.norm.weight.fill_(math.nan)
    with pytest.raises(NanoshellError, match="not finite"):
        next_scores(model, [1])
    with pytest.raises(NanoshellError, match="not finite"):
        list(token_losses(model, [1, 2]))


class Words:
    """A tokenizer whose ids 90 to 96 are special or stand for nothing."""

    special_tokens = MappingProxyType({"<|endoftext|>": 96, "<|user|>": 95, "<|think|>": 94})
    end_of_text = 96
    unused_ids = frozenset({90})


def engine_for(plugins: Any) -> Any:
    def forbidden(request: Any) -> list[int]:
        assert request.stop_ids == {95, 96}
        return [90, 94]

    return SimpleNamespace(tokenizer=Words(), samplers=plugins.samplers, forbidden_ids=forbidden)


def test_samplers_reshape_as_their_formulas_say(plugins) -> None:
    logits = torch.randn(97, generator=torch.Generator().manual_seed(1)) * 3
    allowed = logits.double().numpy().copy()
    allowed[[90, 94]] = -math.inf
    off = {entry.name: entry.options["neutral"] for entry in plugins.samplers if entry.value is not None}
    plain = sampled_probabilities(engine_for(plugins), [1, 2], logits, off)
    expected = np.exp(allowed) / np.exp(allowed).sum()
    np.testing.assert_allclose(plain.numpy(), expected, atol=1e-6)

    chosen = {**off, "temperature": 0.7, "top_k": 5}
    shaped = sampled_probabilities(engine_for(plugins), [1, 2], logits, chosen).numpy()
    best = np.argsort(-allowed)[:5]
    weights = np.exp(allowed[best] / 0.7)
    assert set(np.nonzero(shaped)[0]) == set(best)
    np.testing.assert_allclose(shaped[best], weights / weights.sum(), atol=1e-6)

    greedy = sampled_probabilities(engine_for(plugins), [1, 2], logits, {**off, "temperature": 0})
    assert greedy[int(allowed.argmax())] == 1
