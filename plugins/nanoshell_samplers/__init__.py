"""The samplers: settings that shape how the next token is chosen, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nanoshell import hookimpl

if TYPE_CHECKING:
    from nanoshell import LogitsProcessor, RegisterSampler


def _of_nanoshell(name: str) -> Callable[..., LogitsProcessor]:
    """Return a factory that calls the one of nanoshell named ``name``, and loads torch only then."""

    def build(value: float, **used: Any) -> LogitsProcessor:
        import nanoshell

        step: LogitsProcessor = getattr(nanoshell, name)(value, **used)
        return step

    return build


@hookimpl
def register_samplers(register: RegisterSampler) -> None:
    _register_dry(register)
    _register_penalties(register)
    _register_temperature(register)
    _register_cuts(register)
    _register_mirostat(register)
    register(
        "greedy",
        _of_nanoshell("greedy"),
        order=90,
        default=0,
        neutral=0,
        minimum=0,
        maximum=1,
        integer=True,
        summary="1 always takes the likeliest token",
    )


def _register_dry(register: RegisterSampler) -> None:
    register("dry_base", None, default=1.75, minimum=1, maximum=10, summary="growth of dry with each token")
    register(
        "dry_allowed_length",
        None,
        default=2,
        minimum=1,
        integer=True,
        summary="longest sequence that dry lets be repeated freely",
    )
    register(
        "dry_window",
        None,
        default=-1,
        minimum=-1,
        integer=True,
        summary="how many of the last positions dry looks at, -1 all",
    )
    register(
        "dry",
        _of_nanoshell("dry"),
        order=8,
        default=0.0,
        neutral=0.0,
        minimum=0.0,
        maximum=100.0,
        uses=("dry_base", "dry_allowed_length", "dry_window", "tokenizer"),
        summary="strength of the penalty on repeating a sequence, 0 none, 0.8 is usual",
    )


def _register_penalties(register: RegisterSampler) -> None:
    register(
        "penalty_window",
        None,
        default=64,
        minimum=-1,
        integer=True,
        summary="how many of the last positions the three penalties look at, -1 all",
    )
    register(
        "repeat_penalty",
        _of_nanoshell("repeat_penalty"),
        order=10,
        default=1.0,
        neutral=1.0,
        minimum=0.1,
        maximum=10.0,
        uses=("penalty_window",),
        summary="above 1 makes the tokens in penalty_window less likely",
    )
    register(
        "frequency_penalty",
        _of_nanoshell("frequency_penalty"),
        order=11,
        default=0.0,
        neutral=0.0,
        minimum=-2.0,
        maximum=2.0,
        uses=("penalty_window",),
        summary="above 0 makes tokens less likely each time that penalty_window holds them",
    )
    register(
        "presence_penalty",
        _of_nanoshell("presence_penalty"),
        order=12,
        default=0.0,
        neutral=0.0,
        minimum=-2.0,
        maximum=2.0,
        uses=("penalty_window",),
        summary="above 0 makes the tokens in penalty_window less likely, however frequent",
    )


def _register_temperature(register: RegisterSampler) -> None:
    register(
        "temperature",
        _of_nanoshell("temperature"),
        order=20,
        default=0.7,
        neutral=1.0,
        minimum=0.0,
        maximum=100.0,
        summary="below 1 surer, above 1 more varied, 0 always the likeliest token",
    )
    register(
        "dynamic_exponent",
        None,
        default=1.0,
        minimum=0.0,
        maximum=10.0,
        summary="how dynamic_temperature rises with the entropy: 1 in proportion",
    )
    register(
        "dynamic_temperature",
        _of_nanoshell("dynamic_temperature"),
        order=19,
        default=0.0,
        neutral=0.0,
        minimum=0.0,
        maximum=100.0,
        uses=("temperature", "dynamic_exponent"),
        summary="the temperature moves up to this much down where the model is sure, and up where not",
    )


def _register_cuts(register: RegisterSampler) -> None:
    register(
        "top_k",
        _of_nanoshell("top_k"),
        order=30,
        default=0,
        neutral=0,
        minimum=0,
        integer=True,
        summary="keep this many of the likeliest tokens, 0 all",
    )
    register(
        "typical_p",
        _of_nanoshell("typical_p"),
        order=35,
        default=1.0,
        neutral=1.0,
        minimum=0.0,
        maximum=1.0,
        summary="keep the fewest tokens of most usual surprise whose probabilities sum to this, 1 all",
    )
    register(
        "top_p",
        _of_nanoshell("top_p"),
        order=40,
        default=0.9,
        neutral=1.0,
        minimum=0.0,
        maximum=1.0,
        summary="keep the fewest likeliest tokens whose probabilities sum to this, 1 all",
    )
    register(
        "min_p",
        _of_nanoshell("min_p"),
        order=50,
        default=0.0,
        neutral=0.0,
        minimum=0.0,
        maximum=1.0,
        summary="drop tokens less likely than this times the likeliest, 0 none",
    )


def _register_mirostat(register: RegisterSampler) -> None:
    register(
        "mirostat_eta",
        None,
        default=0.1,
        minimum=0.0,
        maximum=1.0,
        summary="how fast mirostat corrects itself",
    )
    register(
        "mirostat",
        _of_nanoshell("mirostat"),
        order=60,
        default=0.0,
        neutral=0.0,
        minimum=0.0,
        maximum=20.0,
        uses=("mirostat_eta",),
        summary="keep the surprise of a reply near this many bits a token, 0 off, 5 is usual",
    )
