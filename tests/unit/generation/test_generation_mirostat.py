"""Mirostat 2: its limit follows the formula, and the surprise of a long reply comes to the target."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nanoshell.generation.engine import Engine
from nanoshell.generation.mirostat import Mirostat, mirostat
from nanoshell.generation.request import GenerationRequest
from nanoshell.generation.sampling import LogitsProcessor, build_chain, draw
from nanoshell.plugin.manager import Plugins
from nanoshell.tokenizer.base import Tokenizer

START = torch.tensor([[7]])


def limit(step: Mirostat) -> float:
    assert step.limit is not None
    return float(step.limit[0, 0])


def surprises(logits: Tensor) -> np.ndarray[Any, Any]:
    """Return -log2 of the probabilities of logits (1, vocab), in float64."""
    return -(logits.double().log_softmax(-1)[0] / math.log(2)).numpy()


def follow(history: Tensor, *tokens: int) -> Tensor:
    return torch.cat([history, torch.tensor([tokens])], dim=1)


def test_the_cut_and_its_limit_follow_the_formula() -> None:
    target, rate, random = 2.5, 0.3, Random(1)
    step = Mirostat(target, rate)
    history, expected = START, 2 * target
    for number in range(60):
        logits = torch.randn(1, 50, generator=torch.Generator().manual_seed(number)) * 2
        left = step(logits, history)
        assert limit(step) == pytest.approx(expected, abs=1e-4)
        surprise = surprises(logits)
        clear = np.abs(surprise - expected) > 1e-4
        wanted = (surprise <= expected) | (surprise == surprise.min())
        assert (np.isfinite(left[0].numpy()) == wanted)[clear].all()
        assert torch.equal(left[0, torch.isfinite(left[0])], logits[0, torch.isfinite(left[0])])
        token = draw(left, random.random())
        expected -= rate * (surprises(left)[token] - target)
        history = follow(history, token)


def test_however_low_the_limit_the_likeliest_stays() -> None:
    step = Mirostat(0.01, 1.0)
    logits = torch.zeros(1, 64)
    logits[0, 9] = 0.5
    for number in range(3):
        left = step(logits, START if number == 0 else follow(START, *[9] * number))
        assert torch.isfinite(left).nonzero().tolist() == [[0, 9]]


@pytest.mark.parametrize("target", [2.0, 4.0, 6.0])
@pytest.mark.parametrize("exponent", [0.8, 1.2])
def test_the_surprise_comes_to_the_target_on_a_zipf_distribution(target: float, exponent: float) -> None:
    logits = -exponent * torch.arange(1, 3001).float().log()[None]
    found = replies([mirostat(target)], logits, count=1200)
    assert np.mean(found[200:]) == pytest.approx(target, abs=0.15)
    # Without it the surprise is another one, so that this shows something.
    free = (np.exp2(-surprises(logits)) * surprises(logits)).sum()
    assert abs(free - target) > 0.5


def test_it_composes_with_penalties_and_temperature(plugins: Plugins, tokenizer: Tokenizer) -> None:
    neutral = {entry.name: entry.options["neutral"] for entry in plugins.samplers}
    chosen = {"frequency_penalty": 0.5, "repeat_penalty": 1.2, "temperature": 1.3, "min_p": 1e-4}
    values = {**neutral, **chosen, "mirostat": 4.0}
    chain = build_chain(values, plugins.samplers, tokenizer=tokenizer)
    assert isinstance(chain[-1], Mirostat)
    assert len(chain) == 5
    logits = -1.1 * torch.arange(1, 2001).float().log()[None]
    assert np.mean(replies(chain, logits, count=1000)[200:]) == pytest.approx(4.0, abs=0.15)


def replies(chain: list[LogitsProcessor], logits: Tensor, count: int) -> list[float]:
    """Return the surprise of each of ``count`` tokens drawn through ``chain``, within what it left."""
    random, history, found = Random(5), torch.zeros((1, count), dtype=torch.long), []
    for position in range(1, count):
        left = logits
        for step in chain:
            left = step(left, history[:, :position])
        token = draw(left, random.random())
        found.append(float((left.logsumexp(-1) - left[0, token]) / math.log(2)))
        history[0, position] = token
    return found


def test_what_it_cannot_know_leaves_the_limit() -> None:
    logits = torch.log(torch.tensor([[0.6, 0.3, 0.1]]))
    step = Mirostat(1.0, 0.5)
    left = step(logits, START)
    assert torch.isfinite(left).tolist() == [[True, True, False]]
    step(logits, follow(START, 2))  # a later step chose what was dropped
    assert limit(step) == 2.0
    step(logits, follow(START, 2, 0, 0))  # two tokens at once: between them nothing was seen
    assert limit(step) == 2.0
    step(logits, follow(START, 2, 0, 0, 1))
    assert limit(step) == pytest.approx(2.0 - 0.5 * (-math.log2(1 / 3) - 1.0))


def test_rows_have_limits_of_their_own() -> None:
    logits = torch.log(torch.tensor([[0.6, 0.3, 0.1]] * 2))
    step = Mirostat(1.0, 0.5)
    step(logits, torch.tensor([[7], [7]]))
    step(logits, torch.tensor([[7, 0], [7, 1]]))
    assert step.limit is not None
    first, second = step.limit[:, 0].tolist()
    assert first > 2.0 > second


def test_each_reply_begins_anew(engine: Engine) -> None:
    request = GenerationRequest([65], 20, {"mirostat": 3.0, "temperature": 2.0}, seed=3)
    first, second = engine.generate(request), engine.generate(request)
    assert [token.id for token in first] == [token.id for token in second]
