"""Errors of every origin (click, Python, the pipe, the keyboard) as a message, a hint and an exit code."""

from __future__ import annotations

import re
import sys
import traceback

import click

from nanoshell.command.render import say
from nanoshell.errors import Declined, Interrupted, NanoshellError, UsageError, nearest
from nanoshell.plugin.trouble import words_of

BROKEN_PIPE = 141
"""Exit code when the reader of stdout has gone: what a shell reports for a program that SIGPIPE ended."""


def explain(error: BaseException, spelled: str = "") -> NanoshellError | None:
    """Return ``error``, raised by the command ``spelled``, in our words, or None with nothing to say."""
    match error:
        case NanoshellError():
            return error
        case click.exceptions.Exit():
            return None
        case BrokenPipeError() if not sys.stdout.isatty():
            return None
        case KeyboardInterrupt():
            return Interrupted()
        case click.Abort():
            return _explain_abort(error)
        case click.ClickException():
            return _explain_click(error)
        case SystemExit():
            return NanoshellError(error.code) if isinstance(error.code, str) else None
        case MemoryError():
            return NanoshellError("there is not enough memory", hint="try a smaller model or batch")
    if isinstance(error, OSError) and error.strerror:
        file = f": {error.filename}" if error.filename is not None else ""
        return NanoshellError(f"{error.strerror}{file}", hint="--debug shows where it happened")
    what = f"{type(error).__name__}: {words_of(error)}".strip().removesuffix(":")
    where = f" in {spelled}" if spelled else ""
    return NanoshellError(f"unexpected error{where}: {what}", hint="--debug shows where it happened")


def exit_code(error: BaseException, explained: NanoshellError | None) -> int:
    """Return the exit code of the program for ``error``."""
    match error:
        case BrokenPipeError() if explained is None:
            return BROKEN_PIPE
        case click.exceptions.Exit():
            return error.exit_code
        case SystemExit():
            return error.code if isinstance(error.code, int) else int(error.code is not None)
        case click.ClickException():
            return error.exit_code
    return explained.exit_code if explained else 0


def report(error: NanoshellError, *, where: str = "") -> None:
    """Print ``error`` on stderr: the message, ``where`` (``file:line``) before it, and the hint below."""
    message = f"{where}: {error.message}" if where else error.message
    if isinstance(error, (Declined, Interrupted)):  # what the user asked for is no error
        say(message, "warning")
    else:
        say(message, "error", label="error: ")
    if error.hint:
        say(error.hint, "quiet", indent="  ")


def report_traceback(error: BaseException) -> None:
    """Print the traceback of ``error`` on stderr."""
    traceback.print_exception(error)


def _explain_abort(error: click.Abort) -> NanoshellError:
    if isinstance(error.__context__, EOFError):
        return NanoshellError(
            "the command asks a question and there is no one to answer",
            hint="answer with an option, or run it in a terminal without --json",
        )
    if error.__context__ is None:  # click asked, and was answered
        return Declined()
    return Interrupted()


def _explain_click(error: click.ClickException) -> NanoshellError:
    ctx = getattr(error, "ctx", None)
    kind = UsageError if isinstance(error, click.UsageError) else NanoshellError
    if ctx is None:
        return kind(_in_our_words(error.format_message()))
    hint = f"see: {_help_line(ctx)}"
    if isinstance(error, click.NoSuchOption):
        known = [
            name for param in ctx.command.get_params(ctx) for name in (*param.opts, *param.secondary_opts)
        ]
        match = nearest(error.option_name, [name for name in known if name.startswith("-")])
        suggestion = f"; did you mean '{match}'?" if match else ""
        return kind(f"{ctx.command_path} has no option '{error.option_name}'{suggestion}", hint=hint)
    said = _in_our_words(error.format_message()) + _near_choice(error)
    if isinstance(error, click.UsageError):
        usage = " ".join([ctx.command_path, *ctx.command.collect_usage_pieces(ctx)])
        hint = f"usage: {usage}; {hint}"
        takes_words = any(isinstance(param, click.Argument) for param in ctx.command.params)
        if "unexpected extra argument" in said and takes_words:
            hint = f"what has spaces stands in quotes: 'my talk'; {hint}"
    return kind(f"{ctx.command_path}: {said}", hint=hint)


def _near_choice(error: click.ClickException) -> str:
    """Return a question that names the choice nearest to the one that an option or argument was given."""
    choices = getattr(getattr(error, "param", None), "type", None)
    given = re.search(r"'([^']*)' is not one of", error.format_message())
    if not isinstance(choices, click.Choice) or given is None:
        return ""
    match = nearest(given[1], [str(choice) for choice in choices.choices])
    return f"; did you mean '{match}'?" if match else ""


def _help_line(ctx: click.Context) -> str:
    from nanoshell.command.group import CommandGroup

    root = ctx.find_root().command
    if not isinstance(root, CommandGroup):
        return f"{ctx.command_path} --help"
    path = ctx.command_path.lstrip(":").removeprefix("nanoshell").strip()
    return f"{root.prefix}help {path}".strip()


def _in_our_words(message: str) -> str:
    text = message.strip().removesuffix(".")
    return text[:1].lower() + text[1:] if not text[:2].isupper() else text
