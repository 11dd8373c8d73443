"""Configs: the seed family's keys, overrides, presets, and what is said about mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, strategies as st

from nanoshell.errors import ConfigError, UnknownNameError
from nanoshell.training.config import RunConfig
from nanoshell.training.presets import list_presets, load_config

SEED_FILE = """\
# The family's smallest
model:
  name: nano-start
  hidden_size: 128
  num_layers: 4
  num_heads: 4
  kv_latent_dim: 64
  q_latent_dim: 64
  d_rope: 8
  num_experts: 2
  experts_per_tok: 1
  shared_expert_enabled: true
  intermediate_size: 512
  mamba_layers: [0, 1, 2]
  mamba2_num_heads: 16
  mamba2_head_dim: 16
  mamba2_state_size: 32
  mamba2_chunk_size: 32
  mamba2_conv_kernel: 4
  mamba2_expand: 2
  vocab_size: 100331
  max_seq_len: 64
  rope_theta: 10000.0
  dtype: f32
trainer:
  learning_rate: 2e-3
  batch_size: 4
  max_steps: 0
  num_epochs: 20
  gradient_accumulation: 2
  checkpoint_dir: ./checkpoints
  log_interval: 10
  save_interval: 200
  max_checkpoints: null
  load_balance_alpha: 0.01
  target_device: gpu
  distributed: {enabled: true, backend: nccl, gpu_ids: [0, 1]}
  group_size: null
  beta_kl: null
