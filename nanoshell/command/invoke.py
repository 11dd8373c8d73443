"""Carry out one command for a face: parse, run, show; what goes wrong becomes a message and a code."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click

from nanoshell.command.explain import exit_code, explain, report, report_traceback
from nanoshell.command.interrupt import interruptible
from nanoshell.command.render import TerminalScreen, show, show_json
from nanoshell.command.result import INVOKED, JSON_WANTED, STAY, LeaveShell
from nanoshell.plugin.blame import culprit
from nanoshell.spelling import spelled_with


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code, whether it asks to leave the shell, or to stay in it."""

    code: int = 0
    leave: bool = False
    stay: bool = False


def perform(
    group: click.Group,
    name: str,
    args: Sequence[str],
    screen: TerminalScreen,
    *,
    obj: Any = None,
    debug: bool = False,
    where: str = "",
) -> Outcome:
    """Run ``args`` through ``group`` as the program ``name`` and show the result. No exception leaves it.

    ``obj`` is what the commands are handed where the group does not make it itself; ``where`` (``file:line``)
    stands before an error's message.
    """
    meta: dict[str, Any] = {}
    try:
        with (
            spelled_with(getattr(group, "prefix", "")),
            _own_streams(),
            interruptible(),
            group.make_context(name, list(args), obj=obj) as ctx,
        ):
            meta = ctx.meta
            _run(group, ctx, args, screen)
    except LeaveShell:
        return Outcome(leave=True)
    except BaseException as error:
        spelled = meta.get(INVOKED, "")
        spelled += _raised_by(error, spelled, getattr(group, "opened", None))
        return Outcome(fail(error, spelled, debug=debug, where=where))
    return Outcome(stay=bool(meta.get(STAY)) and not meta.get(JSON_WANTED))


@contextlib.contextmanager
def _own_streams() -> Iterator[None]:
    """Leave stdin, stdout and stderr as they were: what a command puts in their place ends with it."""
    streams = sys.stdin, sys.stdout, sys.stderr
    try:
        with _kept_open(*streams):
            yield
    finally:
        sys.stdin, sys.stdout, sys.stderr = streams


@contextlib.contextmanager
def _kept_open(*streams: Any) -> Iterator[None]:
    """Let a command that closes one of ``streams`` flush it: they are the shell's, which writes on."""
    guarded: list[Any] = [part for stream in streams for part in (stream, getattr(stream, "buffer", None))]
    with contextlib.ExitStack() as kept:
        for part in guarded:
            with contextlib.suppress(AttributeError):  # none at all, or one that takes no other method
                part.close = part.flush
                kept.callback(vars(part).pop, "close", None)
        yield


def _raised_by(error: BaseException, spelled: str, session: Any) -> str:
    """Return which plugin raised ``error``, where that is another one than that of the command."""
    found = None if session is None else culprit(error, session.plugins.infos)
    if found is None or spelled.endswith(f"plugin '{found.plugin}'"):
        return ""
    return f", raised by plugin '{found.plugin}' ({found.place})"


def fail(error: BaseException, spelled: str = "", *, debug: bool = False, where: str = "") -> int:
    """Report ``error`` on stderr and return its exit code. A reader who has gone is told nothing."""
    explained = explain(error, spelled)
    if isinstance(error, BrokenPipeError) and explained is None:
        silence_stdout()
    if isinstance(error, (click.Abort, KeyboardInterrupt)) and not _answered(error) and sys.stderr.isatty():
        click.echo(err=True)  # the cursor stands behind a question, or behind ^C
    if type(error).__name__ == "NoArgsIsHelpError":
        click.echo(str(error), err=True)
    elif explained is not None:
        if debug and not isinstance(error, (KeyboardInterrupt, click.ClickException)):
            report_traceback(error)
        report(explained, where=where)
    return exit_code(error, explained)


def _answered(error: BaseException) -> bool:
    """Return whether ``error`` says no to a question: then Enter has ended its line."""
    return isinstance(error, click.Abort) and error.__context__ is None


def silence_stdout() -> None:
    """Point stdout to nowhere, so that flushing what is left at exit cannot fail."""
    with contextlib.suppress(OSError, ValueError, io.UnsupportedOperation):
        import os

        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())


def _run(group: click.Group, ctx: click.Context, args: Sequence[str], screen: TerminalScreen) -> None:
    """Invoke and show. With ``--json`` what the command writes itself is held back: it may be the result."""
    if "--json" not in _before_double_dash(args):
        value = group.invoke(ctx)
        _present(value, "", ctx, screen)
        return
    held = io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace", newline="")
    try:
        with contextlib.redirect_stdout(held), _kept_open(held), _unattended():
            value = group.invoke(ctx)
    except click.exceptions.Exit:
        _present(None, _text(held), ctx, screen)
        raise
    except BaseException:
        sys.stdout.write(_text(held))
        raise
    _present(value, _text(held), ctx, screen)


def _present(value: Any, echoed: str, ctx: click.Context, screen: TerminalScreen) -> None:
    if ctx.meta.get(JSON_WANTED):
        show_json(value, echoed)
    else:
        sys.stdout.write(echoed)  # the command has a --json of its own, and wrote what it means by it
        show(value, screen)
    sys.stdout.flush()


@contextlib.contextmanager
def _unattended() -> Iterator[None]:
    """Let no command wait for an answer to a question that ``--json`` hides. Piped input stays readable."""
    if sys.stdin is None or not sys.stdin.isatty():
        yield
        return
    attended, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(), "utf-8")
    try:
        yield
    finally:
        sys.stdin = attended


def _text(held: io.TextIOWrapper) -> str:
    held.flush()
    buffer = held.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode("utf-8", "replace")


def _before_double_dash(args: Sequence[str]) -> Sequence[str]:
    return args[: args.index("--")] if "--" in args else args
