"""A stranger's sampler with settings of its own, from its file to the reply, through every door."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from nanoshell.opening import open_session

PUSH = """
from nanoshell import hookimpl

SEEN = []

def push(value, *, push_token, penalty_window, tokenizer):
    SEEN.append((value, push_token, penalty_window, tokenizer.name))

    def step(logits, history):
        import torch
        pushed = logits.clone()
        pushed[:, int(push_token)] += value
        return pushed

    return step

@hookimpl
def register_samplers(register):
    register("push_token", None, default=65, minimum=0, maximum=99, integer=True, summary="which token")
    register(
        "push", push, order=15, default=0, neutral=0, uses=("push_token", "penalty_window", "tokenizer"),
        summary="how much",
    )
"""


@pytest.fixture
def pushing(
    nanoshell: Callable[..., Any], write_plugin: Callable[[str, str], Path], plugins_folder: Path
) -> Callable[..., Any]:
    """Return what runs the program with the plugin."""
    write_plugin("push", PUSH)
    return lambda *arguments: nanoshell("--plugins-dir", str(plugins_folder), *arguments)


def test_it_is_set_shown_and_used(pushing: Callable[..., Any], model: str) -> None:
    sample = ("sample", "--model", model, "--max-tokens", "3", "--json", "a")
    assert pushing(*sample, "--sampler", "push=90").json["ids"] == [65] * 3
    assert pushing(*sample, "--sampler", "push=90", "--sampler", "push_token=70").json["ids"] == [70] * 3
    assert pushing("set", "push", "90").code == 0
    assert pushing("set", "push_token", "71").code == 0
    assert pushing(*sample).json["ids"] == [71] * 3
    assert pushing("show", "push_token", "--json").json["value"] == 71
    assert pushing("unset", "push_token").code == 0
    assert pushing(*sample).json["ids"] == [65] * 3


def test_a_value_out_of_range_is_refused_wherever_it_is_given(
    pushing: Callable[..., Any], model: str
) -> None:
    given = pushing("sample", "--model", model, "--sampler", "push_token=100", "a")
    assert given.code == 2
    assert "push_token must be a whole number at least 0 and at most 99, not 100" in given.err
    stored = pushing("set", "push_token", "2.5")
    assert stored.code == 2
    assert "push_token must be a whole number" in stored.err


def test_it_is_offered_by_completion(write_plugin: Callable[[str, str], Path], plugins_folder: Path) -> None:
    from nanoshell import SAMPLER_VALUE, SETTING

    write_plugin("push", PUSH)
    session = open_session(plugins_dir=plugins_folder, history=False)
    context = click.Context(click.Command("x"), obj=session)
    parameter = click.Option(["--x"])

    def offered(kind: Any, start: str) -> dict[str, Any]:
        return {item.value: item.help for item in kind.shell_complete(context, parameter, start)}

    assert offered(SETTING, "push")["push_token"].startswith("which token")
    assert offered(SAMPLER_VALUE, "push_t") == {"push_token=": "which token"}
    assert session.sampling({"push_token": 5})["push_token"] == 5
    assert session.sampling()["penalty_window"] == 64


def test_the_factory_is_called_once_for_every_reply(
    write_plugin: Callable[[str, str], Path], plugins_folder: Path, model: str
) -> None:
    write_plugin("push", PUSH)
    session = open_session(plugins_dir=plugins_folder, history=False)
    session.use_model(model)
    factory: Any = session.plugins.samplers.get("push")
    seen = inspect.unwrap(factory).__globals__["SEEN"]
    for count in (1, 2):
        sampling = {"push": 50.0, "push_token": 66, "penalty_window": 3}
        assert [t.id for t in session.generate("a", max_tokens=4, sampling=sampling)] == [66] * 4
        assert len(seen) == count
    assert seen == [(50, 66, 3, "cl100k_base")] * 2
