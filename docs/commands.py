"""Write what docs/commands.md takes from the code: every command, its options, and what ``--json`` prints.

Run it from a checkout after a change of a command: ``.venv/bin/python docs/commands.py``. What stands between
two marks of the page is written anew; the rest is by hand. A test fails where the page is stale.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nanoshell.cli import build
from nanoshell.command.help import HEADING_ORDER
from nanoshell.command.spec import (
    CommandSheet,
    CommandSpec,
    ParameterSpec,
    describe,
    notation,
    output_notation,
)
from nanoshell.opening import open_session
from nanoshell.testing import plugins_with

PAGE = Path(__file__).parent / "commands.md"

_BLOCK = re.compile(r"(<!-- from the code: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
_EVERYWHERE = ("--json",)
"""Options that every command has, told once."""


def main() -> None:
    """Write the page anew."""
    PAGE.write_text(renewed(PAGE.read_text("utf-8")), "utf-8")


def renewed(page: str) -> str:
    """Return ``page`` with all that comes from the code as the code has it now."""
    sheet = describe(open_session(plugins=plugins_with(), history=False), program=build())
    parts = {"commands": _commands(sheet), "objects": _objects(sheet), "program": _table(sheet.options)}
    written = {subject: "\n".join(lines).strip() for subject, lines in parts.items()}
    return _BLOCK.sub(lambda block: f"{block[1]}{written[block[2]]}\n{block[3]}", page)


def _commands(sheet: CommandSheet) -> Iterator[str]:
    groups = dict.fromkeys([*HEADING_ORDER, *(command.group for command in sheet.commands)])
    for group in groups:
        members = [command for command in sheet.commands if command.group == group]
        if members:
            yield f"\n## {group}"
        for command in members:
            yield from _command(command, sheet)


def _command(command: CommandSpec, sheet: CommandSheet) -> Iterator[str]:
    yield f"\n### {command.path}\n"
    yield f"`{command.usage}`" + (f", also `{'`, `'.join(command.aliases)}`" if command.aliases else "")
    if "cli" not in command.faces:
        yield "(at the prompt and in scripts alone)"
    yield f"\n{_escaped(command.description)}\n"
    options = [each for each in command.parameters if _EVERYWHERE[0] not in each.spellings]
    yield from _table([each for each in options if each.kind == "option"])
    yield f"\nWith `--json`: {_linked(output_notation(command), sheet)}\n"
    yield "```console"
    yield from (f"$ nanoshell {line}" if "cli" in command.faces else f":{line}" for line in command.examples)
    yield "```"


def _table(options: list[ParameterSpec]) -> Iterator[str]:
    if not options:
        return
    yield "| option | takes | default | |"
    yield "|---|---|---|---|"
    for option in options:
        spelled = ", ".join(f"`{spelling}`" for spelling in (*option.spellings, *option.off_spellings))
        yield f"| {spelled} | {_takes(option)} | {_default(option)} | {_cell(option.help)} |"


def _takes(option: ParameterSpec) -> str:
    if option.flag:
        return ""
    if option.choices:
        return ", ".join(f"`{choice}`" for choice in option.choices)
    bounds = [f"from {option.minimum:g}"] if option.minimum is not None else []
    bounds += [f"to {option.maximum:g}"] if option.maximum is not None else []
    kind = {
        "integer range": "whole number",
        "integer": "whole number",
        "float": "number",
        "float range": "number",
    }
    many = ["may be repeated"] if option.repeatable else []
    return ", ".join([" ".join([kind.get(option.type, option.type), *bounds]), *many])


def _default(option: ParameterSpec) -> str:
    if option.default_text:
        return option.default_text
    return f"`{option.default}`" if option.default not in (None, False, [], "") else ""


def _objects(sheet: CommandSheet) -> Iterator[str]:
    for name, schema in sorted(sheet.definitions.items()):
        yield f"\n### {name}\n"
        if told := schema.get("description"):
            yield f"{_escaped(told)}\n"
        if "properties" not in schema:
            yield f"{_linked(notation({**schema, 'description': ''}), sheet)}\n"
            continue
        yield "| field | holds | |"
        yield "|---|---|---|"
        for field, kind in schema["properties"].items():
            told = "" if field in schema["required"] else "may be absent"
            yield f"| `{field}` | {_linked(_holds(kind), sheet)} | {told} |"


def _holds(kind: dict[str, Any]) -> str:
    """Return the type of a field, with what its annotation says about it."""
    described = kind.get("description", "")
    plain = notation({key: value for key, value in kind.items() if key != "description"})
    return described if plain in ("any JSON value", "object") and described else plain


def _linked(text: str, sheet: CommandSheet) -> str:
    """Return a notation as Markdown, the names of objects as links to them."""
    words = re.split(r"(\W+)", _cell(text))
    return "".join(f"[{word}](#{word.lower()})" if word in sheet.definitions else word for word in words)


def _cell(text: str) -> str:
    return _escaped(text).replace("|", "\\|").replace("\n", " ")


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;")


if __name__ == "__main__":
    main()
