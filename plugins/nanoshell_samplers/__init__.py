"""The samplers: settings that shape how the next token is chosen, in the order in which they run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanoshell import hookimpl

if TYPE_CHECKING:
    from nanoshell import LogitsProcessor, RegisterSampler


def repeat_penalty(value: float) -> LogitsProcessor:
    """Return the step that makes recent tokens less likely."""
    from nanoshell import repeat_penalty as build

    return build(value)


def temperature(value: float) -> LogitsProcessor:
    """Return the step that sharpens or flattens the distribution."""
    from nanoshell import temperature as build

    return build(value)


def top_k(value: float) -> LogitsProcessor:
    """Return the step that keeps the likeliest tokens, by number."""
    from nanoshell import top_k as build

    return build(value)


def top_p(value: float) -> LogitsProcessor:
    """Return the step that keeps the likeliest tokens, by their sum."""
    from nanoshell import top_p as build

    return build(value)


def min_p(value: float) -> LogitsProcessor:
    """Return the step that drops what is unlikely beside the likeliest."""
    from nanoshell import min_p as build

    return build(value)


def greedy(value: float) -> LogitsProcessor:
    """Return the step that leaves the likeliest token only."""
    from nanoshell import greedy as build

    return build(value)


@hookimpl
def register_samplers(register: RegisterSampler) -> None:
    register(
        "repeat_penalty",
        repeat_penalty,
        order=10,
        default=1.0,
        neutral=1.0,
        minimum=0.1,
        maximum=10.0,
        summary="above 1 makes the tokens of the last 64 positions less likely",
    )
    register(
        "temperature",
        temperature,
        order=20,
        default=0.7,
        neutral=1.0,
        minimum=0.0,
        maximum=100.0,
        summary="below 1 surer, above 1 more varied, 0 always the likeliest token",
    )
    register(
        "top_k",
        top_k,
        order=30,
        default=0,
        neutral=0,
        minimum=0,
        integer=True,
        summary="keep this many of the likeliest tokens, 0 all",
    )
    register(
        "top_p",
        top_p,
        order=40,
        default=0.9,
        neutral=1.0,
        minimum=0.0,
        maximum=1.0,
        summary="keep the fewest likeliest tokens whose probabilities sum to this, 1 all",
    )
    register(
        "min_p",
        min_p,
        order=50,
        default=0.0,
        neutral=0.0,
        minimum=0.0,
        maximum=1.0,
        summary="drop tokens less likely than this times the likeliest, 0 none",
    )
    register(
        "greedy",
        greedy,
        order=90,
        default=0,
        neutral=0,
        minimum=0,
        maximum=1,
        integer=True,
        summary="1 always takes the likeliest token",
    )
