"""Small models of every kind of layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from nanoshell.model.config import ModelConfig
from nanoshell.model.transformer import Transformer, build_model
from nanoshell.plugin.manager import Plugins, load_plugins

Build = Callable[..., Transformer]


@pytest.fixture(scope="session")
def plugins() -> Plugins:
    return load_plugins(only=[])


@pytest.fixture(scope="session")
def build(plugins: Plugins) -> Build:
    """Return a function that builds a model of two layers, 32 wide, with larger weights than a new one's."""

    def make(**keys: Any) -> Transformer:
        shape = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "vocab_size": 97, "max_seq_len": 24}
        model = build_model(ModelConfig(**{**shape, **keys}), plugins.mixers, seed=5).eval()
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if name.endswith("proj.weight") or ".w_" in name:
                    weight.mul_(8)
        return model

    return make
