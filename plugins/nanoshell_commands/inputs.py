"""What several commands take: text from standard input, keys and values, the folder of the runs, a dtype."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nanoshell import DTYPE_WORDS, TOKENIZER, Choice

if TYPE_CHECKING:
    from nanoshell import Session, Tokenizer

Command = TypeVar("Command", bound=Callable[..., Any])


def attended() -> bool:
    """Return whether a person types and reads on a terminal."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))


def _override_setting(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Let the setting of the option's name have its value for the rest of the session."""
    if value is not None and param.name is not None and not ctx.resilient_parsing:
        ctx.obj.settings.override(param.name, value)


def runs_dir_option(command: Command) -> Command:
    """Add ``--runs-dir`` to ``command``; it holds for the rest of the session."""
    return click.option(
        "--runs-dir",
        type=click.Path(file_okay=False),
        expose_value=False,
        is_eager=True,
        callback=_override_setting,
        show_default="the setting",
        help="The folder of the runs.",
    )(command)


def dtype_option(command: Command) -> Command:
    """Add ``--dtype`` to ``command``, which loads a model; it holds for the rest of the session."""
    return click.option(
        "--dtype",
        type=Choice(DTYPE_WORDS),
        metavar="DTYPE",
        expose_value=False,
        is_eager=True,
        callback=_override_setting,
        show_default="the setting",
        help="What the model computes in: float32, bfloat16, float16 (or bf16 …); auto as in its file.",
    )(command)


def tokenizer_option(command: Command) -> Command:
    """Add ``--tokenizer`` to ``command``, for this time only; `chosen_tokenizer` finds what it names."""
    return click.option(
        "--tokenizer",
        type=TOKENIZER,
        show_default="the setting",
        help="What makes the ids: a name or a file.",
    )(command)


def chosen_tokenizer(session: Session, name: str | None) -> Tokenizer:
    """Return the tokenizer that ``--tokenizer`` named, else that of the settings."""
    from nanoshell import find_tokenizer

    return find_tokenizer(name, session.plugins.tokenizers) if name else session.tokenizer


def key_values(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, Any], ...]:
    """Return the pairs of ``KEY=VALUE``; a value is read as JSON or YAML where it is that, else as text.

    Raises `click.BadParameter` for a word without ``=``.
    """
    return tuple(_key_value(value, ctx, param) for value in values)


def _key_value(value: str, ctx: click.Context, param: click.Parameter) -> tuple[str, Any]:
    key, equals, written = value.partition("=")
    if not equals or not key.strip():
        raise click.BadParameter(
            f"'{value}' is not KEY=VALUE, for example trainer.weight_decay=0.05", ctx, param
        )
    return key.strip(), _value(written)


def _value(written: str) -> Any:
    """Return what ``written`` is in a config. JSON comes first: YAML 1.1 takes ``1e-3`` for text."""
    import yaml

    try:
        return json.loads(written)
    except ValueError:
        pass
    try:
        value = yaml.safe_load(written)
    except yaml.YAMLError:
        return written
    return value if isinstance(value, bool | int | float | list | dict) else written


def read_stdin() -> str:
    """Return all of standard input. Raises `DataError` where it is not UTF-8."""
    return decoded(sys.stdin.buffer.read())


def decoded(data: bytes, where: str = "standard input") -> str:
    """Return ``data`` as text. Raises `DataError` that names the first byte that is no UTF-8."""
    from nanoshell import DataError

    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where} is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}",
            hint="convert it first, for example: iconv -f latin1 -t utf-8",
        ) from None


def joined(words: tuple[str, ...]) -> str:
    """Return ``words`` as one text, or all of standard input where the only word is ``-``."""
    return read_stdin() if words == ("-",) else " ".join(words)


def prompt_text(words: tuple[str, ...]) -> str:
    """Return a prompt from ``words`` as `joined` does; the newline that ends piped input is no part of it."""
    text = joined(words)
    return text.removesuffix("\n") if words == ("-",) else text
