"""The options that `sample` and `chat` share: the samplers by name, the seed, and which model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nanoshell import SAMPLER_VALUE

if TYPE_CHECKING:
    from nanoshell import LoadedModel, Session, Tokenizer

Command = TypeVar("Command", bound=Callable[..., Any])

_BAN = -100.0
_OWN_OPTIONS = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty")


def _name_value(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, float], ...]:
    return tuple(_read(value, ctx, param) for value in values)


def _read(value: str, ctx: click.Context, param: click.Parameter) -> tuple[str, float]:
    name, _, written = value.partition("=")
    try:
        number = float(written)
    except ValueError:
        number = math.nan
    if not name.strip() or not math.isfinite(number):
        raise click.BadParameter(f"'{value}' is not NAME=NUMBER, for example min_p=0.05", ctx, param)
    return name.strip().replace("-", "_"), number


def _biases(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, float], ...]:
    found = []
    for value in values:
        token, _, written = value.rpartition("=")
        try:
            number = float(written)
        except ValueError:
            number = math.nan
        if not token or not math.isfinite(number):
            raise click.BadParameter(f"'{value}' is not TOKEN=NUMBER, for example ' Paris=-100'", ctx, param)
        found.append((token, number))
    return tuple(found)


def chosen_bias(options: Mapping[str, Any], tokenizer: Tokenizer) -> dict[int, float]:
    """Return the biases that were given as options, by id. Raises `UsageError` for a text of many tokens."""
    return {_token_id(token, tokenizer): value for token, value in options.get("biases") or ()}


def _token_id(token: str, tokenizer: Tokenizer) -> int:
    """Return the id that digits, the spelling of a special token, or the text of one token stand for."""
    from nanoshell import UsageError

    if token.isdecimal():
        return int(token)
    if token in tokenizer.special_tokens:
        return tokenizer.special_tokens[token]
    ids = tokenizer.encode(token)
    if len(ids) != 1:
        raise UsageError(
            f"--logit-bias takes one token, and '{token}' is {len(ids)}: {', '.join(map(str, ids))}",
            hint="name one of these ids; most words have another token behind a space",
        )
    return ids[0]


def sampling_options(command: Command) -> Command:
    """Add `sampler_options` and those of the draw: ``--logit-bias`` and ``--seed``."""
    bias = click.option(
        "--logit-bias",
        "biases",
        metavar="TOKEN=VALUE",
        callback=_biases,
        multiple=True,
        help="Add to the score of a token, given by its id or text; -100 bans it. May be repeated.",
    )
    seed = click.option(
        "--seed", type=click.IntRange(min=0), help="Make the draw repeatable.", show_default="random"
    )
    return sampler_options(bias(seed(command)))


def sampler_options(command: Command) -> Command:
    """Add the samplers' options to ``command``, which takes them as ``**options`` for `chosen_sampling`."""
    setting = "the setting"
    for option in reversed(
        [
            click.option(
                "--temperature",
                type=float,
                show_default=setting,
                help="Below 1 safer, above 1 wilder, 0 greedy.",
            ),
            click.option(
                "--top-k", type=int, show_default=setting, help="Draw from the k likeliest tokens; 0 all."
            ),
            click.option(
                "--top-p",
                type=float,
                show_default=setting,
                help="Draw from the likeliest that sum to p; 1 all.",
            ),
            click.option(
                "--min-p",
                type=float,
                show_default=setting,
                help="Draw from those at least p times the likeliest.",
            ),
            click.option(
                "--repeat-penalty",
                type=float,
                show_default=setting,
                help="Above 1 avoids the last tokens (penalty_window).",
            ),
            click.option(
                "--sampler",
                "samplers",
                type=SAMPLER_VALUE,
                metavar="NAME=VALUE",
                callback=_name_value,
                multiple=True,
                help="Any sampler by name, also one of a plugin; may be repeated.",
            ),
        ]
    ):
        command = option(command)
    return command


def never_ending(tokenizer: Tokenizer) -> dict[int, float]:
    """Return biases that ban the tokens at which a text ends: of its end, and of the roles."""
    from nanoshell import role_ids

    return dict.fromkeys((tokenizer.end_of_text, *role_ids(tokenizer)), _BAN)


def chosen_sampling(session: Session, options: Mapping[str, Any]) -> dict[str, float]:
    """Return the samplers' values that were given as options, by the samplers' names.

    Raises `UsageError` for one out of range, in the words of `set`.
    """
    values = {name: float(options[name]) for name in _OWN_OPTIONS if options.get(name) is not None}
    values.update(options.get("samplers") or ())
    for name, value in values.items():
        if name in session.plugins.samplers:
            session.settings.check(name, f"{value:.15g}")
    return values


def chosen_model(session: Session, reference: str | None) -> LoadedModel:
    """Make ``reference`` the session's model and return it.

    By default it is the chosen one, else that of the last start, else the newest. Which it is, is said where
    another may have been meant.
    """
    from nanoshell import UsageError, last_model, last_state, model_name

    if reference is not None and not reference.strip():
        raise UsageError(
            "--model is empty", hint="name a run, RUN@STEP or a model directory, or leave it out"
        )
    if reference is None and session.model_name is not None:
        return session.model()
    if reference is not None:
        return session.use_model(reference)
    last = last_model() if session.history else None
    gone = last_state().get("model") if session.history and last is None else None
    loaded = session.use_model(last or "latest")
    if gone is not None:
        session.narrator.note(
            f"the model chosen last is gone or has no weights: {model_name(gone)}; "
            f"this is {loaded.label}, the newest"
        )
    elif last is not None and not _is_newest(session, loaded):
        session.narrator.note(f"the model chosen last: {loaded.label}; --model names another")
    return loaded


def _is_newest(session: Session, loaded: LoadedModel) -> bool:
    """Return whether ``loaded`` is of the newest run, or there is none."""
    from nanoshell import list_runs

    runs = list_runs(session.runs_dir)
    return not runs or loaded.path.resolve().is_relative_to(runs[0].path.resolve())
