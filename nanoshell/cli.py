"""The ``nanoshell`` program: its options, its subcommands, and the way into the prompt or a script."""

from __future__ import annotations

import contextlib
import gc
import io
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from nanoshell import theme
from nanoshell.command.complete import DEVICE, MODEL, SOURCE
from nanoshell.command.group import HELP_OPTION_NAMES, HELP_WIDTH, CommandGroup
from nanoshell.command.invoke import fail, perform, silence_stdout
from nanoshell.command.render import TerminalScreen
from nanoshell.errors import UsageError
from nanoshell.version import __version__

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from nanoshell.session import Session

ABOUT = """Tokenize text, train a small language model, look inside it, and chat with it.

Without a command it opens a prompt, where the same commands start with a colon."""


_OF_A_WORKER = ("--run", "--worker", "--warm-up")
"""Hidden options of ``train``: such a process is no face, and tells no plugin of a session."""

_MANAGES_PLUGINS = ("plugin", "plugins")
"""The command that must work whatever is wrong with a plugin: for it, none but ours is imported."""

_LOAD_OTHERS = "nanoshell.load_others"


class Program(CommandGroup):
    """The root: global options, then a command, or lines, or the prompt."""

    def invoke(self, ctx: click.Context) -> Any:
        options = ctx.params
        kept = vars(ctx)  # click 8.1 keeps the command's name without the underscore
        has_command = bool(kept.get("_protected_args") or kept.get("protected_args"))
        if options["help"]:
            click.echo(ctx.get_help())
            return None
        if options["lines"] or options["files"]:
            if has_command:
                raise UsageError("-c and -f do not go together with a command", hint="see: nanoshell --help")
            ctx.exit(_run_scripts(self._started(ctx), options))
        if has_command:
            return super().invoke(ctx)
        return ctx.exit(_enter(self._started(ctx), debug=options["debug"]))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        first = ctx.invoked_subcommand is None  # 'help' resolves the commands that it explains, too
        about = args[1] if args[0] == "help" and len(args) > 1 else args[0]
        ctx.meta.setdefault(_LOAD_OTHERS, about not in _MANAGES_PLUGINS)
        name, command, rest = super().resolve_command(ctx, args)
        options = {word.partition("=")[0] for word in rest}
        worker = name == "train" and not options.isdisjoint(_OF_A_WORKER)
        if first and not (worker or ctx.resilient_parsing):
            self._started(ctx)
        return name, command, rest

    def _started(self, ctx: click.Context) -> Session:
        """Return the session after telling plugins that it is about to take commands."""
        session = self.session(ctx)
        session.plugins.notify("session_started", session=session)
        return session


class _NameOption(click.Option):
    """A global option whose value completes to names that the session knows."""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        assert isinstance(ctx.command, Program)
        with contextlib.suppress(Exception):  # no names are better than an error in the middle of a line
            ctx.command.session(ctx)
        return super().shell_complete(ctx, incomplete)


def build() -> Program:
    """Return the program's click command. Plugins are loaded when a command is first looked up."""
    option = click.Option
    return Program(
        "cli",
        _open_session,
        name="nanoshell",
        help=ABOUT,
        invoke_without_command=True,
        add_help_option=False,
        context_settings={"help_option_names": HELP_OPTION_NAMES, "max_content_width": HELP_WIDTH},
        params=[
            option(["-c", "lines"], multiple=True, metavar="LINE", help="Carry out a line of the prompt."),
            option(
                ["-f", "files"],
                multiple=True,
                metavar="FILE",
                help="Carry out a file's lines (- is stdin).",
            ),
            _NameOption(
                ["--model"], type=MODEL, metavar="MODEL", help="A run, a checkpoint directory, or 'latest'."
            ),
            _NameOption(["--data"], type=SOURCE, metavar="SOURCE", help="The data source to work with."),
            _NameOption(
                ["--device"], type=DEVICE, metavar="DEVICE", help="Where to compute: auto, cpu, cuda, mps."
            ),
            option(
                ["--plugins-dir"], type=click.Path(file_okay=False, path_type=Path), help="Load DIR/*.py too."
            ),
            option(["--safe"], is_flag=True, help="Load only the plugins that come with nanoshell."),
            option(["--no-history"], is_flag=True, help="Keep no conversation, history or state."),
            option(["--debug"], is_flag=True, help="Show where an unexpected error happened."),
            option(
                ["--version"],
                is_flag=True,
                expose_value=False,
                is_eager=True,
                callback=_print_version,
                help="Print the version.",
            ),
            option([*HELP_OPTION_NAMES], is_flag=True, help="Show this page."),
        ],
    )


