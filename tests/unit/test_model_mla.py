"""Latent attention: its formula, its cache of latents, and decoding from it in any pieces."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from nanoshell.errors import ConfigError
from nanoshell.model.cache import join_caches
from nanoshell.model.config import ModelConfig, mixer_names
from nanoshell.model.mla import MultiHeadLatentAttention
from nanoshell.model.transformer import Transformer, build_model
from nanoshell.plugin.manager import load_plugins

POSITIONS = 24
SEED_FORM = {
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 4,
    "vocab_size": 97,
    "max_seq_len": POSITIONS,
    "kv_latent_dim": 12,
    "q_latent_dim": 20,
    "d_rope": 4,
}
FORMS: dict[str, dict[str, Any]] = {
    "seed": {},
    "queries from hidden": {"q_latent_dim": None},
    "deepseek": {"mla_rope_query": "latent", "mla_latent_norm": True},
    "deepseek lite": {"q_latent_dim": None, "mla_latent_norm": True},
    "rope from latent alone": {"mla_rope_query": "latent"},
    "values wider than keys": {"v_head_dim": 18, "qk_nope_dim": 6},
    "odd heads": {"num_heads": 3, "qk_nope_dim": 5, "v_head_dim": 7, "d_rope": 6},
}


def config_of(**changes: Any) -> ModelConfig:
    return ModelConfig.from_dict({**SEED_FORM, **changes})


def model_of(form: str, seed: int = 0) -> Transformer:
    """Return a model in float64 with weights so large that attention is far from even."""
    model = build_model(config_of(**FORMS[form]), load_plugins(safe=True).mixers, seed=seed).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "self_attn" in name:
                parameter.mul_(10) if "norm" not in name else parameter.uniform_(0.5, 1.5)
    return model.eval()


def attention_of(form: str, seed: int = 0) -> MultiHeadLatentAttention:
    mixer: Any = model_of(form, seed).layers[0].mixer_module
    assert isinstance(mixer, MultiHeadLatentAttention)
    return mixer


def by_formula(weights: dict[str, Tensor], config: ModelConfig, x: Tensor) -> Tensor:
    """Return the seed family's latent attention of ``x`` (seq, hidden), a head and a position at a time."""
    heads, rope = config.num_heads, config.d_rope or 0
    head_dim = config.hidden_size // heads
    half = rope // 2

    def turned(vector: Tensor, position: int) -> Tensor:
        angle = torch.tensor([position * 10_000.0 ** (-2 * i / rope) for i in range(half)]).double()
        first, second = vector[:half], vector[half:]
        return torch.cat(
            (first * angle.cos() - second * angle.sin(), second * angle.cos() + first * angle.sin())
        )

    latents = [weights["w_dkv"] @ row for row in x]
    rope_keys = [turned(weights["w_kr"] @ row, at) for at, row in enumerate(x)]
    rows = []
    for at, row in enumerate(x):
        mixed = []
        for head in range(heads):
            own = slice(head * head_dim, (head + 1) * head_dim)
            query = weights["w_uq"][own] @ (weights["w_dq"] @ row)
            rope_query = turned(weights["w_qr"][head * rope : (head + 1) * rope] @ row, at)
            scores = torch.stack(
                [
                    query @ (weights["w_uk"][own] @ latents[past]) + rope_query @ rope_keys[past]
                    for past in range(at + 1)
                ]
            )
            shares = (scores / math.sqrt(head_dim + rope)).softmax(0)
            values = torch.stack([weights["w_uv"][own] @ latents[past] for past in range(at + 1)])
            mixed.append(shares @ values)
        rows.append(weights["o_proj"] @ torch.cat(mixed))
    return torch.stack(rows)


