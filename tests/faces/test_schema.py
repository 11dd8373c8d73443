"""`spec`: the commands described for tools, and the schemas of what they print."""

from __future__ import annotations

import dataclasses
import json
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NotRequired, TypedDict, TypeVar

import click
import jsonschema
import pytest

from nanoshell import hookimpl
from nanoshell.command.encode import dump
from nanoshell.command.schema import TEXT, Schemas, imprecise, printed
from nanoshell.command.spec import describe, notation
from nanoshell.opening import open_session
from nanoshell.testing import plugins_with

Program = Callable[..., Any]
T = TypeVar("T")


class Point(TypedDict):
    """Where something is.

    More of it.
    """

    x: int
    y: NotRequired[float]


@dataclasses.dataclass
class Tree:
    """A tree of values."""

    value: int | None
    children: list[Tree]
    _hidden: str = ""


@dataclasses.dataclass
class Box(Generic[T]):
    content: T


class Listing(list[T]):
    pass


class Described:
    def to_json(self) -> Point:
        return {"x": 1}


class Steps:
    def show(self, screen: Any) -> None: ...
    def lines(self) -> Iterator[Point]: ...
    def document(self) -> None: ...


class Whole(Steps):
    def document(self) -> Tree: ...  # type: ignore[override]


VALUES = [
    (int | None, [1, None], ["1", 1.5]),
    (float, [1.5, float("nan"), 2], ["1"]),
    (Literal["a", "b"], ["a"], ["c"]),
    (list[str], [["a"], []], [[1], "a"]),
    (tuple[int, str], [(1, "a")], [(1,), (1, "a", 2)]),
    (dict[str, int], [{"a": 1}], [{"a": "b"}]),
    (Point, [{"x": 1}, {"x": 1, "y": 0.5}], [{"y": 1.0}, {"x": 1, "z": 1}]),
    (Tree, [Tree(1, [Tree(None, [])])], [{"value": 1}]),
    (Box[int], [Box(1)], [Box("1")]),
    (Listing[Point], [Listing([{"x": 1}])], [Listing([1])]),
    (Described, [Described()], [{"y": 1}]),
    (Path, [Path("a")], [1]),
    (Annotated[Any, "anything at all"], [1, "a", None], []),
    (bytes, [b"a"], [1]),
]


@pytest.mark.parametrize(("annotation", "fitting", "others"), VALUES, ids=[str(v[0]) for v in VALUES])
def test_a_schema_says_what_the_encoder_makes(annotation: Any, fitting: Any, others: Any) -> None:
    schemas = Schemas()
    schema = schemas.of(annotation)
    validator = jsonschema.Draft202012Validator({**schema, "$defs": schemas.definitions})
    validator.check_schema(validator.schema)
    for value in fitting:
        validator.validate(json.loads(dump(value)))
    for value in others:
        assert not validator.is_valid(json.loads(dump(value))), value
    assert imprecise(schema, schemas.definitions) == []


def command(annotation: Any, cls: type[click.Command] = click.Command) -> click.Command:
    def callback() -> None: ...

    callback.__annotations__["return"] = annotation
    return cls("made", callback=callback)


def test_what_a_command_prints_follows_from_what_it_returns() -> None:
    schemas = Schemas()

    def read(annotation: Any, cls: type[click.Command] = click.Command) -> tuple[Any, Any]:
        found = printed(command(annotation, cls), schemas)
        return found.document, found.lines

    point, tree = {"$ref": "#/$defs/Point"}, {"$ref": "#/$defs/Tree"}
    assert read(None) == (TEXT, None)
    assert read(str) == (TEXT, None)
    assert read(Steps) == (None, point)
    assert read(Whole) == (tree, None)
    assert read(Steps | Whole | str) == ({"anyOf": [tree, TEXT]}, point)
    assert read(Iterator[Point]) == (None, point)
    assert read(Tree | None, click.Group) == (tree, None)
    assert read("NoSuchName") == ({}, None)
    assert schemas.definitions["Point"]["description"] == "Where something is."
    assert notation(tree) == "Tree"
    assert notation(schemas.of(list[Point] | None)) == "list of Point or null"


