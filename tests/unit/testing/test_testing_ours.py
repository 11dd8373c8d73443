"""Our own plugins through the kit: everything that they register keeps the contract of its kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nanoshell.testing import (
    Shell,
    TinyDataset,
    check_backend,
    check_chat_template,
    check_command,
    check_exporter,
    check_feed_forward,
    check_mixer,
    check_optimizer,
    check_run_section,
    check_sampler,
    check_source,
    check_tokenizer,
    plugins_with,
)
from nanoshell.testing.dataset import LINES
from nanoshell.tokenizer.making import make_char, train_bpe

OURS = plugins_with()
LAYERS: dict[str, list[dict[str, Any]]] = {
    "attention": [{}, {"kv_heads": 2, "qk_norm": True}, {"kv_heads": 1}],
    "mla": [
        {"kv_latent_dim": 12, "d_rope": 4},
        {"kv_latent_dim": 12, "q_latent_dim": 20, "mla_latent_norm": True},
    ],
    "mamba1": [{"mixer": "mamba1", "mamba_state_size": 8}],
    "mamba2": [{"mixer": "mamba2", "mamba2_head_dim": 16, "mamba2_state_size": 8, "mamba2_chunk_size": 5}],
    "mamba3": [
        {"mixer": "mamba3", "mamba2_head_dim": 16, "mamba2_state_size": 8, "mamba2_chunk_size": 5},
        {"mixer": "mamba3", "mamba2_head_dim": 16, "mamba2_state_size": 8, "mamba3_mimo_rank": 2},
    ],
    "swiglu": [{}, {"zero_init_output": True}],
    "relu2": [{"feed_forward": "relu2"}],
    "moe": [
        {"num_experts": 4, "experts_per_tok": 2},
        {"num_experts": 4, "experts_per_tok": 1, "shared_expert_enabled": True, "router_bias": True},
    ],
}


@pytest.mark.parametrize(("kind", "keys"), [(kind, keys) for kind, forms in LAYERS.items() for keys in forms])
def test_layers(kind: str, keys: dict[str, Any]) -> None:
    entry = OURS.mixers.entry(kind)
    check = check_mixer if entry.options["kind"] == "mixer" else check_feed_forward
    check(entry.value, **keys)


def test_every_layer_is_checked() -> None:
    assert set(LAYERS) == set(OURS.mixers.names())


def values(name: str) -> list[float]:
    """Return the values of a sampler worth trying: its default, its bounds if any, and one within."""
    options = OURS.samplers.entry(name).options
    bounds = [options[key] for key in ("minimum", "maximum") if options[key] is not None]
    tried = {options["default"], *bounds, 3 if options["integer"] else 0.6}
    low, high = options["minimum"], options["maximum"]
    return sorted(v for v in tried if (low is None or v >= low) and (high is None or v <= high))


@pytest.mark.parametrize(
    ("name", "value"),
    [(entry.name, value) for entry in OURS.samplers if entry.value for value in values(entry.name)],
)
def test_samplers(name: str, value: float) -> None:
    entry = OURS.samplers.entry(name)
    uses = {
        used: OURS.samplers.entry(used).options["default"]
        for used in entry.options["uses"]
        if used != "tokenizer"
    }
    if "tokenizer" in entry.options["uses"]:
        uses["tokenizer"] = train_bpe("pairs", LINES, 300)
    if value != entry.options["neutral"]:
        check_sampler(entry.value, value, uses=uses)


@pytest.mark.parametrize("name", OURS.tokenizers.names())
def test_tokenizers(name: str) -> None:
    check_tokenizer(OURS.tokenizers.get(name))


def test_trained_tokenizers() -> None:
    check_tokenizer(lambda: train_bpe("pairs", LINES, 300))
    characters = "".join(sorted(set("".join(LINES) + "<|> \n")))
    check_tokenizer(lambda: make_char("letters", [characters]), alphabet=characters)


@pytest.mark.parametrize("name", OURS.backends.names())
def test_backends(name: str) -> None:
    check_backend(OURS.backends.get(name))


@pytest.mark.parametrize("name", OURS.optimizers.names())
def test_optimizers(name: str) -> None:
    check_optimizer(OURS.optimizers.get(name))


@pytest.mark.parametrize("name", OURS.chat_templates.names())
def test_chat_templates(name: str) -> None:
    check_chat_template(OURS.chat_templates.get(name))


def file_specs(data: TinyDataset, folder: Path) -> list[str]:
    import numpy as np

    np.arange(9, dtype="<u4").tofile(folder / "ids.bin")
    return [
        str(data.text),
        str(data.messages),
        str(data.text.parent),
        f"{data.text.parent}/*.txt",
        str(folder / "ids.bin"),
    ]


def test_files_as_sources(nanoshell_dataset: TinyDataset, tmp_path: Path) -> None:
    for spec in file_specs(nanoshell_dataset, tmp_path):
        check_source(OURS.sources.get("file"), spec, refuses=["nowhere.txt", "no/*.md"])


@pytest.mark.parametrize("rest", ["", "chat", "combined"])
def test_the_embedded_source(rest: str) -> None:
    check_source(OURS.sources.get("nano-start"), rest, refuses=["nothing-of-it"])


@pytest.mark.parametrize("name", OURS.run_sections.names())
def test_run_sections(name: str, own_home: Path) -> None:
    check_run_section(OURS.run_sections.get(name))


@pytest.mark.parametrize("name", OURS.exporters.names())
def test_exporters(name: str, nanoshell_model: Path) -> None:
    check_exporter(OURS.exporters.get(name), nanoshell_model)


@pytest.mark.parametrize("name", OURS.commands.names())
def test_commands(name: str, nanoshell_session: Callable[..., Shell], tmp_path: Path) -> None:
    """The examples are carried out elsewhere, in a world that has what they name."""
    (tmp_path / "notes.txt").write_text("A text that examples read.\n")
    check_command(nanoshell_session(), name, run=False)
