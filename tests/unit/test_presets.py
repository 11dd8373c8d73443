"""The presets that come with nanoshell, and files of the seed family: what they say, and that they train."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from nanoshell.data.corpus import Corpus, prepare_corpus
from nanoshell.data.source import open_source
from nanoshell.data.vocabulary import tokenizer_from_data
from nanoshell.model.config import feed_forward_names, mixer_names, with_vocabulary
from nanoshell.model.parameters import parameter_split
from nanoshell.model.transformer import count_parameters
from nanoshell.plugin.manager import Plugins, load_plugins
from nanoshell.tokenizer.base import Tokenizer
from nanoshell.tokenizer.special import FEW_SPECIAL_TOKENS
from nanoshell.tokenizer.store import recipe_of
from nanoshell.training.config import RunConfig
from nanoshell.training.numerics import Numerics
from nanoshell.training.presets import list_presets, load_config
from nanoshell.training.request import fit_vocabulary
from nanoshell.training.trainer import Trainer, build_trainer

MODELS = Path(__file__).parents[2] / "models"
SEED_FILES = Path(__file__).parent / "seed_files"
NAMES = sorted(path.stem for path in MODELS.glob("*.yaml"))

_MAMBA_OF_NANO = {
    "mamba2_num_heads": 48,
    "mamba2_head_dim": 16,
    "mamba2_state_size": 64,
    "mamba2_chunk_size": 64,
}
_ATTENTION_OF_NANO = {
    "num_heads": 6,
    "kv_latent_dim": 192,
    "q_latent_dim": 192,
    "d_rope": 16,
    "num_experts": 4,
    "experts_per_tok": 2,
    "shared_expert_enabled": True,
    "intermediate_size": 1536,
    "mamba_layers": (0, 1, 2, 4, 5, 6),
}
_NANO = {"hidden_size": 384, "num_layers": 8, "vocab_size": 128_354, "max_seq_len": 512, **_MAMBA_OF_NANO}
_EVERY_LAYER = {"mamba_layers": tuple(range(8)), "kv_latent_dim": None, "num_experts": None}
_MAMBA3 = {"mamba3_enabled": True, "mamba3_complex_rope": True, "mamba3_use_conv": False}

SHAPES: dict[str, dict[str, Any]] = {
    "nano-start": {
        "hidden_size": 128,
        "num_layers": 4,
        "num_heads": 4,
        "kv_latent_dim": 64,
        "q_latent_dim": 64,
        "d_rope": 8,
        "num_experts": 2,
        "experts_per_tok": 1,
        "shared_expert_enabled": True,
        "intermediate_size": 512,
        "mamba_layers": (0, 1, 2),
        "mamba2_num_heads": 16,
        "mamba2_head_dim": 16,
        "mamba2_state_size": 32,
        "mamba2_chunk_size": 32,
        "mamba2_conv_kernel": 4,
        "mamba2_expand": 2,
        "vocab_size": 100_331,
        "max_seq_len": 64,
    },
    "nano": {**_NANO, **_ATTENTION_OF_NANO, "mamba3_enabled": False},
    "nano_mamba2": {**_NANO, **_EVERY_LAYER, "mamba3_enabled": False},
    "nano_mamba3": {**_NANO, **_EVERY_LAYER, **_MAMBA3, "mamba3_mimo_rank": 0},
    "nano_mamba3_hybrid": {**_NANO, **_ATTENTION_OF_NANO, **_MAMBA3, "mamba3_mimo_rank": 0},
    "nano_mamba3_mimo": {**_NANO, **_EVERY_LAYER, **_MAMBA3, "mamba3_mimo_rank": 4},
}
"""What the seed family fixed of each."""


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return load_plugins(safe=True)


@pytest.fixture(scope="module")
def tokenizer(plugins: Plugins) -> Tokenizer:
    found: Tokenizer = plugins.tokenizers.get("cl100k_base")()
    return found


@pytest.fixture(scope="module")
def corpus(plugins: Plugins, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    source = open_source("nano-start", plugins.sources)
    template = plugins.chat_templates.get("roles")()
    return prepare_corpus(source, tokenizer, template, cache_dir=tmp_path_factory.mktemp("cache"))


def kinds(config: RunConfig) -> list[tuple[str, str]]:
    return list(zip(mixer_names(config.model), feed_forward_names(config.model), strict=True))


@pytest.mark.parametrize("name", SHAPES)
def test_the_shape_is_that_of_the_seed_family(name: str) -> None:
    model = load_config(MODELS / f"{name}.yaml").model
    assert model.name == name
    assert {key: getattr(model, key) for key in SHAPES[name]} == SHAPES[name]


@pytest.mark.parametrize(
    ("name", "mamba", "others"),
    [
        ("nano-start", "mamba2", {3}),
        ("nano", "mamba2", {3, 7}),
        ("nano_mamba2", "mamba2", set()),
        ("nano_mamba3", "mamba3", set()),
        ("nano_mamba3_hybrid", "mamba3", {3, 7}),
        ("nano_mamba3_mimo", "mamba3", set()),
    ],
)
def test_each_layer_is_what_the_rule_of_the_seed_family_says(name: str, mamba: str, others: set[int]) -> None:
    for index, pair in enumerate(kinds(load_config(MODELS / f"{name}.yaml"))):
        assert pair == (("mla", "moe") if index in others else (mamba, "none"))


def test_training_of_nano_is_that_of_the_seed_family() -> None:
    for name in NAMES:
        if name.startswith("nano_") or name == "nano":
            trainer = load_config(MODELS / f"{name}.yaml").trainer
            assert (trainer.learning_rate, trainer.batch_size, trainer.gradient_accumulation) == (3e-4, 4, 2)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_can_be_named_and_says_what_it_is(name: str) -> None:
    (preset,) = [preset for preset in list_presets() if preset.name == name]
    # In the menu of completion a line has 80 columns, five of them for margins.
    assert 20 < len(preset.summary) <= 75 - max(map(len, NAMES))
    assert load_config(name).model.name == name
    text = (MODELS / f"{name}.yaml").read_text("utf-8")
    assert f"train --config {name} " in text
    assert len(set(re.findall(r"^ +(\w+):", text, re.MULTILINE))) == len(
        re.findall(r"^ +(\w+):", text, re.MULTILINE)
    )


@pytest.mark.parametrize("name", NAMES)
def test_its_parameters_are_known_without_torch(name: str, plugins: Plugins) -> None:
    config = load_config(name).model
    assert parameter_split(config) == count_parameters(config, plugins.mixers)


def test_nano_has_as_many_parameters_as_its_author_says(plugins: Plugins) -> None:
    total = count_parameters(load_config("nano").model, plugins.mixers).total
    assert total is not None
    assert round(total / 1e6) == 123


def test_nano_llama_is_a_llama_and_nothing_else(plugins: Plugins) -> None:
    transformers = pytest.importorskip("transformers")
    config = load_config("nano-llama").model
    assert set(kinds(load_config("nano-llama"))) == {("attention", "swiglu")}
    assert not config.qk_norm
    llama = transformers.LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.feed_forward_size,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        num_key_value_heads=config.num_kv_heads,
        tie_word_embeddings=config.tie_embeddings,
    )
    with torch.device("meta"):
        theirs = sum(p.numel() for p in transformers.LlamaForCausalLM(llama).parameters())
    assert count_parameters(config, plugins.mixers).total == theirs
    assert config.hidden_size % 256 == config.feed_forward_size % 256 == 0


def test_tiny_shakespeare_has_the_shape_of_its_peer(plugins: Plugins) -> None:
    config = with_vocabulary(load_config("tiny-shakespeare").model, 65 + len(FEW_SPECIAL_TOKENS))
    assert set(kinds(load_config("tiny-shakespeare"))) == {("attention", "relu2")}
    assert (config.hidden_size, config.num_layers, config.num_heads, config.max_seq_len) == (128, 4, 4, 64)
    assert count_parameters(config, plugins.mixers).total == 12 * 4 * 128**2 + 2 * 69 * 128


def reduced(config: RunConfig) -> RunConfig:
    """Return a preset for 20 steps in a test: the wide ones narrower, in the same proportions.

    What decides which parts there are stays as it is. A narrow model takes large steps: one rate for all.
    """
    model = config.model.to_dict()
    by = max(1, model["hidden_size"] // 64)
    by = 8 if by == 6 else by
    if recipe_of(config.model.tokenizer):  # its data decides it
        del model["vocab_size"]
    widths = ("hidden_size", "intermediate_size", "kv_latent_dim", "q_latent_dim", "d_rope")
    for key in (*widths, "mamba2_num_heads", "mamba2_state_size", "mamba2_chunk_size"):
        if model.get(key):
            model[key] = max(2, model[key] // by)
    trainer = {
        **config.trainer.model_dump(mode="json", exclude_none=True),
        "learning_rate": 0.01,
        "warmup_steps": 2,
        "max_steps": 20,
        "seq_len": 64,
        "batch_size": 4,
        "gradient_accumulation": 1,
        "val_fraction": 0.0,
        "softmax": "sampled",
        "device": "cpu",
    }
    return RunConfig.from_dict({"model": model, "trainer": trainer}, config.model.name)


def trainer_of(config: RunConfig, plugins: Plugins, tokenizer: Tokenizer, corpus: Corpus) -> Trainer:
    """Return the trainer of ``config`` on ``corpus``, tokenized anew where data makes its tokenizer."""
    torch.set_num_threads(1)
    recipe = recipe_of(config.model.tokenizer)
    if recipe is not None:
        source, folder = open_source("nano-start", plugins.sources), corpus.path.parent
        tokenizer = tokenizer_from_data(recipe, source, cache_dir=folder)
        template = plugins.chat_templates.get("roles")()
        corpus = prepare_corpus(source, tokenizer, template, cache_dir=folder)
        config = fit_vocabulary(config, tokenizer)
    return build_trainer(
        config,
        plugins,
        tokenizer,
        corpus.path,
        numerics=Numerics("cpu", "float32", "sampled", 1),
        device=torch.device("cpu"),
        horizon=20,
    )


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_twenty_steps_with_falling_loss(
    name: str, plugins: Plugins, tokenizer: Tokenizer, corpus: Corpus
) -> None:
    config = reduced(load_config(name))
    assert kinds(config) == kinds(load_config(name))
    trainer = trainer_of(config, plugins, tokenizer, corpus)
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    results = [trainer.update() for _ in range(20)]
    assert not any(result.diverged for result in results)
    losses = [result.loss for result in results]
    assert losses[0] == pytest.approx(math.log(trainer.config.model.vocab_size), abs=0.6)
    thirds = [sum(losses[start : start + 6]) / 6 for start in (0, 7, 14)]
    assert thirds[0] > thirds[1] > thirds[2]
    assert losses[0] - thirds[2] > 1
    still = [key for key, value in trainer.model.state_dict().items() if torch.equal(value, before[key])]
    assert still == []


@pytest.mark.parametrize("path", sorted(SEED_FILES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_file_of_the_seed_family_loads_unchanged_and_its_model_can_be_built(
    path: Path, plugins: Plugins
) -> None:
    config = load_config(path)
    written = yaml.safe_load(path.read_text("utf-8"))
    given = {key: value for key, value in written["model"].items() if value is not None}
    shown = {**config.model.to_dict(), "dtype": given.get("dtype"), "rope_theta": given.get("rope_theta")}
    assert {key: shown[key] for key in given} == given
    assert count_parameters(config.model, plugins.mixers).total
    assert RunConfig.from_dict(config.to_dict(), "again") == config


def test_layers_and_keys_of_the_seed_familys_files() -> None:
    def load(stem: str) -> RunConfig:
        return load_config(SEED_FILES / f"{stem}.yaml")

    assert kinds(load("nano_start")) == [("mamba2", "none")] * 3 + [("mla", "moe")]
    assert kinds(load("attention")) == [("attention", "swiglu")] * 2
    assert kinds(load("mamba1")) == [
        ("attention", "swiglu"),
        ("mamba1", "none"),
        ("mamba1", "none"),
        ("attention", "swiglu"),
    ]
    assert kinds(load("mamba3_mimo")) == [("mamba3", "none")] * 2
    assert load("attention").trainer.unused_keys() == [
        "checkpoint_dir",
        "group_size",
        "beta_kl",
        "distributed",
    ]
    assert load("attention").trainer.device_name == "auto"
    assert (load("attention").dtype, load("mamba3_mimo").dtype) == ("bfloat16", "float16")
    assert load("nano_start").trainer.load_balance_alpha == 0.01


@pytest.mark.parametrize("stem", ["nano_start", "mamba1"])
def test_a_file_of_the_seed_family_trains(
    stem: str, plugins: Plugins, tokenizer: Tokenizer, corpus: Corpus
) -> None:
    config = load_config(SEED_FILES / f"{stem}.yaml", {"learning_rate": 0.004, "seq_len": 64})
    trainer = trainer_of(config, plugins, tokenizer, corpus)
    losses = [trainer.update().loss for _ in range(8)]
    assert losses[0] == pytest.approx(math.log(100_331), abs=0.6)
    assert losses[-1] < losses[0] - 0.5


def test_another_tokenizer_brings_its_own_vocabulary() -> None:
    sizes = [
        "vocab_size" in load_config("nano-start", given).model.model_fields_set
        for given in ({}, {"model.tokenizer": "char"}, {"tokenizer": "char", "model.vocab_size": 300})
    ]
    assert sizes == [True, False, True]
