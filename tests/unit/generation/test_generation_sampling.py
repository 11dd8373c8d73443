"""The chain and its order, the settings that samplers share, biases, and the draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

import nanoshell
from nanoshell.errors import NanoshellError, PluginError, UnknownNameError, UsageError
from nanoshell.generation.engine import Engine
from nanoshell.generation.request import GenerationRequest
from nanoshell.generation.sampling import (
    Greedy,
    LogitsProcessor,
    bias,
    build_chain,
    draw,
    entropy,
    greedy,
    likeliest,
)
from nanoshell.plugin.hookspecs import hookimpl
from nanoshell.plugin.manager import Plugins, load_plugins
from nanoshell.tokenizer.base import Tokenizer

NO_HISTORY = torch.zeros((1, 0), dtype=torch.long)
CASES = st.tuples(st.integers(0, 10_000), st.integers(2, 400), st.sampled_from([0.1, 1.0, 5.0]))
ORDER = {
    "dry": 8,
    "repeat_penalty": 10,
    "frequency_penalty": 11,
    "presence_penalty": 12,
    "dynamic_temperature": 19,
    "temperature": 20,
    "top_k": 30,
    "typical_p": 35,
    "top_p": 40,
    "min_p": 50,
    "mirostat": 60,
    "greedy": 90,
}
SHARED = {
    "penalty_window",
    "dynamic_exponent",
    "dry_base",
    "dry_allowed_length",
    "dry_window",
    "mirostat_eta",
}
Build = Callable[..., list[LogitsProcessor]]


@pytest.fixture
def chain(plugins: Plugins, tokenizer: Tokenizer) -> Build:
    """Return a function that builds the chain of these settings, all others neutral."""
    neutral = {entry.name: entry.options["neutral"] for entry in plugins.samplers}

    def build(logit_bias: Mapping[int, float] | None = None, **values: float) -> list[LogitsProcessor]:
        chosen = {**neutral, **values}
        return build_chain(chosen, plugins.samplers, tokenizer=tokenizer, logit_bias=logit_bias)

    return build


def scores(seed: int, vocab: int, spread: float = 3.0, batch: int = 1) -> Tensor:
    return torch.randn(batch, vocab, generator=torch.Generator().manual_seed(seed)) * spread


def probabilities(logits: Tensor) -> np.ndarray[Any, Any]:
    values = logits.double().numpy()
    values = np.exp(values - values.max(-1, keepdims=True))
    return np.asarray(values / values.sum(-1, keepdims=True))


def kept(logits: Tensor) -> list[set[int]]:
    return [set(np.flatnonzero(row)) for row in torch.isfinite(logits).numpy()]


def test_ours_run_in_the_stated_order(plugins: Plugins) -> None:
    found = {entry.name: entry.options["order"] for entry in plugins.samplers}
    assert {name: order for name, order in found.items() if order is not None} == ORDER
    assert {name for name, order in found.items() if order is None} == SHARED


def test_the_chain_runs_by_order_whatever_the_order_of_the_settings(chain: Build) -> None:
    logits, history = scores(3, 260), torch.tensor([[1, 2, 3, 2, 3]])
    values = {
        "min_p": 0.001,
        "typical_p": 0.95,
        "top_p": 0.8,
        "top_k": 200,
        "temperature": 2.0,
        "dynamic_temperature": 0.5,
        "presence_penalty": 0.3,
        "frequency_penalty": 0.2,
        "repeat_penalty": 1.4,
        "dry": 0.8,
        "mirostat": 3.0,
    }
    by_chain = logits
    for step in chain({5: 1.0, 6: -100}, **values):
        by_chain = step(by_chain, history)
    by_hand = bias({5: 1.0, 6: -100})(logits, history)
    for name in sorted(values, key=lambda name: ORDER[name]):
        (step,) = chain(**{"temperature": 1, name: values[name]})
        if name == "dynamic_temperature":
            step = nanoshell.dynamic_temperature(0.5, temperature=2.0)
        by_hand = step(by_hand, history)
    assert torch.equal(by_chain, by_hand)
    assert len(kept(by_chain)[0]) > 3


def test_cuts_see_the_tempered_distribution(chain: Build) -> None:
    logits = scores(3, 500)
    tempered = logits
    for step in chain(top_p=0.7, temperature=2.0):
        tempered = step(tempered, NO_HISTORY)
    (cut,) = chain(top_p=0.7)
    assert kept(tempered)[0] > kept(cut(logits, NO_HISTORY))[0]


def test_no_step_changes_what_it_is_given(chain: Build) -> None:
    logits, history = scores(1, 100), torch.tensor([[1, 2, 3, 1, 2]])
    before, seen = logits.clone(), history.clone()
    values = dict.fromkeys(("temperature", "typical_p", "top_p", "min_p", "dynamic_temperature"), 0.5)
    others = dict.fromkeys((*ORDER.keys() - values.keys(),), 1)
    steps = chain({3: 1.0}, **values, **{**others, "repeat_penalty": 2})
    assert len(steps) == len(ORDER) + 1
    for step in steps:
        step(logits, history)
        assert torch.equal(logits, before)
        assert torch.equal(history, seen)


def test_neutral_settings_leave_nothing_and_absent_ones_have_defaults(
    plugins: Plugins, tokenizer: Tokenizer, chain: Build
) -> None:
    assert chain() == []
    assert chain({}) == []
    assert len(build_chain({}, plugins.samplers, tokenizer=tokenizer)) == 2
    assert isinstance(chain(temperature=0)[0], Greedy)
    assert chain(dry_base=3, penalty_window=7, mirostat_eta=0.5) == []


@pytest.mark.parametrize(
    ("biases", "expected"),
    [
        ({1: 2.5, 3: -1.5}, [0.0, 3.5, 2.0, 1.5]),
        ({1: -100, 2: -1000, 3: -math.inf}, [0.0, -math.inf, -math.inf, -math.inf]),
        ({2: 100}, [-math.inf, -math.inf, 2.0, -math.inf]),
        ({2: 100, 1: 1000, 3: 5, 0: -100}, [-math.inf, 1.0, 2.0, -math.inf]),
    ],
)
def test_a_bias_is_added_bans_or_forces(biases: dict[int, float], expected: list[float]) -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, 3.0]] * 2)
    assert bias(biases)(logits, NO_HISTORY).tolist() == [expected, expected]


def test_a_bias_that_is_no_number_is_refused() -> None:
    with pytest.raises(UsageError, match="the logit_bias of id 3 is nan"):
        bias({3: math.nan})


def test_a_bias_reaches_the_reply(engine: Engine) -> None:
    request = GenerationRequest([65], 4, {"temperature": 5.0}, seed=1, logit_bias={66: 100, 67: 100})
    generation = engine.generate(request)
    assert {token.id for token in generation} <= {66, 67}
    assert len(generation.ids) == 4


def test_what_is_never_sampled_cannot_be_forced(engine: Engine) -> None:
    for token in (256, 258):  # an id without a token, and a special token
        with pytest.raises(UsageError, match=f"logit_bias forces id {token}, which is never sampled"):
            engine.generate(GenerationRequest([65], 4, logit_bias={66: 100, token: 100}))
        list(engine.generate(GenerationRequest([65], 2, seed=1, logit_bias={token: 99.0})))
    special = GenerationRequest([65], 2, allow_special=True, logit_bias={258: 100})
    assert [token.id for token in engine.generate(special)] == [258, 258]
    stopping = GenerationRequest([65], 2, stop_ids=frozenset({258}), logit_bias={258: 100})
    assert list(engine.generate(stopping)) == []


def test_greedy_keeps_the_first_of_the_largest() -> None:
    logits = torch.tensor([[1.0, 5.0, 5.0], [2.0, 1.0, 0.0]])
    assert kept(greedy(1)(logits, NO_HISTORY)) == [{1}, {0}]
    assert likeliest(logits[:1]) == 1
    assert likeliest(logits[:1].double()) == 1


@given(CASES)
@settings(max_examples=20, deadline=None)
def test_the_entropy_passes_over_removed_tokens(case: tuple[int, int, float]) -> None:
    logits = scores(*case, batch=2)
    logits[1, 1:] = -math.inf
    likely = probabilities(logits)[0]
    found = entropy(logits.log_softmax(-1))
    assert float(found[0]) == pytest.approx(-(likely * np.log(likely)).sum(), rel=1e-4, abs=1e-5)
    assert float(found[1]) == 0


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
        ("penalty_window", -2, "penalty_window is -2, but it must be a whole number of at least -1"),
        ("dry_base", 0.5, "from 1 to 10"),
    ],
)
def test_a_setting_out_of_range_names_the_range(chain: Build, name: str, value: Any, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        chain(**{name: value})
    assert said in caught.value.message


def test_an_unknown_setting_names_the_nearest(chain: Build) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'temperature'"):
        chain(temprature=1.0)


def test_the_draw_is_the_inverse_of_the_cumulative_distribution() -> None:
    """Evenly spaced draws must hit every token in proportion to its probability, to within one draw."""
    logits = nanoshell.top_k(20)(scores(7, 1000), NO_HISTORY)
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


def test_nothing_left_to_choose_from_is_said(engine: Engine) -> None:
    nothing = torch.full((1, 5), -math.inf)
    with pytest.raises(NanoshellError, match="no token to choose from"):
        draw(nothing, 0.5)
    for logits in (nothing, nothing.double()):
        with pytest.raises(NanoshellError, match="no token to choose from"):
            likeliest(logits)
    banned = dict.fromkeys(range(engine.vocab_size), -100.0)
    for temperature in (0, 1):
        request = GenerationRequest([65], 4, {"temperature": temperature}, logit_bias=banned)
        with pytest.raises(NanoshellError, match="no token to choose from"):
            list(engine.generate(request))


# What a sampler uses


def plugin(*calls: Callable[[Any], None]) -> object:
    """Return a plugin whose hook makes ``calls``."""

    class Made:
        @hookimpl
        def register_samplers(self, register: Any) -> None:
            for call in calls:
                call(register)

    return Made()


def test_a_sampler_gets_what_it_uses(tokenizer: Tokenizer) -> None:
    got: list[dict[str, Any]] = []

    def factory(value: float, **used: Any) -> LogitsProcessor:
        got.append({"value": value, **used})
        return lambda logits, history: logits

    made = plugin(
        lambda register: register("push_end", None, default=3, minimum=0, integer=True, summary="where"),
        lambda register: register(
            "push",
            factory,
            order=1,
            default=0,
            neutral=0,
            uses=["push_end", "temperature", "penalty_window", "tokenizer"],
        ),
    )
    samplers = load_plugins(extra=[("made", made)], only=[]).samplers
    assert samplers.entry("push_end").summary == "where"
    build_chain({"push": 2, "temperature": 0.5, "penalty_window": 9}, samplers, tokenizer=tokenizer)
    build_chain({"push": 1, "push_end": 5}, samplers, tokenizer=tokenizer)
    build_chain({"push_end": 5}, samplers, tokenizer=tokenizer)
    first = {"value": 2, "push_end": 3, "temperature": 0.5, "penalty_window": 9, "tokenizer": tokenizer}
    assert got == [first, {**first, "value": 1, "push_end": 5, "temperature": 0.7, "penalty_window": 64}]
    with pytest.raises(UsageError) as caught:
        build_chain({"push_end": 0.5}, samplers, tokenizer=tokenizer)
    assert caught.value.hint == "3 is the default"


def test_a_factory_that_takes_no_such_argument_is_the_plugins_fault(tokenizer: Tokenizer) -> None:
    def call(register: Any) -> None:
        register("push", lambda value: None, order=1, default=0, neutral=0, uses=["min_p"])

    samplers = load_plugins(extra=[("made", plugin(call))], only=[]).samplers
    with pytest.raises(PluginError, match=r"plugin 'made' failed to make sampler 'push'.*min_p"):
        build_chain({"push": 1}, samplers, tokenizer=tokenizer)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"uses": ["min_q"]}, "sampler 'push' uses 'min_q', which is not registered; did you mean 'min_p'?"),
        ({"uses": ["push"]}, "sampler 'push' uses 'push', which is not registered"),
        ({"uses": "min_p"}, "'uses' takes a list of texts, not 'min_p'"),
        ({"uses": ["min_p", "min_p"]}, "sampler 'push' names the same setting twice in 'uses'"),
        ({"order": None}, "sampler 'push': it needs an order and a neutral value"),
        ({"neutral": None}, "sampler 'push': it needs an order and a neutral value"),
        ({"factory": None}, "sampler 'push': a setting without a factory has no order, neutral and uses"),
        ({"factory": None, "order": None}, "a setting without a factory has no order, neutral and uses"),
        (
            {"factory": None, "order": None, "neutral": None, "uses": ["min_p"]},
            "has no order, neutral and uses",
        ),
        ({"factory": None, "order": None, "neutral": None, "maximum": -1}, "its default 0 is not within"),
        ({"factory": 3}, "sampler 'push': int is no factory"),
        ({"name": "min_p"}, "sampler 'min_p' is registered twice: by 'samplers' and by 'made'"),
    ],
)
def test_a_broken_registration_leaves_the_plugin_out_and_names_it(
    options: dict[str, Any], reason: str
) -> None:
    values: dict[str, Any] = {"name": "push", "factory": Greedy, "order": 1, "default": 0, "neutral": 0}
    values.update(options)
    name, factory = values.pop("name"), values.pop("factory")
    lines: list[str] = []
    made = plugin(lambda register: register(name, factory, **values))
    plugins = load_plugins(extra=[("made", made)], only=[], report=lines.append)
    assert "push" not in plugins.samplers
    (line,) = lines
    assert line.startswith("nanoshell: plugin 'made'")
    assert reason in line
