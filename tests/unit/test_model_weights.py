"""Model directories: what is saved is what is loaded, and damage is told, never guessed around."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from nanoshell.errors import CheckpointError, ConfigError, StorageError
from nanoshell.model.config import ModelConfig
from nanoshell.model.transformer import Transformer, build_model
from nanoshell.model.weights import load_model, read_config, save_model, write_tensors
from nanoshell.plugin.manager import load_plugins
from nanoshell.plugin.registry import Registry


class NamedTokenizer:
    """What saving needs of a tokenizer."""

    name = "cl100k_base"
    fingerprint = "f1"
    vocab_size = 97


TOKENIZER: Any = NamedTokenizer()


class Shifted(torch.nn.Module):
    """A mixer whose buffer is not in the file, and is made where torch makes things by default."""

    def __init__(self, config: ModelConfig, layer_index: int) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.full((config.hidden_size,), 2.0))
        self.register_buffer("shift", torch.arange(config.hidden_size).float(), persistent=False)

    def new_state(self, *arguments: Any) -> None:
        return None

    def forward(self, x: torch.Tensor, state: Any = None) -> torch.Tensor:
        return x * self.scale + self.get_buffer("shift")


@pytest.fixture(scope="module")
def mixers() -> Registry[Any]:
    registry = load_plugins(safe=True).mixers
    registry.add("shifted", Shifted, provider="stranger", kind="mixer")
    return registry


def model_of(mixers: Registry[Any], **changes: Any) -> Transformer:
    shape = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "vocab_size": 97, "max_seq_len": 16}
    return build_model(ModelConfig.from_dict({**shape, **changes}), mixers, seed=3)


@pytest.fixture
def saved(tmp_path: Path, mixers: Registry[Any]) -> Path:
    save_model(tmp_path, model_of(mixers), TOKENIZER)
    return tmp_path


@pytest.mark.parametrize(
    "changes",
    [{}, {"tie_embeddings": True}, {"qk_norm": True, "kv_heads": 1}, {"mixer": "shifted", "tokenizer": "x"}],
)
def test_a_saved_model_loads_as_it_was(tmp_path: Path, mixers: Registry[Any], changes: Any) -> None:
    model = model_of(mixers, **changes)
    save_model(tmp_path, model, TOKENIZER)
    loaded = load_model(tmp_path, mixers, tokenizer=TOKENIZER)
    ids = torch.arange(16)[None]
    with torch.no_grad():
        assert torch.equal(loaded(ids), model.eval()(ids))
    assert loaded.config == model.config.model_copy(update={"tokenizer": TOKENIZER.name})
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert ("lm_head.weight" in load_file(tmp_path / "model.safetensors")) is not model.config.tie_embeddings


def test_weights_laid_out_for_decoding_are_saved_as_ever(tmp_path: Path, mixers: Registry[Any]) -> None:
    model = model_of(mixers)
    assert model.lm_head is not None
    expected = model.lm_head.weight.detach().clone()
    model.lm_head.weight.data = model.lm_head.weight.data.t().contiguous().t()
    save_model(tmp_path, model, TOKENIZER)
    assert torch.equal(load_file(tmp_path / "model.safetensors")["lm_head.weight"], expected)


def test_the_tables_of_angles_stay_exact_in_bfloat16(saved: Path, mixers: Registry[Any]) -> None:
    loaded = load_model(saved, mixers, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}
    assert {buffer.dtype for buffer in loaded.buffers()} == {torch.float32}
    full = load_model(saved, mixers)
    ids = torch.arange(16)[None]
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids).float(), full(ids), rtol=0.1, atol=0.05)


def test_every_truncation_is_a_checkpoint_error(saved: Path, mixers: Registry[Any]) -> None:
    weights = saved / "model.safetensors"
    whole = weights.read_bytes()
    for length in (0, 1, 7, 8, 9, 200, len(whole) // 2, len(whole) - 1):
        weights.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="damaged or truncated"):
            load_model(saved, mixers)
    weights.write_bytes(b"\xff" * len(whole))
    with pytest.raises(CheckpointError, match="damaged or truncated"):
        load_model(saved, mixers)
    weights.unlink()
    with pytest.raises(CheckpointError, match="does not exist"):
        load_model(saved, mixers)


def test_a_difference_in_shape_or_names_names_the_tensor(saved: Path, mixers: Registry[Any]) -> None:
    weights = saved / "model.safetensors"
    whole = load_file(weights)

    def damage(**changes: Any) -> None:
        tensors = {**whole, **changes}
        save_file({name: value for name, value in tensors.items() if value is not None}, weights)

    damage(**{"norm.weight": torch.ones(31)})
    with pytest.raises(
        CheckpointError, match=r"'norm.weight' .* shape \[31\], but the config asks for \[32\]"
    ):
        load_model(saved, mixers)
    damage(**{"norm.weight": None, "norm.wieght": torch.ones(32)})
    with pytest.raises(CheckpointError, match=r"no tensor 'norm.weight'; the file has 'norm.wieght'"):
        load_model(saved, mixers)
    damage(extra=torch.ones(1))
    with pytest.raises(CheckpointError, match="has tensor 'extra'"):
        load_model(saved, mixers)
    damage(**{"norm.weight": torch.ones(32, dtype=torch.int64)})
    with pytest.raises(CheckpointError, match=r"holds torch.int64"):
        load_model(saved, mixers)


def test_a_bad_config_is_a_checkpoint_error(saved: Path, mixers: Registry[Any], tmp_path: Path) -> None:
    path = saved / "config.json"
    good = json.loads(path.read_text())
    for text in (
        "",
        "{",
        "[]",
        "\x00",
        json.dumps({**good, "hidden_size": "big"}),
        json.dumps({"format": 9}),
    ):
        path.write_text(text)
        with pytest.raises(CheckpointError, match=r"config\.json"):
            load_model(saved, mixers)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_config(saved)
    with pytest.raises(CheckpointError, match="does not exist"):
        read_config(tmp_path / "nowhere")
    path.unlink()
    with pytest.raises(CheckpointError, match="not a model directory"):
        read_config(saved)


def test_another_tokenizer_is_refused(saved: Path, mixers: Registry[Any]) -> None:
    class Other(NamedTokenizer):
        fingerprint = "f2"

    other: Any = Other()
    with pytest.raises(CheckpointError, match="another version of tokenizer"):
        load_model(saved, mixers, tokenizer=other)


def test_a_kind_that_is_gone_says_which_plugin_brought_it(tmp_path: Path, mixers: Registry[Any]) -> None:
    save_model(tmp_path, model_of(mixers, mixer="shifted"), TOKENIZER)
    with pytest.raises(ConfigError) as caught:
        load_model(tmp_path, load_plugins(safe=True).mixers)
    assert "'shifted' came from plugin 'stranger'" in caught.value.hint


def test_a_full_disk_is_said_and_leaves_no_half_file(tmp_path: Path, mixers: Registry[Any]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(StorageError, match=r"cannot write .*model.safetensors"):
            save_model(tmp_path, model_of(mixers), TOKENIZER)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StorageError):
        write_tensors(tmp_path / "missing" / "x.safetensors", {"x": torch.ones(1)}, {})
