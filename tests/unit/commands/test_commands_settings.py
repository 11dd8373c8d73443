"""The commands around the work: settings, plugins, devices, data, presets, help."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PRESET = """# a test of one layer
model: {name: tiny, hidden_size: 16, num_layers: 1, num_heads: 2, intermediate_size: 32, max_seq_len: 16}
"""


def test_a_setting_holds_for_the_next_start_until_it_is_unset(nanoshell) -> None:
    assert nanoshell("set", "temperature", "0.25", "--json").json["value"] == 0.25
    shown = {row["name"]: row for row in nanoshell("show", "--json").json}
    assert (shown["temperature"]["value"], shown["temperature"]["set"]) == (0.25, True)
    assert shown["top_k"]["set"] is False
    assert nanoshell("unset", "temperature").code == 0
    assert nanoshell("show", "temperature", "--json").json["set"] is False


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("penalty_window", "-1", -1),
        ("frequency_penalty", "-0.5", -0.5),
        ("presence_penalty", "-.5e0", -0.5),
        ("dtype", "bf16", "bfloat16"),
    ],
)
def test_negative_numbers_and_short_names_of_dtypes_are_values(
    nanoshell, name: str, value: str, kept: float | str
) -> None:
    assert nanoshell("set", name, value, "--json").json["value"] == kept
    assert nanoshell("-c", f":set {name} {value}").code == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("set", "temprature", "1"), "did you mean 'temperature'"),
        (("set", "temperature", "warm"), "temperature must be a number"),
        (("set", "mirostat", "-1"), "mirostat must be a number at least 0 and at most 20, not -1"),
        (("set", "dty", "bf16"), "did you mean 'dtype'"),
        (("set", "no-such-thing-at-all", "1"), "top_k"),
        (("set", "device", "cuba"), "did you mean 'cuda'"),
        (("set", "tokenizer", "cl100k"), "did you mean 'cl100k_base'"),
        (("show", "devize"), "did you mean 'device'"),
        (("unset", "devize"), "did you mean 'device'"),
        (("plugin", "show", "dat"), "did you mean 'data'"),
        (("data", "use", "nano-strat"), "did you mean 'nano-start'"),
        (("data", "info"), "no data is chosen"),
        (("data", "inf"), "did you mean 'info'"),
        (("help", "trian"), "did you mean 'train'"),
        (("quit",), "works only at the prompt"),
        (("sample", "hi", "--sampler", "min_p"), "NAME=NUMBER"),
        (("sample", "a", "--prompt", "b"), "given twice"),
        (("sample",), "there is no prompt"),
        (("train", "--set", "seed"), "KEY=VALUE"),
        (("train", "--max-steps", "0"), "max-steps"),
        (("chat", "show", "nothing"), "unknown conversation"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line_with_exit_code_2(nanoshell, arguments, told: str) -> None:
    said = nanoshell(*arguments)
    assert said.code == 2
    assert said.out == ""
    assert told in said.err
    assert "Traceback" not in said.err


def test_a_refused_value_is_not_kept(nanoshell) -> None:
    nanoshell("set", "device", "cuba")
    assert nanoshell("show", "device", "--json").json["value"] == "auto"


def test_plugins_tell_what_they_brought(nanoshell) -> None:
    by_name = {row["name"]: row for row in nanoshell("plugins", "--json").json}
    commands = by_name["commands"]
    assert commands["state"] == "active"
    assert {"train", "sample", "tokens"} <= set(commands["registered"]["commands"])
    assert commands["import_ms"] > 0
    assert "nano-start" in nanoshell("plugins", "show", "data").out


def test_every_command_has_a_line_a_heading_and_examples_that_parse(nanoshell) -> None:
    from nanoshell.plugin.manager import load_plugins

    ours = [entry for entry in load_plugins(safe=True).commands if entry.provider == "commands"]
    assert len(ours) > 20
    for entry in ours:
        assert entry.options["group"] != "Other", entry.name
        assert 10 < len(entry.summary) <= 60, entry.name
        assert not entry.summary.endswith("..."), entry.name
        assert entry.options["examples"], entry.name
        for example in entry.options["examples"]:
            assert example.split()[0] in (entry.name, *entry.options["aliases"])
        for param in [param for param in entry.value.params if not getattr(param, "hidden", False)]:
            assert param.param_type_name == "argument" or param.help, (entry.name, param.name)


def test_help_explains_a_command_with_examples_and_defaults(nanoshell) -> None:
    said = nanoshell("help", "runs", "prune")
    assert said.code == 0
    assert "--keep" in said.out
    assert "default: 1" in said.out
    assert "Examples:" in nanoshell("help", "train").out
    assert "--run " not in nanoshell("help", "train").out


def test_a_chosen_source_is_remembered_and_looked_into(nanoshell) -> None:
    assert nanoshell("data", "use", "nano-start:chat", "--json").json["source"] == "nano-start:chat"
    info = nanoshell("--data", "nano-start:chat", "data", "info", "--json").json
    assert info["distinct_ids"] > 100
    assert 1200 < info["tokens"] < 1600
    lines = nanoshell("data", "head", "nano-start:chat", "-n", "2", "--json").lines
    assert [line["messages"][0]["role"] for line in lines] == ["system", "system"]


def test_head_reads_a_token_file_as_text(nanoshell, tmp_path: Path) -> None:
    nanoshell("tokenize", "nano-start:qa", "-o", "qa.bin")
    (line,) = nanoshell("data", "head", "qa.bin", "-n", "1", "--json").lines
    assert line["text"].startswith("<|user|>What is the capital of France?<|assistant|>")


def test_head_joins_the_parts_of_a_long_document(nanoshell, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("word " * 200_000)
    lines = nanoshell("data", "head", "long.txt", "--json").lines
    assert len(lines) == 1


def test_model_info_splits_the_parameters_of_a_preset(nanoshell, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(PRESET)
    found = nanoshell("model", "info", "tiny.yaml", "--json").json
    vocabulary = 100_331 * 16
    assert found["parameters"] == {
        "embedding": vocabulary,
        "mixers": 4 * 16 * 16,
        "feed_forwards": 3 * 16 * 32,
        "norms": 3 * 16,
        "head": vocabulary,
        "total": 2 * vocabulary + 4 * 256 + 3 * 512 + 48,
    }
    assert "feed-forward" in nanoshell("model", "info", "tiny.yaml").out


@pytest.mark.parametrize(
    ("preset", "layers", "shown"),
    [
        ("nano", ["mamba2"] * 3 + ["mla + moe"], ("6 heads", "mamba2 0-2, 4-6 · mla + moe 3, 7")),
        ("nano_mamba3", ["mamba3"] * 4, ("of width 384\n", "mamba3\n")),
        ("nano-llama", ["attention + swiglu"] * 3, ("4 heads (2 for keys and values)", "attention + swiglu")),
    ],
)
def test_a_model_says_of_which_layers_it_is(
    nanoshell, preset: str, layers: list[str], shown: tuple[str, ...]
) -> None:
    assert nanoshell("model", "info", preset, "--json").json["layers"] == 2 * layers
    told = nanoshell("model", "info", preset).out
    assert all(text in told for text in shown)
    assert ("heads" in told) == (preset != "nano_mamba3")


def test_looking_at_presets_and_tokens_does_not_load_torch(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(PRESET)
    lines = [
        "model info tiny.yaml",
        "model list",
        "tokens Hello",
        "runs",
        "show",
        "plugins",
        "data info nano-start",
    ]
    code = (
        "import sys; from nanoshell import cli\n"
        f"for line in {lines}: assert cli.run(line.split()) == 0, line\n"
        "assert not {'torch', 'textual', 'huggingface_hub'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_model_list_finds_presets_here_and_tells_of_broken_ones(nanoshell, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mine.yaml").write_text(PRESET)
    (tmp_path / "models" / "broken.yaml").write_text(PRESET.replace("hidden_size", "hiden_size"))
    rows = {row["name"]: row for row in nanoshell("model", "list", "--json").json}
    assert rows["mine"]["summary"] == "a test of one layer"
    assert rows["mine"]["parameters"] == 3_213_200
    assert "hidden_size" in rows["broken"]["problem"]


def test_an_unknown_model_may_have_been_meant_as_a_preset(nanoshell, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "smallish.yaml").write_text(PRESET)
    said = nanoshell("model", "info", "smalish")
    assert said.code == 2
    assert "did you mean 'smallish'" in said.err


def test_devices_tell_why_they_cannot_be_used(nanoshell) -> None:
    rows = {row["name"]: row for row in nanoshell("device", "--json").json}
    assert rows["cpu"]["available"]
    assert rows["cpu"]["memory_total"] > 0
    for row in rows.values():
        assert row["available"] or row["reason"]


def test_a_backend_of_a_plugin_that_fails_is_listed_with_its_reason(nanoshell, tmp_path: Path) -> None:
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "odd.py").write_text(
        "from nanoshell import hookimpl\n"
        "def make():\n    raise RuntimeError('no driver')\n"
        "@hookimpl\ndef register_backends(register):\n    register('odd', make, rank=1)\n"
    )
    said = nanoshell("--plugins-dir", "extra", "device", "--json")
    assert said.code == 0, said.err
    odd = next(row for row in said.json if row["name"] == "odd")
    assert not odd["available"]
    assert "odd" in odd["reason"]
    assert "no driver" in odd["reason"]
