"""Settings: checked when they are set, kept in the file, and never lost because a plugin is absent."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from nanoshell.errors import ConfigError, UnknownNameError, UsageError
from nanoshell.model.config import ModelConfig
from nanoshell.plugin.manager import load_plugins
from nanoshell.settings import DTYPE_CHOICES, Setting, Settings, number

TEMPERATURE = Setting("temperature", 0.7, number("temperature", minimum=0), "how adventurous", "sampling")


def test_a_value_that_is_set_survives_a_new_start(tmp_path: Path) -> None:
    path = tmp_path / "config" / "settings.toml"
    first = Settings(path)
    first.define(TEMPERATURE)
    assert first.get("temperature") == 0.7
    assert first.set("temperature", "0.2") == 0.2

    second = Settings(path)
    second.define(TEMPERATURE)
    assert second.get("temperature") == 0.2
    assert second.is_set("temperature")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_unset_returns_to_the_default(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "settings.toml")
    settings.set("max_tokens", "5")
    assert settings.unset("max_tokens") == 200
    assert Settings(tmp_path / "settings.toml").get("max_tokens") == 200


def test_an_override_lasts_for_this_process_only(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "settings.toml")
    settings.override("device", "cpu")
    settings.set("max_tokens", "9")
    assert settings.get("device") == "cpu"
    assert Settings(tmp_path / "settings.toml").get("device") == "auto"


def test_a_mistyped_name_gets_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'max_tokens'"):
        Settings(None).set("max_token", "1")


@pytest.mark.parametrize("text", ["warm", "-0.1", "nan", "inf", ""])
def test_a_value_out_of_bounds_names_the_bounds(text: str) -> None:
    settings = Settings(None)
    settings.define(TEMPERATURE)
    with pytest.raises(UsageError, match="temperature must be a number at least 0"):
        settings.set("temperature", text)
    assert settings.get("temperature") == 0.7


def test_a_fraction_is_no_whole_number() -> None:
    with pytest.raises(UsageError, match="a whole number at least 1"):
        Settings(None).set("max_tokens", "1.5")


def test_names_that_nothing_knows_stay_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("spice = 3\nmax_tokens = 7\n")
    Settings(path).set("device", "cpu")
    text = path.read_text()
    assert "spice = 3" in text
    assert "max_tokens = 7" in text
    assert 'device = "cpu"' in text


def test_lists_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    Settings(path).set("disabled_plugins", "one, two")
    assert Settings(path).get("disabled_plugins") == ["one", "two"]


@pytest.mark.parametrize("content", [b"max_tokens = ", b"max_tokens = 0\n", b"\xff\xfe"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"settings\.toml"):
        Settings(path)
    assert path.read_bytes() == content


def test_the_same_dtypes_may_be_asked_for_everywhere() -> None:
    from nanoshell_commands.sample import sample
    from nanoshell_commands.train import train

    def choices(command: Any) -> tuple[str, ...]:
        (option,) = (each for each in command.params if each.name == "dtype")
        return tuple(option.type.choices)

    shape = {"hidden_size": 16, "num_layers": 1, "num_heads": 2}
    backend = load_plugins(safe=True).backends.get("cpu")()
    assert choices(sample) == choices(train)
    for name in choices(train):
        dtype = ModelConfig.from_dict({**shape, "dtype": name}).dtype
        assert dtype in DTYPE_CHOICES
        assert dtype == "auto" or backend.supports_dtype(dtype)
        assert Settings(None).set("dtype", name) == dtype
    assert set(DTYPE_CHOICES) < set(choices(train))


def test_a_settings_file_that_is_a_link_stays_one(tmp_path: Path) -> None:
    path, real = tmp_path / "settings.toml", tmp_path / "dotfiles" / "nanoshell.toml"
    real.parent.mkdir()
    real.write_text("max_tokens = 3\n")
    path.symlink_to(real)
    Settings(path).set("max_tokens", "4")
    assert (path.is_symlink(), real.read_text()) == (True, "max_tokens = 4\n")


def test_a_misspelt_name_is_told_and_one_of_an_absent_plugin_is_not(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("# mine\nmax_tokns = 3\ncolour_of_plugin = 1\nmax_memory = 3\n")
    settings = Settings(path, forgiving=True)
    (told,) = settings.complaints()
    assert told.startswith(f"{path}:2: no setting is called 'max_tokns'; did you mean 'max_tokens'?")
    settings.define(Setting("max_tokns", 1, number("max_tokns"), "of a plugin"))
    assert settings.complaints() == []


def test_what_is_set_twice_is_told_with_both_lines(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("max_tokens = 3\n# again\nmax_tokens = -4\n")
    with pytest.raises(ConfigError, match=r"settings\.toml:3: max_tokens is set twice, in line 1 already"):
        Settings(path)


def test_a_broken_file_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("max_tokens = \n")
    settings = Settings(path, forgiving=True)
    (told,) = settings.complaints()
    with pytest.raises(ConfigError) as caught:
        settings.set("max_tokens", "4")
    assert "settings.toml:1" in told
    assert caught.value.message == "nothing can be kept: the file of the settings is broken"
    assert path.read_text() == "max_tokens = \n"
