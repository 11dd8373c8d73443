"""The click group of a face: every registered command under its name and aliases, each with ``--json``.

The commands themselves stay as their plugins made them; a face works on copies.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from nanoshell.command import words
from nanoshell.command.help import write_command_groups
from nanoshell.command.result import INVOKED, json_option
from nanoshell.errors import UnknownNameError, UsageError, nearest

if TYPE_CHECKING:
    from nanoshell.plugin.hookspecs import FaceName
    from nanoshell.plugin.registry import Entry, Registry
    from nanoshell.session import Session

HELP_OPTION_NAMES = ["-h", "--help"]
HELP_WIDTH = 110
"""Columns of the help on terminals that are wider."""

_COMMON = 3
"""So many groups make the name of a subcommand say nothing."""


class CommandGroup(click.Group):
    """The commands that make sense in one face, read from the session's plugins whenever they are needed.

    ``open_session(ctx)`` is called when the first command is looked up, so that building the group costs
    nothing; ``opened`` is what it returned.
    """

    def __init__(
        self, face: FaceName, open_session: Callable[[click.Context], Session], **attributes: Any
    ) -> None:
        super().__init__(**attributes)
        self.face = face
        self.opened: Session | None = None
        self._open_session = open_session

    @property
    def prefix(self) -> str:
        """What stands before a command's name in this face."""
        return "nanoshell " if self.face == "cli" else ":"

    def session(self, ctx: click.Context) -> Session:
        """Return the session of ``ctx``, opened once and handed to the commands as ``obj``."""
        root = ctx.find_root()
        if self.opened is None:
            self.opened = self._open_session(root)
        root.obj = self.opened
        return self.opened

    def entries(self, ctx: click.Context) -> Iterator[Entry[click.Command]]:
        """Yield the registered commands of this face."""
        for entry in self.session(ctx).plugins.commands:
            if self.face in entry.options["faces"]:
                yield entry

    def entry(self, ctx: click.Context, name: str) -> Entry[click.Command]:
        """Return the command of that name or alias. Raises `UnknownNameError` with the nearest."""
        commands = self.session(ctx).plugins.commands
        found = find_entry(commands, name)
        if found is None:
            raise self._unknown(ctx, name)
        if self.face not in found.options["faces"]:
            where = "at the prompt" if self.face == "cli" else "on the command line"
            raise UsageError(
                f"'{name}' works only {where}",
                hint="start it with: nanoshell" if self.face == "cli" else f"nanoshell {name}",
            )
        return found

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [entry.name for entry in self.entries(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        try:
            entry = self.entry(ctx, cmd_name)
        except UsageError:
            if ctx.resilient_parsing:
                return None
            raise
        names = [self.prefix + name for name in (entry.name, *entry.options["aliases"])]
        return dress(entry.value, [self.prefix + example for example in entry.options["examples"]], names)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, rest = args[0], args[1:]
        command = self.get_command(ctx, name)
        if command is None:
            return None, None, rest
        entry = self.entry(ctx, name)
        ctx.meta[INVOKED] = f"'{entry.name}' of plugin '{entry.provider}'"
        if entry.options["raw"] and not ctx.resilient_parsing:
            rest = words.join_words(command, rest)
        spelled = entry.name if self.face == "cli" else f":{entry.name}"
        return spelled, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_command_groups(list(self.entries(ctx)), formatter, self.prefix if self.face != "cli" else "")

    def _unknown(self, ctx: click.Context, name: str) -> UnknownNameError:
        from nanoshell.plugin.manager import WAY_BACK

        names = all_names(self.entries(ctx))
        meant = " or ".join(f"'{path}'" for path in self._meant(ctx, name))
        message = f"unknown command '{name}'" + (f"; did you mean {meant}?" if meant else "")
        hints = [f"see all of them with: {self.prefix}help"] if "help" in names else []
        if disabled := self.session(ctx).plugins.disabled_by_settings():
            hints.append(f"disabled by the settings: {', '.join(disabled)}; to have all back: {WAY_BACK}")
        return UnknownNameError(message, hint="\n".join(hints))

    def _meant(self, ctx: click.Context, name: str) -> list[str]:
        """Return the commands that ``name`` may stand for: the nearest, or subcommands that are called so."""
        members: dict[str, list[str]] = {}
        for entry in self.entries(ctx):
            if isinstance(entry.value, click.Group):
                for member in entry.value.commands:
                    members.setdefault(member, []).append(f"{entry.name} {member}")
        if name not in members and (match := nearest(name, all_names(self.entries(ctx)))):
            return [match]
        paths = members.get(nearest(name, members) or "", [])
        return paths if len(paths) < _COMMON else []  # what they all have, such as 'list', says nothing


def path_of(ctx: click.Context) -> str:
    """Return the words of the command of ``ctx`` as no face spells them: ``runs show``."""
    return ctx.command_path.removeprefix("nanoshell").strip().removeprefix(":")


def unknown_command(name: str, known: Iterable[str], *, path: str, hint: str = "") -> UnknownNameError:
    """Return the error for a ``name`` that is none of the ``known`` subcommands of the command ``path``."""
    choices = sorted(known)
    match = nearest(name, choices)
    message = f"unknown command '{name}' of {path}" + (f"; did you mean '{match}'?" if match else "")
    return UnknownNameError(message, hint=hint or f"known: {', '.join(choices)}")


def find_entry(commands: Registry[click.Command], name: str) -> Entry[click.Command] | None:
    """Return the command registered as ``name``, or under it as an alias, or None."""
    if name in commands:
        return commands.entry(name)
    return next((entry for entry in commands if name in entry.options["aliases"]), None)


def all_names(entries: Iterable[Entry[click.Command]]) -> list[str]:
    """Return the names and aliases of ``entries``."""
    return [name for entry in entries for name in (entry.name, *entry.options["aliases"])]


def dress(command: click.Command, examples: Sequence[str] = (), spelled: Sequence[str] = ()) -> click.Command:
    """Return a copy of ``command`` for a face: ``--json`` on every leaf, ``examples`` in its help.

    Subcommands get those of the examples that begin with their path; ``spelled`` are the ways to write that
    of ``command``.
    """
    dressed = copy.copy(command)
    dressed.params = [_shortly(param) for param in command.params]
    if not command.deprecated:  # to which click adds a mark itself
        dressed.short_help = command.get_short_help_str(HELP_WIDTH)
    dressed.context_settings = {
        "show_default": True,
        "help_option_names": HELP_OPTION_NAMES,
        **command.context_settings,
    }
    if examples:
        shown = _one_of_each(command, examples, spelled) if isinstance(command, click.Group) else examples
        lines = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in shown)
        dressed.epilog = f"{command.epilog}\n\n{lines}" if command.epilog else lines
    if isinstance(dressed, click.Group):
        _dress_members(dressed, examples, spelled)
        if not dressed.invoke_without_command:
            return dressed
    if "--json" not in _spellings(command):
        dressed.params.append(_json_flag())
    if not isinstance(dressed, click.Group):
        _read_negative_numbers(dressed)
    return dressed


def _shortly(param: click.Parameter) -> click.Parameter:
    """Return ``param``; an option that takes a number, as a copy that calls it N or X in the help."""
    number = isinstance(param.type, click.types.IntParamType | click.types.FloatParamType)
    if not number or param.metavar or not isinstance(param, click.Option) or param.is_flag or param.count:
        return param
    shown = copy.copy(param)
    shown.metavar = "N" if isinstance(param.type, click.types.IntParamType) else "X"
    return shown


def _read_negative_numbers(command: click.Command) -> None:
    """Make ``command``, a copy, take a word such as ``-1`` as the value that it is, not as an option."""
    parse = command.parse_args

    def parse_args(ctx: click.Context, args: list[str]) -> list[str]:
        return parse(ctx, args if ctx.resilient_parsing else words.keep_numbers(command, args))

    command.parse_args = parse_args  # type: ignore[method-assign]


def examples_of(paths: Sequence[str], examples: Sequence[str]) -> list[str]:
    """Return those of ``examples`` that begin with one of ``paths`` (``runs show``)."""
    return [line for line in examples if any(f"{line} ".startswith(f"{path} ") for path in paths)]


def _one_of_each(group: click.Group, examples: Sequence[str], spelled: Sequence[str]) -> Sequence[str]:
    """Return the first of ``examples`` of each subcommand, and all that are of the group alone."""
    kept: dict[str, str] = {}
    for line in examples:
        path = next((path for path in spelled if f"{line} ".startswith(f"{path} ")), "")
        word = line[len(path) :].split(None, 1)[:1]
        kept.setdefault(word[0] if word and word[0] in group.commands else line, line)
    return list(kept.values())


def _dress_members(group: click.Group, examples: Sequence[str], spelled: Sequence[str]) -> None:
    """Make ``group``, a copy, hand out dressed subcommands; a subclass may look them up as it likes."""
    look_up = group.get_command

    def get_command(ctx: click.Context, name: str) -> click.Command | None:
        found = look_up(ctx, name)
        if found is not None:
            paths = [f"{path} {name}" for path in spelled]
            return dress(found, examples_of(paths, examples), paths)
        if not ctx.resilient_parsing and name not in (known := group.list_commands(ctx)):
            raise unknown_command(name, known, path=path_of(ctx))
        return None

    group.get_command = get_command  # type: ignore[method-assign, assignment]


def _spellings(command: click.Command) -> set[str]:
    return {spelling for param in command.params for spelling in (*param.opts, *param.secondary_opts)}


def _json_flag() -> click.Parameter:
    holder: Any = json_option()(lambda: None)
    flag: click.Parameter = holder.__click_params__[0]
    return flag
