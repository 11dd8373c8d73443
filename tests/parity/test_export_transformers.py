"""What ``model export transformers`` writes, transformers loads by itself, with equal logits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from nanoshell import ConfigError
from nanoshell.model.config import ModelConfig
from nanoshell.model.transformer import build_model
from nanoshell.model.weights import save_model
from nanoshell.testing import check_exporter, plugins_with

transformers = pytest.importorskip("transformers")
SHAPE = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "vocab_size": 320, "max_seq_len": 32}
FORMS: dict[str, dict[str, Any]] = {
    "plain": {"intermediate_size": 50},
    "grouped, tied": {"kv_heads": 2, "tie_embeddings": True, "rope_theta": 50_000.0},
    "qk norm": {"qk_norm": True, "rms_norm_eps": 1e-6},
}


def model_dir(folder: Path, **keys: Any) -> Path:
    """Write a model of random weights, norms included, and return its directory."""
    from nanoshell.tokenizer.making import train_bpe

    plugins = plugins_with()
    model = build_model(ModelConfig.from_dict({**SHAPE, **keys}), plugins.mixers, seed=3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    folder.mkdir()
    save_model(folder, model, train_bpe("tiny", ["one and one is two"], 320))
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_logits_agree(form: str, tmp_path: Path) -> None:
    from nanoshell.model.weights import load_model

    written = model_dir(tmp_path / "model", **FORMS[form])
    plugins = plugins_with()
    plugins.exporters.get("transformers")(written, tmp_path / "exported")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "exported").eval()
    ours = load_model(written, plugins.mixers)
    ids = torch.randint(320, (2, 30), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, ours(ids), rtol=1e-4, atol=1e-4)
    assert theirs.config.eos_token_id is None, "an id of Llama's would end replies at an ordinary token"


def test_it_keeps_the_contract_of_an_exporter(tmp_path: Path) -> None:
    check_exporter(plugins_with().exporters.get("transformers"), model_dir(tmp_path / "model"))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"mixer": ["attention", "mamba2"]}, "kind 'mamba2'"),
        ({"feed_forward": "relu2"}, "kind 'relu2'"),
        ({"norm_weight": False}, "norm_weight"),
        ({"logit_soft_cap": 30.0}, "logit_soft_cap"),
    ],
)
def test_what_it_cannot_say_is_refused_and_nothing_is_left(
    keys: dict[str, Any], said: str, tmp_path: Path
) -> None:
    written = model_dir(tmp_path / "model", **keys)
    with pytest.raises(ConfigError, match=said):
        plugins_with().exporters.get("transformers")(written, tmp_path / "exported")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_the_command_lists_formats_and_exports(nanoshell_session: Any, tmp_path: Path) -> None:
    written = model_dir(tmp_path / "model")
    shell = nanoshell_session(model=written)
    (row,) = shell(":model export --json").json
    assert row["name"] == "transformers"
    said = shell(":model export transformers out/mine --json").json
    assert said["files"] == ["config.json", "model.safetensors"]
    assert said["bytes"] == sum(path.stat().st_size for path in (tmp_path / "out" / "mine").iterdir())
    assert json.loads((tmp_path / "out" / "mine" / "config.json").read_text())["model_type"] == "llama"
    again = shell(":model export transformers out/mine")
    assert again.code == 2
    assert "out/mine exists" in again.err
    unknown = shell(":model export transformer elsewhere")
    assert unknown.code == 2
    assert "did you mean 'transformers'" in unknown.err
    assert shell(":model export transformers").code == 2
