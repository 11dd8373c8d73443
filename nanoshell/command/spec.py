"""The commands described for tools: options with types and defaults, examples, what ``--json`` prints."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import click

from nanoshell.command.group import dress, examples_of, find_entry
from nanoshell.command.schema import Schema, Schemas, printed
from nanoshell.errors import unknown_name
from nanoshell.version import __version__

if TYPE_CHECKING:
    from nanoshell.command.result import Screen
    from nanoshell.plugin.registry import Entry
    from nanoshell.session import Session

FORMAT = 1
"""Version of the description's layout."""

EXIT_CODES = {
    0: "done",
    1: "failed; the message on standard error says what to do",
    2: "not understood: an unknown command, option or name, or a value that cannot be",
    130: "interrupted with Ctrl-C",
    141: "the reader of standard output has gone",
}

JsonValue = Annotated[Any, "any JSON value"]
JsonSchema = Annotated[Any, "a JSON Schema"]


@dataclass(frozen=True)
class ParameterSpec:
    """An option or argument: its spellings, the name of its type, its bounds, and its default.

    ``default_text`` says what is taken where the default is not a value (the chosen source). ``nargs`` is how
    many words it takes, -1 any number; ``repeatable`` that it may be given several times.
    """

    name: str
    kind: str
    spellings: list[str]
    off_spellings: list[str]
    type: str
    choices: list[str] | None
    minimum: float | None
    maximum: float | None
    default: JsonValue
    default_text: str | None
    required: bool
    flag: bool
    repeatable: bool
    nargs: int
    help: str


@dataclass(frozen=True)
class CommandSpec:
    """A command or subcommand, and what it prints with ``--json``.

    That is a ``document``, ``lines``, or either by its options: JSON Schemas that refer to ``$defs`` of the
    whole, null where it prints none such.
    ``group`` is its heading in the help; a ``raw`` command takes the rest of the line as it is.
    """

    path: str
    usage: str
    summary: str
    description: str
    group: str
    plugin: str
    aliases: list[str]
    faces: list[str]
    raw: bool
    examples: list[str]
    parameters: list[ParameterSpec]
    document: JsonSchema
    lines: JsonSchema


SpecDocument = TypedDict(
    "SpecDocument",
    {
        "nanoshell": str,
        "format": int,
        "exit_codes": dict[str, str],
        "options": list[ParameterSpec],
        "commands": list[CommandSpec],
        "$defs": Annotated[dict[str, JsonSchema], "the objects that the schemas refer to"],
    },
)


class CommandSheet:
    """The description of commands, made by `describe`: a table for people, one document for tools."""

    def __init__(self, options: list[ParameterSpec], commands: list[CommandSpec], schemas: Schemas) -> None:
        self.options = options
        self.commands = commands
        self.definitions = schemas.definitions

    def show(self, screen: Screen) -> None:
        """Show a line for each command: how it is used, and what it prints with ``--json``."""
        from rich.table import Table
        from rich.text import Text

        shown = Table(box=None, pad_edge=False)
        for heading in ("command", "prints with --json"):
            shown.add_column(Text(heading, style="nano.heading"), overflow="fold")
        for command in self.commands:
            shown.add_row(Text(command.usage), Text(output_notation(command)))
        screen.out.print(shown)

    def lines(self) -> Iterator[CommandSpec]:
        yield from self.commands

    def document(self) -> SpecDocument:
        """Return the whole description."""
        return {
            "nanoshell": __version__,
            "format": FORMAT,
            "exit_codes": {str(code): meaning for code, meaning in EXIT_CODES.items()},
            "options": self.options,
            "commands": self.commands,
            "$defs": self.definitions,
        }


def describe(
    session: Session, path: Sequence[str] = (), program: click.Command | None = None
) -> CommandSheet:
    """Return the description of the commands under ``path`` (``["runs"]``), of all where it is empty.

    ``program`` is where the options of the program are read from. Raises `UnknownNameError`.
    """
    commands, schemas = session.plugins.commands, Schemas()
    entries = list(commands)
    if path:
        found = find_entry(commands, path[0])
        if found is None:
            raise unknown_name("command", path[0], commands.names())
        entries = [found]
    wanted = [(entries[0].name if path else ""), *path[1:]]
    prefix = " ".join(wanted).strip()
    every = [spec for entry in entries for spec in _described(entry, schemas)]
    told = [spec for spec in every if not prefix or f"{spec.path} ".startswith(f"{prefix} ")]
    if not told:
        known = [" ".join(spec.path.split()[1:]) for spec in every if spec.path != entries[0].name]
        raise unknown_name(f"{entries[0].name} command", " ".join(path[1:]), known)
    return CommandSheet([_parameter(param) for param in program.params] if program else [], told, schemas)