def test_spec_describes_every_command(program: Program) -> None:
    told = json.loads(program("spec", "--json").out)
    commands = {each["path"]: each for each in told["commands"]}
    assert {"train", "runs", "runs show", "quit", "hello", "fruit list"} <= commands.keys()
    assert "fruit" not in commands  # it does nothing itself
    hello = commands["hello"]
    assert (hello["plugin"], hello["aliases"], hello["examples"]) == ("stranger", ["hi"], ["hello you"])
    who, times, as_json = hello["parameters"]
    assert (who["kind"], who["default"], who["required"]) == ("argument", "world", False)
    assert (times["spellings"], times["type"], times["default"]) == (["--times"], "integer", 1)
    assert as_json["flag"]
    assert commands["quit"]["faces"] == ["prompt", "palette"]
    assert commands["system"]["raw"]
    assert commands["tokenizer train"]["parameters"][0]["choices"] == ["char", "bpe"]
    assert {option["name"] for option in told["options"]} >= {"model", "safe", "files"}
    assert told["exit_codes"].keys() == {"0", "1", "2", "130", "141"}
    schemas = [each[kind] for each in told["commands"] for kind in ("document", "lines") if each[kind]]
    jsonschema.Draft202012Validator.check_schema({"anyOf": schemas, "$defs": told["$defs"]})


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        (
            click.Command("a", params=[click.Argument(["one"]), click.Argument(["two"], required=False)]),
            "ONE [TWO]",
        ),
        (click.Command("a", params=[click.Argument(["x"], nargs=-1), click.Option(["-y"])]), "[X]..."),
        (click.Command("a", params=[click.Argument(["x"], nargs=-1, required=True)]), "X..."),
        (click.Command("a", params=[click.Argument(["x"], type=click.Choice(["on", "off"]))]), "{on|off}"),
        (
            click.Command("a", params=[click.Argument(["x"], type=click.Choice(["b", "c"]), required=False)]),
            "[b|c]",
        ),
        (click.Command("a", params=[click.Argument(["x"], metavar="[A|B]...", nargs=-1)]), "[A|B]..."),
        (click.Group("a", invoke_without_command=True), "[COMMAND] [ARGS]..."),
        (click.Group("a", invoke_without_command=True, subcommand_metavar="[COMMAND]"), "[COMMAND]"),
    ],
)
def test_the_usage_is_the_same_with_every_version_of_click(command: click.Command, usage: str) -> None:
    class Brings:
        @hookimpl
        def register_commands(self, register: Callable[..., None]) -> None:
            register(command)

    sheet = describe(open_session(plugins=plugins_with(Brings()), history=False), ["a"])
    assert [told.usage for told in sheet.commands] == [f"a [OPTIONS] {usage}"]


def test_spec_may_be_about_one_command(program: Program) -> None:
    paths = [each["path"] for each in json.loads(program("spec", "tokenizer", "--json").out)["commands"]]
    assert paths == ["tokenizer", "tokenizer list", "tokenizer rm", "tokenizer show", "tokenizer train"]
    assert "hello [OPTIONS] [WHO]" in program("spec", "hi").out
    unknown = program("spec", "tokenizer", "shwo")
    assert (unknown.code, "did you mean 'show'?" in unknown.err) == (2, True)


def test_our_commands_say_precisely_what_they_print() -> None:
    sheet = describe(open_session(plugins=plugins_with(), history=False))
    vague = {
        each.path: where
        for each in sheet.commands
        for schema in (each.document, each.lines)
        if schema is not None and (where := imprecise(schema, sheet.definitions))
    }
    assert vague == {}


def test_the_reference_page_is_what_the_code_says() -> None:
    script = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "commands.py"))
    page = script["PAGE"].read_text("utf-8")
    assert script["renewed"](page) == page, "write it anew: .venv/bin/python docs/commands.py"
