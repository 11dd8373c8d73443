"""The model config: the seed family's keys load, bad ones are named, the parameter formula is exact."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from nanoshell.errors import CheckpointError, ConfigError
from nanoshell.model.config import (
    ModelConfig,
    check_format,
    check_kinds,
    check_vocabulary,
    feed_forward_names,
    mixer_names,
)
from nanoshell.model.parameters import parameter_split
from nanoshell.model.transformer import count_parameters
from nanoshell.plugin.manager import load_plugins
from nanoshell.plugin.registry import Registry
from nanoshell.training.presets import list_presets, load_config

SMALL = {"hidden_size": 64, "num_layers": 2, "num_heads": 4}

SEED_NANO: dict[str, Any] = {
    "name": "nano",
    "hidden_size": 384,
    "num_layers": 8,
    "num_heads": 6,
    "kv_heads": None,
    "kv_latent_dim": 192,
    "q_latent_dim": 192,
    "d_rope": 16,
    "num_experts": 4,
    "experts_per_tok": 2,
    "shared_expert_enabled": True,
    "intermediate_size": 1536,
    "mamba_layers": [0, 1, 2, 4, 5, 6],
    "mamba2_num_heads": 48,
    "mamba2_head_dim": 16,
    "mamba2_state_size": 64,
    "mamba2_chunk_size": 64,
    "mamba2_n_groups": 1,
    "mamba2_conv_kernel": 4,
    "mamba2_expand": 2,
    "mamba3_enabled": None,
    "mamba3_complex_rope": None,
    "mamba3_mimo_rank": None,
    "mamba3_use_conv": None,
    "vocab_size": 128354,
    "max_seq_len": 512,
    "rope_theta": 10000.0,
    "dtype": "f32",
}


def kinds(**names: str) -> Registry[Any]:
    registry: Registry[Any] = Registry("layer kind")
    for name, kind in names.items():
        registry.add(name, object(), provider="test", kind=kind)
    return registry


OURS = kinds(attention="mixer", swiglu="feed_forward")


def test_every_key_of_the_seed_family_loads_and_null_means_absent() -> None:
    config = ModelConfig.from_dict(SEED_NANO)
    assert config.num_kv_heads == 6
    assert config.dtype == "float32"
    assert config.mamba3_enabled is False
    assert ModelConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("changes", "mixers", "feed_forwards"),
    [
        ({}, {"attention"}, {"swiglu"}),
        ({"kv_latent_dim": 8}, {"mla"}, {"swiglu"}),
        ({"kv_latent_dim": 8, "num_experts": 2}, {"mla"}, {"moe"}),
        ({"mamba_layers": [0, 1]}, {"mamba1"}, {"none"}),
        ({"mamba_layers": [0, 1], "mamba2_num_heads": 8, "mamba2_head_dim": 16}, {"mamba2"}, {"none"}),
        ({"mamba_layers": [0, 1], "mamba3_enabled": True}, {"mamba3"}, {"none"}),
        ({"mamba_layers": [0]}, {"mamba1", "attention"}, {"none", "swiglu"}),
        ({"mixer": "mine"}, {"mine"}, {"swiglu"}),
        ({"mamba_layers": [1], "mixer": "mine", "feed_forward": "yours"}, {"mamba1", "mine"}, {"yours"}),
        ({"feed_forward": "none"}, {"attention"}, {"none"}),
    ],
)
def test_layer_kinds_follow_the_rule(
    changes: dict[str, Any], mixers: set[str], feed_forwards: set[str]
) -> None:
    config = ModelConfig.from_dict({**SMALL, **changes})
    assert set(mixer_names(config)) == mixers
    assert set(feed_forward_names(config)) == feed_forwards
    for index in config.mamba_layers:
        assert mixer_names(config)[index].startswith("mamba")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hiden_size": 64}, "unknown key 'hiden_size'; did you mean 'hidden_size'?"),
        ({"zzz": 1}, "unknown key 'zzz'"),
        ({"hidden_size": "64"}, "'hidden_size' is '64', but it must be a whole number"),
        ({"num_layers": 2.5}, "'num_layers' is 2.5, but it must be a whole number"),
        ({"num_heads": True}, "'num_heads' is True, but it must be a whole number"),
        ({"num_layers": 0}, "'num_layers' is 0, but it must be at least 1"),
        ({"rope_theta": -1}, "'rope_theta' is -1, but it must be greater than 0"),
        ({"rope_theta": float("nan")}, "'rope_theta' is nan, but it must be"),
        ({"qk_norm": "yes"}, "'qk_norm' is 'yes', but it must be true or false"),
        ({"dtype": "float8"}, "'dtype' is 'float8', but it must be one of"),
        ({"mamba_layers": "0,1"}, "'mamba_layers' is '0,1', but it must be a list"),
        ({"mamba_layers": [0, "a"]}, "'mamba_layers[1]' is 'a', but it must be a whole number"),
        ({"mamba_layers": [5]}, "mamba_layers names layer 5, but there are 2 layers"),
        ({"num_heads": 3}, "num_heads 3 does not divide hidden_size 64"),
        ({"num_heads": 64}, "an odd number"),
        ({"kv_heads": 3}, "kv_heads 3 does not divide num_heads 4"),
        ({"kv_heads": 8}, "kv_heads 8 does not divide num_heads 4"),
        ({"dropout": 1.0}, "'dropout' is 1.0, but it must be less than 1"),
        ({"num_experts": 2, "experts_per_tok": 3}, "experts_per_tok 3 is more than num_experts 2"),
        (
            {"mamba_layers": [0], "mamba2_num_heads": 8, "mamba2_head_dim": 8},
            "hidden_size 64 × mamba2_expand 2 is 128, but mamba2_num_heads 8 × mamba2_head_dim 8 is 64",
        ),
        (
            {"mamba_layers": [0], "mamba2_num_heads": 48},
            "hidden_size 64 × mamba2_expand 2 is 128, and mamba2_num_heads 48 does not divide it",
        ),
        (
            {"mamba_layers": [0], "mamba2_head_dim": 200},
            "hidden_size 64 × mamba2_expand 2 is 128, and mamba2_head_dim 200 does not divide it",
        ),
        (
            {"mamba_layers": [0], "mamba2_num_heads": 8, "mamba2_n_groups": 3},
            "mamba2_n_groups 3 does not divide the 8 heads of a Mamba layer",
        ),
    ],
)
def test_a_bad_value_is_one_clear_message_that_begins_with_the_file(
    changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        ModelConfig.from_dict({**SMALL, **changes}, "models/x.yaml")
    assert caught.value.message.startswith("models/x.yaml: ")
    assert said in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 2


def test_a_misspelt_key_is_not_also_reported_as_missing() -> None:
    with pytest.raises(ConfigError) as caught:
        ModelConfig.from_dict({"hiden_size": 64, "num_layers": 1, "num_heads": 2}, "x")
    assert caught.value.message == "x: unknown key 'hiden_size'; did you mean 'hidden_size'?"


@pytest.mark.parametrize("data", [[1, 2], "text", 3, None])
def test_something_that_is_no_mapping_is_refused(data: Any) -> None:
    with pytest.raises(ConfigError, match="must be a mapping"):
        ModelConfig.from_dict(data, "x")


@pytest.mark.parametrize(
    ("keys", "heads"),
    [
        ({"mamba2_num_heads": 16}, (16, 8)),
        ({"mamba2_head_dim": 32}, (4, 32)),
        ({"mamba2_state_size": 8}, (2, 64)),
        ({"mamba2_state_size": 8, "mamba2_expand": 3}, (3, 64)),
        ({"hidden_size": 33, "mamba2_state_size": 8}, (2, 33)),
    ],
)
def test_the_heads_of_a_mamba_layer_follow_from_what_is_given(
    keys: dict[str, Any], heads: tuple[int, int]
) -> None:
    config = ModelConfig.from_dict({"hidden_size": 64, "num_layers": 1, "mamba_layers": [0], **keys})
    assert config.mamba_heads == heads


def test_attention_needs_heads_but_a_mamba_model_does_not() -> None:
    with pytest.raises(ConfigError, match="num_heads is missing"):
        ModelConfig.from_dict({"hidden_size": 64, "num_layers": 2})
    ModelConfig.from_dict({"hidden_size": 64, "num_layers": 2, "mamba_layers": [0, 1]})


def test_numbers_that_yaml_reads_as_text_are_still_numbers() -> None:
    """YAML 1.1 reads ``1e4`` as a string."""
    assert ModelConfig.from_dict({**SMALL, "rope_theta": "1e4"}).rope_theta == 10_000


def test_an_unregistered_kind_names_the_layers_and_what_there_is() -> None:
    with pytest.raises(ConfigError) as caught:
        check_kinds(ModelConfig.from_dict({**SMALL, "mamba_layers": [1]}), OURS)
    assert "no mixer 'mamba1' is registered, and layer 1 of 'model' needs it" in caught.value.message
    assert "attention" in caught.value.hint
    with pytest.raises(ConfigError, match="did you mean 'swiglu'"):
        check_kinds(ModelConfig.from_dict({**SMALL, "feed_forward": "swigul"}), OURS)
    with pytest.raises(ConfigError, match="no mixer 'swiglu'"):
        check_kinds(ModelConfig.from_dict({**SMALL, "mixer": "swiglu"}), OURS)
    check_kinds(ModelConfig.from_dict({**SMALL, "feed_forward": "none"}), OURS)


def test_a_vocabulary_smaller_than_the_tokenizers_is_refused() -> None:
    class Tokenizer:
        name, vocab_size = "cl100k_base", 100_331

    config = ModelConfig.from_dict({**SMALL, "vocab_size": 50_000})
    with pytest.raises(ConfigError, match=r"vocab_size 50,000 .* smaller .* 100,331"):
        check_vocabulary(config, Tokenizer())  # type: ignore[arg-type]
    check_vocabulary(ModelConfig.from_dict(SMALL), Tokenizer())  # type: ignore[arg-type]


def test_a_newer_format_is_said_plainly() -> None:
    check_format({}, "x")
    with pytest.raises(CheckpointError, match="format 99"):
        check_format({"format": 99}, "x")
    with pytest.raises(CheckpointError):
        check_format({"format": "two"}, "x")


@pytest.fixture(scope="module")
def ours() -> Registry[Any]:
    return load_plugins(safe=True).mixers


@st.composite
def shapes(draw: st.DrawFn) -> ModelConfig:
    """A model of one to three layers of any kinds; options drawn so that each term of a formula varies."""
    kv_heads = draw(st.sampled_from([1, 2, 3]))
    heads = kv_heads * draw(st.integers(1, 3))
    layers = draw(st.integers(1, 3))
    width = heads * 2 * draw(st.integers(1, 4))
    groups = draw(st.sampled_from([1, 2]))
    options = {
        "kv_heads": [None, kv_heads],
        "intermediate_size": [None, 7, 48],
        "qk_norm": [True, False],
        "tie_embeddings": [True, False],
        "kv_latent_dim": [5, 8],
        "q_latent_dim": [None, 6],
        "d_rope": [None, 2],
        "qk_nope_dim": [None, 3],
        "v_head_dim": [None, 7],
        "mla_latent_norm": [True, False],
        "num_experts": [1, 3],
        "shared_expert_enabled": [None, True],
        "expert_size": [None, 9],
        "shared_expert_size": [None, 5],
        "router_bias": [True, False],
        "mamba_state_size": [None, 3],
        "mamba_conv_kernel": [None, 2],
        "mamba_expand": [None, 3],
        "mamba_dt_rank": [None, 4],
        "mamba2_state_size": [None, 8],
        "mamba2_conv_kernel": [None, 3],
        "mamba2_expand": [None, 4],
        "mamba3_complex_rope": [None, False],
        "mamba3_mimo_rank": [None, 0, 3],
        "mamba3_use_conv": [None, True],
    }
    drawn = {key: draw(st.sampled_from(values)) for key, values in options.items()}
    if drawn["q_latent_dim"]:
        drawn["mla_rope_query"] = draw(st.sampled_from(["hidden", "latent"]))
    mixers = st.sampled_from(["attention", "mla", "mamba1", "mamba2", "mamba3"])
    feed_forwards = st.sampled_from(["swiglu", "moe", "none"])
    return ModelConfig(
        hidden_size=width,
        num_layers=layers,
        num_heads=heads,
        vocab_size=draw(st.integers(1, 50)),
        max_seq_len=4,
        mamba2_num_heads=2 * groups,
        mamba2_n_groups=groups,
        mixer=tuple(draw(mixers) for _ in range(layers)),
        feed_forward=tuple(draw(feed_forwards) for _ in range(layers)),
        **{key: value for key, value in drawn.items() if value is not None},
    )


@given(shapes())
@settings(max_examples=60, deadline=None)
def test_the_parameter_formula_agrees_with_the_module(ours: Registry[Any], config: ModelConfig) -> None:
    counted = count_parameters(config, ours)
    assert parameter_split(config) == counted
    assert counted.total == parameter_split(config).total


def test_the_formula_admits_what_it_does_not_know() -> None:
    split = parameter_split(ModelConfig.from_dict({**SMALL, "mixer": ["attention", "mine"]}))
    assert split.mixers is None
    assert split.total is None
    assert split.embedding == 100_331 * 64
    assert split.feed_forwards == 2 * 3 * 64 * 192


@pytest.mark.parametrize(
    ("keys", "unused"),
    [
        ({"num_experts": 4, "expert_size": 8}, ["num_experts", "expert_size"]),
        ({"num_experts": 4, "feed_forward": "moe"}, []),
        ({"q_latent_dim": 4, "mla_latent_norm": True}, ["q_latent_dim", "mla_latent_norm"]),
        ({"kv_latent_dim": 8, "qk_norm": True}, ["qk_norm"]),
        ({"mamba3_enabled": True, "mamba2_state_size": 8}, ["mamba2_state_size", "mamba3_enabled"]),
        ({"mamba_layers": [0], "mamba2_state_size": 8, "mamba_expand": 2}, ["mamba_expand"]),
        ({"mamba_layers": [0, 1], "intermediate_size": 64}, ["num_heads", "intermediate_size"]),
        ({"num_experts": 0, "router_bias": False, "rope_theta": 10_000.0}, []),
        ({"mixer": "mine", "num_experts": 4}, []),
    ],
)
def test_keys_that_no_layer_reads_are_known(keys: dict[str, Any], unused: list[str]) -> None:
    shape = {"hidden_size": 32, "num_layers": 2, "num_heads": 2}
    assert ModelConfig.from_dict({**shape, **keys}).unused_keys() == unused


@pytest.mark.parametrize("name", [preset.name for preset in list_presets()])
def test_our_presets_give_no_key_in_vain(name: str) -> None:
    assert load_config(name).model.unused_keys() == []


def test_config_and_backend_load_no_torch() -> None:
    code = (
        "import nanoshell.model.config, nanoshell.model.backend, nanoshell_torch, nanoshell_samplers, sys\n"
        "import nanoshell_torch.backends\n"
        "assert not {'torch', 'numpy', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
