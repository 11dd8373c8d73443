"""Which model a command takes where none is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanoshell.model.config import ModelConfig
from nanoshell.session import open_session


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    """Two model directories of one layer."""
    from nanoshell.model.transformer import build_model
    from nanoshell.model.weights import save_model

    plugins = open_session(safe=True).plugins
    config = ModelConfig(hidden_size=16, num_layers=1, num_heads=2, max_seq_len=48, tie_embeddings=True)
    tokenizer = plugins.tokenizers.get("cl100k_base")()
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
        save_model(folder, build_model(config, plugins.mixers, seed=1), tokenizer)
    return folders


def test_the_model_of_the_last_start_goes_on(nanoshell, models: list[Path]) -> None:
    sample = ("generate", "--max-tokens", "1", "--json", "--prompt", "Hi")
    assert nanoshell(*sample).code == 1  # there is neither a chosen model nor a run
    assert nanoshell("model", "load", str(models[1])).code == 0
    assert nanoshell(*sample).json["model"] == "second"
    assert nanoshell("data", "use", "nano-start").code == 0
    assert nanoshell(*sample, "--model", str(models[0])).json["model"] == "first"
    assert nanoshell(*sample).json["model"] == "first"
    assert nanoshell("data", "list", "--json").out.count('"chosen": true') == 1
    assert nanoshell("--no-history", *sample).code == 1