@pytest.mark.parametrize("shape", [{}, {"num_heads": 2, "d_rope": 8, "kv_latent_dim": 7}, {"d_rope": 2}])
def test_the_seed_familys_form_is_its_formula(shape: dict[str, Any]) -> None:
    config = config_of(**shape)
    torch.manual_seed(3)
    mixer = MultiHeadLatentAttention(config).double()
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.normal_(std=0.4)
        weights = {name.removesuffix(".weight"): value for name, value in mixer.state_dict().items()}
        assert sorted(weights) == ["o_proj", "w_dkv", "w_dq", "w_kr", "w_qr", "w_uk", "w_uq", "w_uv"]
        x = torch.randn(1, 11, config.hidden_size).double()
        expected = by_formula(weights, config, x[0])
        # Our angles are rounded to float32.
        torch.testing.assert_close(mixer(x)[0], expected, rtol=1e-6, atol=1e-6)
        state = mixer.new_state(1, 11, torch.float64, "cpu")
        stepped = [mixer.step(x[:, at : at + 1], state, torch.tensor([at])) for at in range(11)]
        torch.testing.assert_close(torch.cat(stepped, 1)[0], expected, rtol=1e-6, atol=1e-6)


@given(
    st.sampled_from(sorted(FORMS)),
    st.lists(st.integers(1, POSITIONS - 1), max_size=6),
    st.integers(1, 3),
    st.integers(0, 2**31),
)
@settings(max_examples=50, deadline=None)
def test_decoding_in_any_pieces_equals_the_full_forward(
    form: str, cuts: list[int], batch: int, seed: int
) -> None:
    model = model_of(form, seed)
    ids = torch.randint(97, (batch, POSITIONS), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        full = model(ids)
        cache = model.new_cache(batch)
        bounds = [0, *sorted(set(cuts)), POSITIONS]
        pieces = [model(ids[:, start:end], cache) for start, end in pairwise(bounds)]
    torch.testing.assert_close(torch.cat(pieces, 1), full, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("form", sorted(FORMS))
def test_both_ways_of_attending_are_one(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever is cheaper: over made keys and values, or over the latents."""
    model = model_of(form)
    ids = torch.randint(97, (2, POSITIONS), generator=torch.Generator().manual_seed(5))
    outputs = []
    for absorbed in (True, False):
        monkeypatch.setattr(MultiHeadLatentAttention, "_is_cheaper_absorbed", lambda *_, way=absorbed: way)
        cache = model.new_cache(2)
        with torch.no_grad():
            outputs.append(torch.cat([model(ids[:, :9], cache), model(ids[:, 9:], cache)], 1))
    torch.testing.assert_close(*outputs, rtol=1e-9, atol=1e-9)
    with torch.no_grad():
        torch.testing.assert_close(outputs[0], model(ids), rtol=1e-9, atol=1e-9)


def test_few_queries_over_many_positions_make_no_key_and_many_do(monkeypatch: pytest.MonkeyPatch) -> None:
    mixer = attention_of("seed")
    made: list[int] = []
    for projection in (mixer.w_uk, mixer.w_uv):
        projection.register_forward_hook(lambda module, inputs, output: made.append(inputs[0].shape[1]))
    state = mixer.new_state(1, POSITIONS, torch.float64, "cpu")
    x = torch.randn(1, POSITIONS, 32).double()
    with torch.no_grad():
        mixer(x[:, :20], state)
        assert made == [20, 20]
        mixer(x[:, 20:21], state)
        mixer(x[:, 21:23], state)
        mixer.step(x[:, 23:], state, torch.tensor([23]))
    assert made == [20, 20]


@pytest.mark.parametrize("form", sorted(FORMS))
def test_rows_at_different_positions_step_as_if_alone(form: str) -> None:
    model = model_of(form)
    ids = torch.randint(97, (3, POSITIONS), generator=torch.Generator().manual_seed(1))
    lengths = [3, 9, 17]
    with torch.no_grad():
        full = model(ids)
        caches = []
        for row, length in enumerate(lengths):
            cache = model.new_cache(1)
            model.hidden(ids[row : row + 1, :length], cache)
            caches.append(cache)
        together = join_caches(caches)
        for ahead in range(5):
            at = torch.tensor(lengths) + ahead
            logits = model.step(ids.gather(1, at[:, None])[:, 0], together, at)
            expected = torch.stack([full[row, position] for row, position in enumerate(at.tolist())])
            torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9)
            together.advance()
        # A row that was joined can be taken out and rewound.
        alone = together.row(1, lengths[1] + 5)
        assert all(state.rewind(9) and state.length == 9 for state in alone.states)
        torch.testing.assert_close(model(ids[1:2, 9:], alone), full[1:2, 9:], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("form", sorted(FORMS))
def test_the_cache_holds_latents_and_one_rotary_key_for_each_position(form: str) -> None:
    config = config_of(**FORMS[form])
    mixer = MultiHeadLatentAttention(config)
    for batch, positions in ((1, 10), (3, 7)):
        tensors = mixer.new_state(batch, positions, torch.bfloat16, "cpu").tensors()
        numbers = sum(tensor.numel() for tensor in tensors.values())
        assert numbers == batch * positions * ((config.kv_latent_dim or 0) + (config.d_rope or 0))
        assert all(tensor.dtype == torch.bfloat16 for tensor in tensors.values())


def test_a_cache_and_the_positions_are_finite() -> None:
    model = model_of("seed")
    with torch.no_grad():
        cache = model.new_cache(1, 4)
        model(torch.zeros(1, 4, dtype=torch.long), cache)
        with pytest.raises(ValueError, match="4 positions cannot hold 5"):
            model(torch.zeros(1, 1, dtype=torch.long), cache)
        with pytest.raises(ValueError, match="beyond the 24"):
            model(torch.zeros(1, POSITIONS + 1, dtype=torch.long))


def test_no_position_sees_a_later_one() -> None:
    model = model_of("deepseek")
    ids = torch.randint(97, (1, POSITIONS), generator=torch.Generator().manual_seed(2))
    changed = ids.clone()
    changed[0, 10:] = (changed[0, 10:] + 1) % 97
    with torch.no_grad():
        before, after = model(ids), model(changed)
    torch.testing.assert_close(before[:, :10], after[:, :10], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(before[:, 10:], after[:, 10:])


def test_gradients_are_right() -> None:
    mixer = attention_of("deepseek")
    x = torch.randn(1, 5, 32, dtype=torch.float64, requires_grad=True)
    names, values = zip(*mixer.named_parameters(), strict=True)
    start = [value.detach().clone().requires_grad_() for value in values]

    def mix(x: Tensor, *parameters: Tensor) -> Any:
        return torch.func.functional_call(mixer, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(mix, (x, *start), fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near_and_keeps_its_dtype(dtype: torch.dtype) -> None:
    exact = attention_of("deepseek")
    x = torch.randn(2, 12, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected = exact(x)
        mixer = exact.to(dtype)
        state = mixer.new_state(2, 12, dtype, "cpu")
        first = mixer(x[:, :8].to(dtype), state)
        rest = [mixer(x[:, at : at + 1].to(dtype), state) for at in range(8, 12)]
    ours = torch.cat([first, *rest], 1)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours.double(), expected, rtol=0.1, atol=0.1 * float(expected.std()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kv_latent_dim": None, "mixer": "mla"}, "kv_latent_dim is missing, and there are mla layers"),
        ({"num_heads": None}, "num_heads is missing, and there are mla layers"),
        ({"num_heads": 5}, "num_heads 5 does not divide hidden_size 32, from which qk_nope_dim and v_head"),
        ({"d_rope": 5}, "d_rope 5 is odd, and rotary positions turn channels in pairs"),
        ({"q_latent_dim": None, "mla_rope_query": "latent"}, "without q_latent_dim queries have no latent"),
        ({"mla_rope_query": "both"}, "mla_rope_query"),
    ],
)
def test_what_cannot_be_built_is_told(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(**changes)


def test_defaults_and_heads_that_need_no_division() -> None:
    assert config_of(d_rope=None).latent_head_dims == (8, 4, 8)
    assert config_of(d_rope=None, hidden_size=12, num_heads=4).latent_head_dims == (3, 2, 3), "odd heads do"
    free = config_of(num_heads=5, qk_nope_dim=4, v_head_dim=6)
    assert free.latent_head_dims == (4, 4, 6)
    assert mixer_names(config_of(kv_heads=3)) == ["mla", "mla"], "kv_heads says nothing about latents"
    with torch.no_grad():
        model = build_model(free, load_plugins(safe=True).mixers, seed=0)
        assert model(torch.zeros(1, 3, dtype=torch.long)).shape == (1, 3, 97)
