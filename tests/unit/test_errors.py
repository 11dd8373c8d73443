"""The nearest name: what was probably meant."""

from __future__ import annotations

import pytest

from nanoshell.errors import nearest

OPTIONS = ["--set", "--seed", "--max-steps", "--batch-size", "--resume", "--learning-rate"]


@pytest.mark.parametrize(
    ("typed", "choices", "meant"),
    [
        ("--stepz", OPTIONS, "--max-steps"),
        ("--steps", OPTIONS, "--max-steps"),
        ("--batch", OPTIONS, "--batch-size"),
        ("--sett", OPTIONS, "--set"),
        ("--sed", OPTIONS, "--seed"),
        ("--resme", OPTIONS, "--resume"),
        ("shw", ["list", "show", "rm"], "show"),
        ("temperture", ["temperature", "top_k"], "temperature"),
        ("lr", ["learning_rate", "loss_on"], "learning_rate"),
        ("LIST", ["list", "show"], "list"),
        ("zzz", OPTIONS, None),
        ("x", [], None),
    ],
)
def test_the_nearest_name(typed: str, choices: list[str], meant: str | None) -> None:
    assert nearest(typed, choices) == meant
