"""The page about seeing inside: its lines can be typed, its options exist, and its code runs."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nanoshell import next_scores
from nanoshell.testing.shell import Shell

PAGE = (Path(__file__).parents[2] / "docs" / "inside.md").read_text(encoding="utf-8")
_LINE = re.compile(r"^(?:\$ nanoshell |nanoshell> :)(.+)$", re.MULTILINE)
LINES = _LINE.findall(PAGE)
COMMANDS = ("tokens", "next", "why", "loss", "attention", "model info")


def section(command: str) -> str:
    """Return what the page says under the heading of ``command``."""
    (text,) = re.findall(rf"^## `{command}`: .*?\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
    return str(text)


@pytest.fixture
def shell(nanoshell_session: Callable[..., Shell], nanoshell_model: Path) -> Shell:
    return nanoshell_session(model=nanoshell_model)


def test_every_command_has_a_section_with_a_line_to_type() -> None:
    for command in COMMANDS:
        assert any(line.startswith(command) for line in _LINE.findall(section(command))), command


def test_every_line_can_be_typed_in_the_order_of_the_page(shell: Shell) -> None:
    for line in LINES:
        said = shell(f":{line}")
        assert said.code == 0, f"{line}: {said.err}"


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("tokens")])
def test_how_a_text_splits_is_as_printed(nanoshell_session: Callable[..., Shell], line: str) -> None:
    _, _, rest = PAGE.partition(f"$ nanoshell {line}\n")
    printed, _, _ = rest.partition("\n```")
    assert [row.split() for row in nanoshell_session()(f":{line}").out.splitlines()] == [
        row.split() for row in printed.splitlines()
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_options_of_a_section_are_those_of_its_command(shell: Shell, command: str) -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", section(command)))
    others = {"--temperature", "--seed", "--max-tokens"} if command == "why" else set()
    told = shell(f":{command} --help").out
    assert {option for option in named - others if not re.search(rf"{option}\b", told)} == set()


def test_the_loss_of_the_example_is_that_of_the_next_scores(shell: Shell) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "inside.md", "exec"), names)
    loaded = shell.session.model()
    engine, text = loaded.engine, "Hello, friend."
    ids = [engine.tokenizer.end_of_text, *engine.tokenizer.encode(text)]
    losses = [
        -float(next_scores(engine.model, ids[:end], engine.vocab_size).double().log_softmax(-1)[ids[end]])
        for end in range(1, len(ids))
    ]
    found = names["surprise"](loaded, text)
    assert found == pytest.approx(math.fsum(losses) / len(losses), abs=1e-4)
    assert found == pytest.approx(shell(f":loss --json {text}").json["loss"], abs=1e-6)


def test_what_the_page_offers_to_plugins_is_there() -> None:
    import nanoshell

    sentence = PAGE.split("`nanoshell` offers")[1].split("```")[0]
    names = re.findall(r"`(\w+)`", sentence)
    assert len(names) == 8
    assert all(callable(getattr(nanoshell, name)) for name in names)
