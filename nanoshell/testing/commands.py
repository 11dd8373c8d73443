"""The contract of a command, in a scripted session whose plugins bring it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nanoshell.testing.contract import Contract, shown
from nanoshell.testing.shell import Said, Shell

if TYPE_CHECKING:
    import click

RULES = MappingProxyType(
    {
        "help": "it says what it does, and so does each of its subcommands",
        "short help": "the first sentence of the help fits in a list: at most 55 characters",
        "options": "every option says what it is for",
        "examples": "it has an example at least, and each begins with its name or an alias",
        "parses": "each example can be carried out as it stands: its options and words are known",
        "runs": "each example ends well",
        "json": "with --json, stdout holds one JSON document or a line of JSON an event, and nothing else",
    }
)
LENGTH = 55
"""Characters of a short help that a list of 80 columns shows uncut."""


def check_command(shell: Shell, name: str, *, run: bool = True, leave_out: Collection[str] = ()) -> None:
    """Check the command ``name`` of the plugins of ``shell``, and ``run`` its examples, with ``--json`` too.

    Examples in ``leave_out`` are not run: those that need what a test has not.
    """
    entry = shell.session.plugins.commands.entry(name)
    contract = Contract("command", f"'{name}'", RULES)
    for path, command in _commands(entry.value, name):
        contract.must("help", (command.help or "").strip(), f"'{path}' has no help")
        short = command.get_short_help_str(1000)
        contract.must("short help", len(short) <= LENGTH, f"{len(short)} characters: '{path}' says {short!r}")
        silent = [p.name for p in command.params if p.param_type_name == "option" and not _explained(p)]
        contract.must("options", not silent, f"'{path}' does not explain {', '.join(map(str, silent))}")
    examples = entry.options["examples"]
    contract.must("examples", examples, "there is none")
    for example in examples:
        first = example.split()[:1]
        contract.must("examples", first and first[0] in (name, *entry.options["aliases"]), shown(example))
        _check_parses(contract, shell, example)
        if run and example not in leave_out:
            _check_runs(contract, shell, entry.value, example)


def _commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    import click

    yield path, command
    if isinstance(command, click.Group):
        for name, member in command.commands.items():
            yield from _commands(member, f"{path} {name}")


def _explained(option: Any) -> bool:
    return bool(option.help or option.hidden)


def _check_parses(contract: Contract, shell: Shell, example: str) -> None:
    """Resolve and parse ``example`` as the prompt does, without carrying it out."""
    import click

    from nanoshell.command import words
    from nanoshell.command.group import find_entry
    from nanoshell.command.script import prompt_group

    line = words.parse_line(f":{example}")
    assert isinstance(line, words.CommandLine)
    group: Any = prompt_group(shell.session)
    found = find_entry(shell.session.plugins.commands, line.name)
    raw = found is not None and found.options["raw"]
    with contract.keeping("parses", f"parsing {example!r}"):
        context: click.Context = group.make_context("", [line.name], obj=shell.session)
        args = words.split_raw(found.value, line.rest) if found and raw else words.split(line.rest)
        path, rest = [line.name], args
        here: Any = group
        while isinstance(here, click.Group):
            name, command, rest = here.resolve_command(context, [path[-1], *rest])
            assert command is not None
            context = command.make_context(name, list(rest), parent=context, resilient_parsing=False)
            rest = [*_left_of(context)]
            here = command
            if not isinstance(here, click.Group) or not rest:
                break
            path, rest = [*path, rest[0]], rest[1:]


def _left_of(context: Any) -> list[str]:
    """Return the words that a group has left for its subcommand: click 8.1 and 8.2 keep them differently."""
    kept = vars(context)
    return [*(kept.get("_protected_args") or kept.get("protected_args") or []), *context.args]


def _check_runs(contract: Contract, shell: Shell, command: click.Command, example: str) -> None:
    said = shell(f":{example}")
    contract.must("runs", said.code == 0, f"{example!r} ended with {said.code}: {said.err.strip()}")
    line = _with_json(command, example)
    said = shell(f":{line}")
    contract.must("runs", said.code == 0, f"{line!r} ended with {said.code}: {said.err.strip()}")
    contract.must("json", _is_json(said), f"{line!r} printed {shown(said.out)}")


def _with_json(command: click.Command, example: str) -> str:
    """Return ``example`` with ``--json`` behind the name of the command, or of its subcommand."""
    import click

    words = example.split(" ")
    depth = 1
    while isinstance(command, click.Group) and depth < len(words) and words[depth] in command.commands:
        command = command.commands[words[depth]]
        depth += 1
    return " ".join([*words[:depth], "--json", *words[depth:]])


def _is_json(said: Said) -> bool:
    """Return whether stdout is one document or one on each line. A command with nothing to say has none."""
    try:
        json.loads(said.out)
    except ValueError:
        try:
            return all(isinstance(json.loads(line), (dict, list)) for line in said.out.splitlines())
        except ValueError:
            return False
    return True
