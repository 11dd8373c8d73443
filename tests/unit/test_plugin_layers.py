"""Layers of a third party: chosen and configured by a preset, trained, saved, loaded, decoded.

The plugins are those of the guide, as files of a folder: its mixer and feed-forward, and its tokenizer.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from nanoshell.errors import ConfigError
from nanoshell.generation.engine import Engine, GenerationRequest
from nanoshell.model.cache import join_caches
from nanoshell.model.config import ModelConfig, check_kinds
from nanoshell.model.transformer import Transformer, build_model, count_parameters
from nanoshell.model.weights import load_model
from nanoshell.plugin.manager import Plugins
from nanoshell.testing import plugins_with
from nanoshell.tokenizer.base import Tokenizer
from nanoshell.training.config import RunConfig
from nanoshell.training.numerics import Numerics
from nanoshell.training.presets import load_config
from nanoshell.training.trainer import Trainer, build_trainer

GUIDE = (Path(__file__).parents[2] / "docs" / "hooks.md").read_text(encoding="utf-8")

PRESET = """
model:
  name: stranger
  hidden_size: 16
  num_layers: 3
  num_heads: 2
  intermediate_size: 32
  tokenizer: bytes
  vocab_size: 257
  max_seq_len: 32
  mixer: [decaying_average, attention, decaying_average]
  feed_forward: [squared_relu, swiglu, none]
  layer_options:
    decaying_average: {decay: 0.6}
trainer:
  batch_size: 4
  learning_rate: 0.01
  max_steps: 30
"""


def example(hook: str) -> str:
    """Return the Python example of a hook's section."""
    match = re.search(r"^```python\n(.*?)^```", GUIDE.partition(f"### `{hook}`")[2], re.MULTILINE | re.DOTALL)
    assert match
    return match[1]


@pytest.fixture
def plugins(plugins_folder: Path) -> Plugins:
    (plugins_folder / "fading.py").write_text(example("register_mixers"), encoding="utf-8")
    (plugins_folder / "bytewise.py").write_text(example("register_tokenizers"), encoding="utf-8")
    return plugins_with(plugins_dir=plugins_folder)


@pytest.fixture
def tokenizer(plugins: Plugins) -> Tokenizer:
    found: Tokenizer = plugins.tokenizers.get("bytes")()
    return found


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    path = tmp_path / "stranger.yaml"
    path.write_text(PRESET)
    return load_config(path)


@pytest.fixture
def trainer(config: RunConfig, plugins: Plugins, tokenizer: Tokenizer, tmp_path: Path) -> Trainer:
    torch.set_num_threads(1)
    text = "".join(f"{n} and {n} are {2 * n}. " for n in range(100))
    np.array(tokenizer.encode(text), dtype="<u4").tofile(tmp_path / "sums.bin")
    return build_trainer(
        config,
        plugins,
        tokenizer,
        tmp_path / "sums.bin",
        numerics=Numerics("cpu", "float32", "full", 1),
        device=torch.device("cpu"),
        horizon=30,
    )


def test_it_trains_is_saved_loaded_and_decoded(
    trainer: Trainer, plugins: Plugins, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    losses = [trainer.update().loss for _ in range(30)]
    assert losses[0] == pytest.approx(np.log(257), abs=0.3)
    assert losses[-1] < losses[0] - 2

    folder = tmp_path / "saved"
    folder.mkdir()
    trainer.save_weights(folder, tokenizer)
    written = json.loads((folder / "config.json").read_text())
    assert written["layer_providers"] == {
        "attention": "torch",
        "decaying_average": "fading",
        "squared_relu": "fading",
        "swiglu": "torch",
    }
    assert written["layer_options"] == {"decaying_average": {"decay": 0.6}}

    model = load_model(folder, plugins.mixers, tokenizer=tokenizer)
    assert "layers.0.average.out_proj.weight" in model.state_dict()
    assert "layers.0.mlp.up_proj.weight" in model.state_dict()
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])

    prompt = tokenizer.encode("7 and 7 ")
    engine = Engine(model, tokenizer, plugins.samplers)
    said = list(engine.generate(GenerationRequest(prompt, 12, {"temperature": 0})))
    ids = list(prompt)
    with torch.no_grad():
        for token in said:
            assert token.id == int(trainer.model.eval()(torch.tensor([ids]))[0, -1, :256].argmax())
            ids.append(token.id)
    assert len(said) == 12


