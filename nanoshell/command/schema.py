"""JSON Schema of what ``--json`` prints, read from what commands are annotated to return.

It follows `nanoshell.command.encode` and ``show_json``: what those make of a value, this says of its type.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime as dt
import enum
import inspect
import types
import typing
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

import click

from nanoshell.command import typehints

Schema = dict[str, Any]

TEXT: Schema = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
    "additionalProperties": False,
}
"""What a command prints that returns a text, or only writes one."""

_PLAIN: dict[Any, Schema] = {
    type(None): {"type": "null"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": ["number", "null"]},  # a number that JSON lacks (NaN, an infinity) is null
    str: {"type": "string"},
    bytes: {"type": "string"},
    dt.date: {"type": "string", "format": "date"},
    dt.datetime: {"type": "string", "format": "date-time"},
    dt.time: {"type": "string", "format": "time"},
}
_ARRAYS = (collections.abc.Sequence, collections.abc.Set)


class Schemas:
    """Makes schemas that refer to one another; ``definitions`` holds the objects by their name."""

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}
        self._names: dict[Any, str] = {}

    def of(self, annotation: Any) -> Schema:
        """Return the schema of a value of the type ``annotation``; ``{}`` is anything."""
        if annotation in (Any, object):
            return {}
        if isinstance(annotation, typing.TypeVar):
            return self.of(typehints.substitute(annotation, {}))
        if isinstance(annotation, typing.NewType):
            return self.of(annotation.__supertype__)
        if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
            return self._named(annotation)
        if annotation in _PLAIN:
            return dict(_PLAIN[annotation])
        origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
        if origin in (typing.Required, typing.NotRequired):
            return self.of(inner[0])
        if origin is typing.Annotated:
            told = " ".join(note for note in inner[1:] if isinstance(note, str))
            return self.of(inner[0]) | ({"description": told} if told else {})
        if origin is typing.Literal:
            return {"enum": list(inner)}
        if origin in (typing.Union, types.UnionType):
            return _either(self.of(member) for member in inner)
        return self._of_class(annotation, origin or annotation, inner)

    def _of_class(self, annotation: Any, plain: Any, inner: tuple[Any, ...]) -> Schema:
        if not isinstance(plain, type):
            return {}
        if typing.is_typeddict(plain) or dataclasses.is_dataclass(plain) or hasattr(plain, "to_json"):
            return self._named(annotation)
        if issubclass(plain, enum.Enum):
            return {"enum": [member.value for member in plain]}
        if issubclass(plain, PurePath | str):
            return {"type": "string"}
        if issubclass(plain, int):
            return {"type": "integer"}
        if issubclass(plain, collections.abc.Mapping):
            values = self.of(inner[1]) if len(inner) == 2 else {}
            return {"type": "object", "additionalProperties": values}
        if plain is tuple and inner and inner[-1] is not Ellipsis:
            members = [self.of(member) for member in inner]
            return {"type": "array", "prefixItems": members, "minItems": len(inner), "maxItems": len(inner)}
        if issubclass(plain, list) and (as_list := typehints.parent_of(annotation, list)) is not None:
            inner = typing.get_args(as_list)
        if issubclass(plain, _ARRAYS):
            return {"type": "array", "items": self.of(inner[0]) if inner else {}}
        return {}

    def _named(self, annotation: Any) -> Schema:
        """Return a reference to the object ``annotation``, describing it where that has not been done."""
        plain = typing.get_origin(annotation) or annotation
        if annotation not in self._names:
            name, number = plain.__name__.lstrip("_"), 1
            while name in self.definitions:
                number += 1
                name = f"{plain.__name__.lstrip('_')}{number}"
            self._names[annotation] = name
            self.definitions[name] = {}  # it may hold others of its kind
            self.definitions[name] = self._object(annotation, plain)
        return {"$ref": f"#/$defs/{self._names[annotation]}"}

    def _object(self, annotation: Any, plain: type) -> Schema:
        told = _told(plain)
        if callable(to_json := getattr(plain, "to_json", None)):
            return self.of(typehints.return_type(to_json)) | told
        hints = typehints.fields(plain, typehints.arguments_of(annotation))
        if typing.is_typeddict(plain):
            required = [name for name in hints if name in _required(plain, hints)]
        else:
            shown = [field.name for field in dataclasses.fields(plain) if not field.name.startswith("_")]
            hints = {name: hints.get(name, Any) for name in shown}
            required = shown
        return {
            "type": "object",
            **told,
            "properties": {name: self.of(hint) for name, hint in hints.items()},
            "required": required,
            "additionalProperties": False,
        }


@dataclasses.dataclass(frozen=True)
class Printed:
    """What ``--json`` prints: one ``document``, or ``lines`` of JSON, or, by the options, either.

    Both are JSON Schemas without the objects that they refer to; None where the command prints none such.
    """

    document: Schema | None
    lines: Schema | None


def printed(command: click.Command, schemas: Schemas) -> Printed:
    """Return what ``command`` prints with ``--json``, by what its callback is annotated to return.

    A group that lists something when it stands alone returns None where a subcommand follows.
    """
    callback = command.callback
    annotation = typehints.return_type(callback) if callback is not None else type(None)
    apart = {type(None)} if isinstance(command, click.Group) else set()
    documents: list[Schema] = []
    lines: list[Schema] = []
    for member in _members(annotation):
        plain = typing.get_origin(member) or member
        if plain in apart:
            continue
        if _is_stream(plain):
            given = typehints.arguments_of(member)
            whole = _members(_returned(plain, "document", given))
            documents += [schemas.of(kind) for kind in whole if kind is not type(None)]
            if type(None) in whole:
                lines.append(schemas.of(_yielded(_returned(plain, "lines", given))))
        elif isinstance(plain, type) and issubclass(plain, collections.abc.Iterator):
            lines.append(schemas.of(_yielded(member)))
        elif plain in (type(None), str, bool, int, float):
            documents.append(TEXT)
        elif member is not typing.Never and member is not typing.NoReturn:
            documents.append(schemas.of(member))
    return Printed(_either(documents) if documents else None, _either(lines) if lines else None)


def imprecise(schema: Schema, definitions: dict[str, Schema]) -> list[str]:
    """Return where ``schema`` says nothing of what is there, unless a description says why."""
    found: list[str] = []
    seen: set[str] = set()

    def walk(part: Any, path: str) -> None:
        if isinstance(part, dict) and "$ref" in part:
            name = part["$ref"].rpartition("/")[2]
            if name not in seen:
                seen.add(name)
                walk(definitions[name], name)
        elif isinstance(part, dict) and "description" in part and "properties" not in part:
            return
        elif part == {}:
            found.append(path or "all of it")
        elif isinstance(part, dict):
            for key, member in part.get("properties", {}).items():
                walk(member, f"{path}.{key}")
            for key in ("items", "additionalProperties"):
                if isinstance(part.get(key), dict):
                    walk(part[key], f"{path}[]")
            for key in ("anyOf", "prefixItems"):
                for member in part.get(key, ()):
                    walk(member, path)

    walk(schema, "")
    return found


def _members(annotation: Any) -> tuple[Any, ...]:
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if union else (annotation,)


def _is_stream(plain: Any) -> bool:
    """Return whether the class ``plain`` is a `Stream`."""
    has = [callable(getattr(plain, method, None)) for method in ("document", "lines", "show")]
    return isinstance(plain, type) and all(has)


def _returned(owner: Any, method: str, given: typehints.Arguments) -> Any:
    return typehints.substitute(typehints.return_type(getattr(owner, method)), given)


def _yielded(annotation: Any) -> Any:
    inner = typing.get_args(annotation)
    return inner[0] if inner else Any


def _either(schemas: Iterable[Schema]) -> Schema:
    """Return the schema of what fits one of ``schemas``."""
    found: list[Schema] = []
    for schema in schemas:
        for part in schema["anyOf"] if [*schema] == ["anyOf"] else [schema]:
            if part not in found:
                found.append(part)
    if len(found) == 1:
        return found[0]
    if all([*part] == ["type"] for part in found):
        kinds = [part["type"] if isinstance(part["type"], list) else [part["type"]] for part in found]
        return {"type": list(dict.fromkeys(kind for group in kinds for kind in group))}
    return {} if {} in found else {"anyOf": found}


def _required(plain: Any, hints: dict[str, Any]) -> set[str]:
    """Return the keys that a TypedDict has always: its own word, but for ``NotRequired`` in annotations
    that were still text when the class was made."""
    wanted = set(plain.__required_keys__)
    return {name for name in wanted if typing.get_origin(hints[name]) is not typing.NotRequired}


def _told(plain: type) -> Schema:
    """Return the description that a class has by its docstring: the first paragraph, on one line."""
    text = inspect.cleandoc(plain.__dict__.get("__doc__") or "").partition("\n\n")[0]
    generated = text.startswith(f"{plain.__name__}(")  # a dataclass without one gets its signature
    return {"description": " ".join(text.split())} if text and not generated else {}
