"""Decoding with a cache equals the full forward pass, for every kind of layer and for hybrids of them.

In float64, so that the tolerance can be tight: what differs is the order of sums alone. The reference is the
model itself without a cache, which other tests here compare with independent implementations.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from nanoshell.model.cache import Cache, join_caches
from nanoshell.model.config import ModelConfig
from nanoshell.model.transformer import Layer, Transformer, build_model
from nanoshell.plugin.manager import load_plugins

POSITIONS = 37
"""No multiple of a Mamba's chunk: pieces end within one and begin within one."""
VOCABULARY = 61
CLOSE: dict[str, Any] = {"rtol": 1e-8, "atol": 1e-10}

MLA = {"kv_latent_dim": 12, "q_latent_dim": 10, "d_rope": 4}
DEEPSEEK = {**MLA, "mla_rope_query": "latent", "mla_latent_norm": True, "qk_nope_dim": 6, "v_head_dim": 10}
MOE = {"feed_forward": "moe", "num_experts": 4, "experts_per_tok": 2, "intermediate_size": 24}
MAMBA1 = {"mamba_layers": [0, 1]}
MAMBA2 = {
    "mamba_layers": [0, 1],
    "mamba2_num_heads": 6,
    "mamba2_head_dim": 8,
    "mamba2_state_size": 8,
    "mamba2_chunk_size": 8,
    "mamba2_n_groups": 2,
}
MAMBA3 = {**MAMBA2, "mamba2_n_groups": 1, "mamba3_enabled": True, "mamba3_complex_rope": True}

CASES: dict[str, dict[str, Any]] = {
    "attention": {"kv_heads": 2, "qk_norm": True},
    "attention, relu2, norms without weights, capped": {
        "feed_forward": "relu2",
        "qk_norm": True,
        "norm_weight": False,
        "logit_soft_cap": 0.5,
    },
    "attention, moe": {**MOE, "experts_per_tok": 1, "shared_expert_enabled": True},
    "mla": MLA,
    "mla, queries without latent": {**MLA, "q_latent_dim": None},
    "mla of DeepSeek, moe": {**DEEPSEEK, **MOE, "router_score": "sigmoid", "router_bias": True},
    "mamba1": MAMBA1,
    "mamba1, swiglu": {**MAMBA1, "feed_forward": "swiglu"},
    "mamba2": MAMBA2,
    "mamba2, moe": {**MAMBA2, **MOE, "mamba2_n_groups": 1},
    "mamba3": MAMBA3,
    "mamba3, real state, conv": {**MAMBA3, "mamba3_complex_rope": False, "mamba3_use_conv": True},
    "mamba3, mimo": {**MAMBA3, "mamba3_mimo_rank": 3},
    "mamba3, mimo, moe": {**MAMBA3, "mamba3_mimo_rank": 2, **MOE},
    "hybrid of the seed family": {**MAMBA2, "num_layers": 3, **MLA, **MOE, "feed_forward": None},
    "hybrid with mamba3": {**MAMBA3, "num_layers": 3, **MLA, **MOE, "feed_forward": None},
    "every mixer, every feed-forward": {
        **MAMBA3,
        "mamba_layers": [],
        **DEEPSEEK,
        **MOE,
        "num_layers": 5,
        "mixer": ["attention", "mamba3", "mla", "mamba2", "mamba1"],
        "feed_forward": ["moe", "none", "swiglu", "moe", "none"],
    },
}
RECURRENT = {name for name in CASES if "mamba" in name or "hybrid" in name or "every" in name}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(before)


@functools.cache
def model_of(case: str) -> Transformer:
    """Return the model of a case, with weights so large that every part matters."""
    shape = {
        "hidden_size": 24,
        "num_layers": 2,
        "num_heads": 4,
        "vocab_size": VOCABULARY,
        "max_seq_len": POSITIONS + 3,
    }
    config = ModelConfig.from_dict({**shape, **CASES[case]})
    seed = list(CASES).index(case)
    model = build_model(config, load_plugins(safe=True).mixers, seed=seed).double().eval()
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.requires_grad_(False).parameters():
        if parameter.dim() > 1:
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def drawn(batch: int, seed: int = 0) -> Tensor:
    return torch.randint(VOCABULARY, (batch, POSITIONS), generator=torch.Generator().manual_seed(seed))


def full_hidden(model: Transformer, ids: Tensor) -> Tensor:
    hidden: Tensor = model.hidden(ids)
    assert hidden.std() > 0.5
    return hidden


def pieces(seed: int) -> list[tuple[int, int]]:
    """Cut the positions at random, into single ones too."""
    cuts = random.Random(seed).sample(range(1, POSITIONS), seed % 9)
    return list(pairwise([0, *sorted(cuts), POSITIONS]))


def prefilled(model: Transformer, ids: Tensor) -> Cache:
    """Return the cache of a prompt (seq,)."""
    cache = model.new_cache(1)
    model.hidden(ids[None], cache)
    return cache


@pytest.mark.parametrize("case", CASES)
def test_pieces_of_any_size_equal_the_whole(case: str) -> None:
    model, ids = model_of(case), drawn(2)
    whole = full_hidden(model, ids)
    singly = [(at, at + 1) for at in range(POSITIONS)]
    for cuts in (singly, *map(pieces, range(1, 9))):
        cache = model.new_cache(2)
        parts = [model.hidden(ids[:, start:end], cache) for start, end in cuts]
        torch.testing.assert_close(torch.cat(parts, 1), whole, **CLOSE)
        assert cache.length == POSITIONS