def test_its_step_and_its_states_serve_rows_of_different_lengths(config: RunConfig, plugins: Plugins) -> None:
    model = build_model(config.model, plugins.mixers, seed=0)
    assert model.can_step
    ids = torch.randint(256, (2, 14), generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([3, 9])
    with torch.no_grad():
        whole = model(ids)
        caches = [model.new_cache(1) for _ in lengths]
        for row, cache in enumerate(caches):
            model.hidden(ids[row : row + 1, : lengths[row]], cache)
        joined = join_caches(caches)
        assert joined.has_rows
        for _ in range(5):
            logits = model.step(ids[[0, 1], lengths], joined, lengths)
            torch.testing.assert_close(logits, whole[[0, 1], lengths], rtol=1e-4, atol=1e-5)
            joined.advance()
            lengths = lengths + 1


def test_options_reach_the_layer_and_bad_ones_are_its_own_to_refuse(
    config: RunConfig, plugins: Plugins
) -> None:
    ids = torch.arange(8)[None]

    def logits(options: dict[str, Any]) -> Tensor:
        shape = {**config.model.to_dict(), "layer_options": {"decaying_average": options}}
        with torch.no_grad():
            found: Tensor = build_model(ModelConfig.from_dict(shape), plugins.mixers, seed=0)(ids)
        return found

    assert torch.equal(logits({}), logits({"decay": 0.9}))
    assert not torch.allclose(logits({"decay": 0.5}), logits({"decay": 0.9}))
    with pytest.raises(ConfigError, match="decaying_average takes a decay between 0 and 1, not 2"):
        logits({"decay": 2})


def test_its_parameters_are_counted(config: RunConfig, plugins: Plugins) -> None:
    split = count_parameters(config.model, plugins.mixers)
    assert split.mixers == 2 * 16 * 16 + 4 * 16 * 16
    assert split.feed_forwards == 2 * 16 * 32 + 3 * 16 * 32


def test_without_the_plugin_the_error_names_it(
    trainer: Trainer, config: RunConfig, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    trainer.save_weights(folder, tokenizer)
    ours = plugins_with().mixers
    with pytest.raises(ConfigError) as caught:
        load_model(folder, ours)
    assert "no mixer 'decaying_average' is registered, and layers 0, 2" in caught.value.message
    assert "'decaying_average' came from plugin 'fading'" in caught.value.hint
    assert "'attention' came from" not in caught.value.hint
    with pytest.raises(ConfigError, match="no mixer 'decaying_average' is registered"):
        check_kinds(config.model, ours)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layer_options": {"decaying_avrage": {}}}, "did you mean 'decaying_average'?"),
        (
            {"mixer": "attention", "feed_forward": "swiglu"},
            "layer_options has 'decaying_average', and no layer is of that kind",
        ),
        (
            {"layer_options": {"attention": {"window": 8}}},
            "layer_options has 'attention', whose keys stand in model: itself",
        ),
        ({"layer_options": {"decaying_average": 0.5}}, "'layer_options.decaying_average' must be a mapping"),
        ({"layer_options": 3}, "'layer_options'"),
        ({"mixer": ["attention", "decaying_average"]}, "mixer lists 2 kinds, but there are 3 layers"),
    ],
)
def test_what_cannot_be_meant_is_told(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ModelConfig.from_dict({**yaml.safe_load(PRESET)["model"], **changes}, "mine.yaml")
    assert caught.value.message.startswith("mine.yaml: ")
    assert said in caught.value.message


class Pairs(nn.Module):
    """The least that a mixer can be: no state of its own class, no step. It adds the position before."""

    def __init__(self, config: ModelConfig, layer_index: int) -> None:
        super().__init__()
        self.map = nn.Linear(config.hidden_size, config.hidden_size)

    def new_state(self, batch: int, max_positions: int, dtype: torch.dtype, device: Any) -> dict[str, Any]:
        return {}

    def forward(self, x: Tensor, state: dict[str, Any] | None = None) -> Tensor:
        last = torch.zeros_like(x[:, :1]) if not state else state["last"]
        if state is not None:
            state["last"] = x[:, -1:]
        mapped: Tensor = self.map(x + torch.cat([last, x[:, :-1]], 1))
        return mapped


def test_the_least_that_a_mixer_can_be_still_decodes(plugins: Plugins, tokenizer: Tokenizer) -> None:
    plugins.mixers.add("pairs", Pairs, provider="other", kind="mixer")
    shape = {"hidden_size": 16, "num_layers": 2, "vocab_size": 257, "max_seq_len": 32}
    model = build_model(ModelConfig.from_dict({**shape, "mixer": "pairs"}), plugins.mixers, seed=0)
    assert isinstance(model, Transformer)
    assert not model.can_step
    assert not model.new_cache().has_rows
    prompt = tokenizer.encode("abc")
    said = [t.id for t in Engine(model, tokenizer, plugins.samplers).generate(
        GenerationRequest(prompt, 6, {"temperature": 0})
    )]  # fmt: skip
    with torch.no_grad():
        for count, token in enumerate(said):
            ids = torch.tensor([prompt + said[:count]])
            assert token == int(model(ids)[0, -1, :256].argmax())