def _described(entry: Entry[click.Command], schemas: Schemas) -> Iterator[CommandSpec]:
    if not entry.value.hidden:
        command = dress(entry.value, entry.options["examples"], [entry.name, *entry.options["aliases"]])
        root = click.Context(command, info_name=entry.name, **command.context_settings)
        yield from _walk(entry, root, schemas)


def _walk(entry: Entry[click.Command], ctx: click.Context, schemas: Schemas) -> Iterator[CommandSpec]:
    """Yield the command of ``ctx``, where it does something itself, and all below it."""
    command = ctx.command
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield _command(entry, ctx, schemas)
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            member = command.get_command(ctx, name)
            if member is not None and not member.hidden:
                below = click.Context(member, parent=ctx, info_name=name, **member.context_settings)
                yield from _walk(entry, below, schemas)


def _command(entry: Entry[click.Command], ctx: click.Context, schemas: Schemas) -> CommandSpec:
    command, path = ctx.command, ctx.command_path
    prints = printed(command, schemas)
    top = ctx.parent is None
    names = [path, *(f"{alias} {path.partition(' ')[2]}".strip() for alias in entry.options["aliases"])]
    return CommandSpec(
        path=path,
        usage=_usage(command, path),
        summary=command.get_short_help_str(200),
        description=inspect.cleandoc(command.help or "").replace("\b\n", ""),
        group=entry.options["group"],
        plugin=entry.provider,
        aliases=list(entry.options["aliases"]) if top else [],
        faces=list(entry.options["faces"]),
        raw=entry.options["raw"] and top,
        examples=examples_of(names, entry.options["examples"]),
        parameters=[_parameter(param) for param in command.params if not getattr(param, "hidden", False)],
        document=prints.document,
        lines=prints.lines,
    )


def _usage(command: click.Command, path: str) -> str:
    """Return how ``command`` is typed, the same with every version of click, which words this differently."""
    words = [path, command.options_metavar or ""]
    for param in command.params:
        if isinstance(param, click.Argument):
            many = "..." if param.nargs != 1 else ""
            choices = "|".join(map(str, getattr(param.type, "choices", ())))
            word = choices or (param.name or "").upper()
            edges = "[]" if not param.required else "{}" if choices else ("", "")
            words.append(param.metavar or f"{edges[0]}{word}{edges[1]}{many}")
    if isinstance(command, click.Group):
        members, some = "COMMAND [ARGS]...", "[COMMAND] [ARGS]..."
        own = command.subcommand_metavar not in (members, some)
        words.append(
            command.subcommand_metavar if own else some if command.invoke_without_command else members
        )
    return " ".join(filter(None, words))


def _parameter(param: click.Parameter) -> ParameterSpec:
    told = param.to_info_dict()
    kind = told["type"]
    text = getattr(param, "show_default", None)
    default = told.get("default")
    plain = isinstance(default, str | int | float | bool | list | tuple)
    return ParameterSpec(
        name=param.name or "",
        kind=param.param_type_name,
        spellings=list(param.opts) if isinstance(param, click.Option) else [],
        off_spellings=list(param.secondary_opts),
        type=str(param.type.name),
        choices=[str(choice) for choice in kind["choices"]] if "choices" in kind else None,
        minimum=kind.get("min"),
        maximum=kind.get("max"),
        default=default if plain else None,
        default_text=text if isinstance(text, str) else None,
        required=param.required,
        flag=bool(told.get("is_flag")),
        repeatable=bool(told.get("multiple") or told.get("count")),
        nargs=param.nargs,
        help=str(told.get("help") or ""),
    )


def output_notation(command: CommandSpec) -> str:
    """Return in a few words what ``command`` prints with ``--json``."""
    parts = [notation(command.document)] if command.document is not None else []
    parts += [f"lines of {notation(command.lines)}"] if command.lines is not None else []
    return " or ".join(parts) or "nothing"


def notation(schema: Schema) -> str:
    """Return ``schema`` as people write types: ``list of RunRow``, ``number or null``, ``{"text": text}``."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return " or ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(notation(part) for part in schema["anyOf"]))
    if "prefixItems" in schema:
        return f"[{', '.join(notation(member) for member in schema['prefixItems'])}]"
    if schema.get("items"):
        return f"list of {notation(schema['items'])}"
    if "properties" in schema:
        members = (f'"{name}": {notation(member)}' for name, member in schema["properties"].items())
        return "{" + ", ".join(members) + "}"
    if schema.get("additionalProperties"):
        return f"object of {notation(schema['additionalProperties'])}"
    kinds = schema.get("type", [])
    named = " or ".join(map(_kind, [kinds] if isinstance(kinds, str) else kinds))
    return named or str(schema.get("description", "any JSON value"))


def _kind(name: str) -> str:
    return {"string": "text", "integer": "whole number"}.get(name, name)