def run(arguments: Sequence[str] | None = None) -> int:
    """Carry out the program's ``arguments`` and return its exit code."""
    args = _utf8_arguments() if arguments is None else list(arguments)
    _speak_utf8()
    _leave_words_to_the_first()
    _wait_asleep()
    debug = "--debug" in args
    program = build()

    def chosen_theme() -> str:
        return program.opened.settings.text("theme") if program.opened is not None else theme.DEFAULT

    with theme.chosen_by(chosen_theme):
        return _carry_out(program, args, debug=debug)


def _carry_out(program: Program, args: list[str], *, debug: bool) -> int:
    try:
        screen = TerminalScreen()
        if _completes_for_a_shell():
            from nanoshell.command.shells import answer_with_ours

            answer_with_ours()
            program.main(args, "nanoshell")  # answers bash, zsh or fish and exits
        outcome = perform(program, "nanoshell", args, screen, debug=debug)
        if outcome.stay and program.opened is not None and _attended():
            return _enter(program.opened, debug=debug)
        return outcome.code
    except BaseException as error:
        return fail(error, debug=debug)
    finally:
        if program.opened is not None:
            program.opened.close()
        _flush()


def main() -> NoReturn:
    """Run the program and leave with its exit code."""
    sys.exit(run())


def _open_session(ctx: click.Context) -> Session:
    from nanoshell.command.narrate import ScreenNarrator
    from nanoshell.opening import open_session

    options = ctx.params
    # What is said at every Tab would land in the middle of the line that is being typed.
    quiet = (
        contextlib.redirect_stderr(io.StringIO()) if _completes_for_a_shell() else contextlib.nullcontext()
    )
    with quiet, _uncollected():
        session = open_session(
            plugins_dir=options.get("plugins_dir"),
            safe=bool(options.get("safe")),
            history=not options.get("no_history"),
            narrator=ScreenNarrator(TerminalScreen()),
            load_others=ctx.meta.get(_LOAD_OTHERS, True),
        )
    if device := options.get("device"):
        session.settings.override("device", device)
    session.model_name = options.get("model") or session.model_name
    session.data = options.get("data") or session.data
    return session


def _run_scripts(session: Session, options: dict[str, Any]) -> int:
    from nanoshell.command import script

    if options["lines"] and options["files"]:
        raise UsageError("-c and -f do not go together", hint="put all lines into the file")
    screen = TerminalScreen()
    parts = [script.argument_lines(options["lines"])]
    parts += [
        script.stdin_lines() if name == "-" else script.file_lines(Path(name)) for name in options["files"]
    ]
    lines = itertools.chain.from_iterable(parts)  # one script: what ends a part of it ends the whole
    return script.run_lines(session, lines, screen, debug=options["debug"])


def _enter(session: Session, *, debug: bool) -> int:
    """Open the prompt on a terminal; elsewhere carry out the lines of standard input."""
    if _attended():
        with _uncollected():
            from nanoshell.repl.loop import run_prompt

        return run_prompt(session, debug=debug)
    from nanoshell.command.script import run_lines, stdin_lines

    return run_lines(session, stdin_lines(), TerminalScreen(), debug=debug)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Look for no garbage in the block: imports make next to none, and the search takes its time."""
    searches = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searches:
            gc.enable()


def _attended() -> bool:
    """Return whether a person types and reads on a terminal."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"nanoshell {__version__}")
        ctx.exit()


def _completes_for_a_shell() -> bool:
    return bool(os.environ.get("_NANOSHELL_COMPLETE"))


def _speak_utf8() -> None:
    """Write UTF-8 where the locale knows only ASCII; never fail over a character that it lacks."""
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            ascii_only = stream.encoding.lower() in ("ascii", "us-ascii", "ansi_x3.4-1968")
            stream.reconfigure(encoding="utf-8" if ascii_only else None, errors="backslashreplace")


def _utf8_arguments() -> list[str]:
    """Return the words of the command line read as UTF-8, whatever the locale takes them for."""
    return [os.fsencode(word).decode("utf-8", "surrogateescape") for word in sys.argv[1:]]


def _leave_words_to_the_first() -> None:
    """Say nothing in processes that torchrun started beside the first: it says the same, once."""
    if os.environ.get("RANK", "0") == "0":
        return
    from nanoshell.training.distributed import placement

    if placement() is not None:
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123


def _wait_asleep() -> None:
    """Let the threads of OpenMP soon sleep while they wait for each other, unless the user says otherwise.

    By default they spin. On cores that somebody else uses too, a spinning thread keeps the one that it waits
    for from running; and to fall asleep between any two small operations takes longer than these. So they
    spin for some microseconds: see docs/log.md. The variables are read when torch is loaded.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")


def _flush() -> None:
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        silence_stdout()
