"""The tables of keys in the documents are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

from nanoshell.model.config import OUR_KINDS, ModelConfig
from nanoshell.plugin.manager import load_plugins
from nanoshell.training.config import TrainerConfig
from nanoshell.training.muon import MuonOptions

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "configuration.md").read_text("utf-8")
READ_AND_NOT_USED = {
    "checkpoint_dir",
    "distributed",
    "group_size",
    "beta_kl",
}


def documented(section: str) -> set[str]:
    """Return the keys in the first column of the table under ``section``."""
    return first_column(f"`{section}:`")


def first_column(heading: str) -> set[str]:
    table = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    firsts = (line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    return {key for first in firsts for key in re.findall(r"`(\w+)`", first)}


def test_every_key_of_a_model_is_documented() -> None:
    assert documented("model") == set(ModelConfig.model_fields) | OUR_KINDS


def test_every_key_of_a_trainer_is_documented() -> None:
    assert documented("trainer") == set(TrainerConfig.model_fields) - READ_AND_NOT_USED


def test_every_option_of_muon_is_documented() -> None:
    assert first_column("Optimizers") == set(MuonOptions.model_fields)


def test_the_table_of_samplers_has_every_setting_with_its_order_and_default() -> None:
    table = (DOCS / "shell.md").read_text("utf-8").split("## Sampling\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\d*) ?\| `(\w+)` \| (\S+) \| (\S*) ?\|", table, re.MULTILINE)
    written = {name: (order, default, off) for order, name, default, off in rows}
    found = {}
    for entry in load_plugins(only=[]).samplers:
        options = entry.options
        order, off = (str(options["order"]), f"{options['neutral']:g}") if entry.value else ("", "")
        found[entry.name] = (order, f"{options['default']:g}", off)
    assert written == found
    orders = [int(order) for order, *_ in rows if order]
    assert orders == sorted(orders)
