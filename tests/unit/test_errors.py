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


def test_figures_from_a_thousand_on_have_a_separator() -> None:
    from nanoshell_commands.layout import figure, steady

    assert [figure(6321.4), figure(999.94), figure(6321.4, 3), figure(94651.2)] == [
        "6,321",
        "999.9",
        "6,321",
        "94,651",
    ]
    assert [steady(6321.4), steady(2.5), steady(1e12)] == ["6,321", "2.500", "1.000e+12"]