@pytest.mark.parametrize("case", CASES)
def test_no_position_sees_a_later_one(case: str) -> None:
    model, ids = model_of(case), drawn(2)
    changed = ids.clone()
    changed[:, 19] = (changed[:, 19] + 1) % VOCABULARY
    before, after = model.hidden(ids), model.hidden(changed)
    torch.testing.assert_close(after[:, :19], before[:, :19], **CLOSE)
    assert not torch.isclose(after[:, 19], before[:, 19]).all()
    assert not torch.isclose(after[:, 20:], before[:, 20:]).all()


@pytest.mark.parametrize("case", CASES)
def test_rows_that_stand_at_different_positions_step_together(case: str) -> None:
    model, ids = model_of(case), drawn(3)
    whole = model.logits(full_hidden(model, ids))
    lengths = torch.tensor([1, 20, 9])
    cache = join_caches([prefilled(model, row[:n]) for row, n in zip(ids, lengths.tolist(), strict=True)])
    assert cache.batch == 3
    row = torch.arange(3)
    for _ in range(POSITIONS - 20):
        logits = model.step(ids[row, lengths], cache, lengths)
        torch.testing.assert_close(logits, whole[row, lengths], **CLOSE)
        cache.advance()
        lengths = lengths + 1


@pytest.mark.parametrize("case", CASES)
def test_a_step_writes_into_the_tensors_that_were_there(case: str) -> None:
    """What a compiled step, or a graph of a GPU, needs: nothing is put in the place of a state's tensor."""
    model, ids = model_of(case), drawn(1)[0]
    cache = prefilled(model, ids[:5])
    before = [
        {name: (tensor.data_ptr(), tensor.shape, tensor.dtype) for name, tensor in state.tensors().items()}
        for state in cache.states
    ]
    lengths = [state.length for state in cache.states]
    model.step(ids[5:6], cache, torch.tensor([5]))
    after = [
        {name: (tensor.data_ptr(), tensor.shape, tensor.dtype) for name, tensor in state.tensors().items()}
        for state in cache.states
    ]
    assert after == before
    assert all(before)
    assert [state.length for state in cache.states] == lengths


@pytest.mark.parametrize("case", CASES)
def test_copies_of_a_row_go_their_own_ways(case: str) -> None:
    """Several samples of one prompt: its cache is taken many times, and each copy continues differently."""
    model, ids = model_of(case), drawn(3)
    prompt, ends = ids[:1, :13], ids[:, 13:]
    branches = torch.cat([prompt.expand(3, -1), ends], 1)
    whole = full_hidden(model, branches)
    cache = prefilled(model, prompt[0])
    several = cache.rows([0, 0, 0])
    assert several.batch == 3
    torch.testing.assert_close(model.hidden(ends, several), whole[:, 13:], **CLOSE)
    torch.testing.assert_close(model.hidden(ends[1:2], cache), whole[1:2, 13:], **CLOSE)


@pytest.mark.parametrize("case", CASES)
def test_rows_that_are_dropped_leave_the_others_as_they_are(case: str) -> None:
    model, ids = model_of(case), drawn(3)
    whole = full_hidden(model, ids)
    cache = model.new_cache(3)
    model.hidden(ids[:, :13], cache)
    fewer = cache.rows([2, 0])
    torch.testing.assert_close(model.hidden(ids[[2, 0], 13:], fewer), whole[[2, 0], 13:], **CLOSE)


@pytest.mark.parametrize("case", CASES)
def test_a_cache_is_rewound_where_it_can_look_back(case: str) -> None:
    """Editing a chat turn: what came before it is kept, or a state says that it cannot go back."""
    model, ids = model_of(case), drawn(2)
    first, second = ids[:1], torch.cat([ids[:1, :11], ids[1:, 11:]], 1)
    cache = prefilled(model, first[0])
    assert all(state.rewind(POSITIONS) for state in cache.states)
    could = [state.rewind(11) for state in cache.states]
    assert all(could) == (case not in RECURRENT)
    if all(could):
        assert {state.length for state in cache.states} == {11}
        whole = full_hidden(model, second)
        torch.testing.assert_close(model.hidden(second[:, 11:], cache), whole[:, 11:], **CLOSE)


@pytest.mark.parametrize("case", CASES)
def test_states_stay_as_exact_as_they_need_to_be(case: str) -> None:
    """Keys and values in the model's dtype; sums over the whole text in float32 even in a bfloat16 model."""
    model = model_of(case)
    for layer, state in zip(model.layers, model.new_cache(1).states, strict=True):
        assert isinstance(layer, Layer)
        mixer: Any = layer.mixer_module
        coarse = mixer.new_state(1, POSITIONS, torch.bfloat16, "cpu")
        assert {tensor.dtype for tensor in state.tensors().values()} == {torch.float64}
        dtypes = {tensor.dtype for tensor in coarse.tensors().values()}
        assert dtypes <= {torch.bfloat16, torch.float32}
        assert (torch.float32 in dtypes) == layer.mixer_name.startswith("mamba")