"""


@pytest.fixture
def seed_file(tmp_path: Path) -> Path:
    path = tmp_path / "seed.yaml"
    path.write_text(SEED_FILE)
    return path


def test_a_file_of_the_seed_family_loads_unchanged(seed_file: Path) -> None:
    config = load_config(seed_file)
    trainer = config.trainer
    assert trainer.learning_rate == 0.002
    assert (trainer.batch_size, trainer.gradient_accumulation, trainer.num_epochs) == (4, 2, 20)
    assert trainer.max_checkpoints == 2
    assert trainer.device_name == "auto"
    assert trainer.unused_keys() == ["checkpoint_dir", "distributed"]
    assert config.dtype == "float32"
    assert config.seq_len == 64
    assert config.tokens_per_step == 4 * 2 * 64


def test_what_is_written_down_reads_back_equal(seed_file: Path) -> None:
    config = load_config(seed_file, {"betas": [0.8, 0.99], "seq_len": 32})
    assert RunConfig.from_dict(yaml.safe_load(yaml.safe_dump(config.to_dict())), "again") == config


def test_overrides_go_by_section_or_by_plain_key_and_none_changes_nothing(seed_file: Path) -> None:
    config = load_config(seed_file, {"trainer.batch_size": 7, "num_layers": 5, "seed": None, "dtype": "bf16"})
    assert config.trainer.batch_size == 7
    assert config.model.num_layers == 5
    assert config.trainer.seed == 1337
    assert config.dtype == "bfloat16"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("trainer.learnin_rate", 1, "did you mean 'learning_rate'"),
        ("trainer.batch_size", 0, "'trainer.batch_size' is 0"),
        ("trainer.batch_size", "four", "whole number"),
        ("trainer.batch_size", True, "trainer.batch_size"),
        ("trainer.learning_rate", True, "must be a number, not true"),
        ("trainer.learning_rate", "fast", "'fast'"),
        ("trainer.learning_rate", 0, "greater than 0"),
        ("trainer.betas", [0.9, 1.0], "less than 1"),
        ("trainer.softmax", "some", "'auto', 'full' or 'sampled'"),
        ("trainer.distributed", {"enabeld": True}, "did you mean 'enabled'"),
        ("trainer.seq_len", 65, "max_seq_len 64"),
        ("trainer.seed", 2**63, "it must be at most 9223372036854775807"),
        ("trainr.seq_len", 65, "did you mean 'trainer'"),
        ("model.num_heads", 3, "does not divide"),
    ],
)
def test_a_mistake_is_told_with_file_key_and_remedy(
    seed_file: Path, key: str, value: object, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(seed_file, {"model.mamba_layers": [], key: value})
    assert str(seed_file) in caught.value.message
    assert said in caught.value.message + caught.value.hint


def test_an_unknown_plain_key_names_the_nearest(seed_file: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'warmup_steps'"):
        load_config(seed_file, {"warmup_step": 3})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model:\n  name: a\n bad", "line 3"),
        ("model: [1, 2]\n", "'model' must be a mapping"),
        ("just words\n", "holds no config"),
        ("trainer: {batch_size: 2}\n", "'model' is missing"),
        ("modle: {hidden_size: 8}\n", "did you mean 'model'"),
        ("", "holds no config"),
    ],
)
def test_a_damaged_file_is_told_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "damaged.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(path) in caught.value.message
    assert said in caught.value.message


def test_a_file_that_is_no_text_and_one_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "nano.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path / "nano.yaml")
    with pytest.raises(ConfigError, match=r"did you mean '.*nano\.yaml'"):
        load_config(str(tmp_path / "nanno.yaml"))


def test_presets_are_found_here_then_at_the_users_then_in_the_package(
    tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = {preset.name: preset for preset in list_presets()}["nano-start"]
    assert shipped.summary
    users = own_home / "config" / "models"
    here = tmp_path / "models"
    for folder, width in ((users, 64), (here, 32)):
        folder.mkdir(parents=True)
        text = SEED_FILE.replace("hidden_size: 128", f"hidden_size: {width}").replace("[0, 1, 2]", "[]")
        (folder / "nano-start.yaml").write_text(text)
    assert load_config("nano-start").model.hidden_size == 32
    (here / "nano-start.yaml").unlink()
    assert load_config("nano-start").model.hidden_size == 64
    assert {preset.name: preset for preset in list_presets()}["nano-start"].summary == "The family's smallest"


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'nano-start'"):
        load_config("nano-strat")


def test_every_shipped_preset_loads() -> None:
    for preset in list_presets():
        assert load_config(preset.path).horizon(100) >= 1


@given(
    st.integers(0, 500),
    st.none() | st.floats(0.01, 50),
    st.integers(1, 8),
    st.integers(1, 4),
    st.integers(1, 300),
)
def test_the_horizon_is_the_nearer_of_steps_and_epochs(
    steps: int, epochs: float | None, batch: int, accumulation: int, windows: int
) -> None:
    model = {"hidden_size": 8, "num_layers": 1, "num_heads": 2}
    trainer = {
        "max_steps": steps,
        "num_epochs": epochs,
        "batch_size": batch,
        "gradient_accumulation": accumulation,
    }
    horizon = RunConfig.from_dict({"model": model, "trainer": trainer}, "x").horizon(windows)
    assert horizon >= 1
    if steps:
        assert horizon <= steps
    if epochs is not None or not steps:
        seen = horizon * batch * accumulation / windows
        wanted = epochs or 1.0
        assert seen < wanted + batch * accumulation / windows + 1e-9
        if not steps or horizon < steps:
            assert seen >= wanted - 1e-9


def test_an_override_leads_into_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "deep.yaml"
    path.write_text(
        "model: {hidden_size: 16, num_layers: 2, num_heads: 2, mixer: conv,\n"
        "        layer_options: {conv: {width: 3, bias: true}}}\n"
    )
    keys = {"model.layer_options.conv.width": 5, "optimizer_options.momentum": 0.5}
    config = load_config(path, keys)
    assert config.model.layer_options == {"conv": {"width": 5, "bias": True}}
    assert config.trainer.optimizer_options == {"momentum": 0.5}
    with pytest.raises(ConfigError, match=r"no key model\.num_layers\.two: 'num_layers' is 2"):
        load_config(path, {"model.num_layers.two": 1})


@pytest.mark.parametrize(
    ("lines", "count", "hint"),
    [
        ("num_layers: 4, mamba_layers: [0, 1, 2]", 2, "--set 'mamba_layers=[0,1]'"),
        ("num_layers: 2, feed_forward: [swiglu, none]", 1, "--set 'feed_forward=[swiglu]'"),
        ("num_layers: 2, mixer: [attention, attention]", 3, "one for each"),
    ],
)
def test_overrides_that_do_not_fit_a_preset_are_named_beside_it(
    tmp_path: Path, lines: str, count: int, hint: str
) -> None:
    path = tmp_path / "fits.yaml"
    path.write_text(f"model: {{hidden_size: 16, num_heads: 2, {lines}}}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, {"num_layers": count, "seed": None})
    assert caught.value.message.startswith(f"{path} with num_layers={count}: ")
    assert hint in caught.value.hint
    path.write_text(path.read_text().replace("hidden_size", "hiden_size"))
    with pytest.raises(ConfigError) as caught:
        load_config(path, {"num_layers": count})
    assert caught.value.message.startswith(f"{path}: "), "the file itself is at fault"
