"""Annotations read when somebody asks: names that are imported for type checkers only, generic classes."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

UNKNOWN = Any
"""What an annotation means that cannot be read: a plugin's, with a name that nothing defines."""

Arguments = Mapping[Any, Any]
"""What the type variables of a generic class stand for."""


def return_type(function: Any) -> Any:
    """Return what ``function`` is annotated to return, `UNKNOWN` where it is not or cannot be read."""
    plain = inspect.unwrap(function)
    found = getattr(plain, "__annotations__", {}).get("return", UNKNOWN)
    return evaluate(found, getattr(plain, "__module__", ""))


def fields(owner: type, arguments: Arguments = types.MappingProxyType({})) -> dict[str, Any]:
    """Return the annotated fields of the class ``owner``, with ``arguments`` for its type variables.

    Fields of base classes come first, as in a dataclass.
    """
    found: dict[str, Any] = {}
    for base in reversed(owner.__mro__):
        hints = inspect.get_annotations(base) if base is not object else {}
        found |= {
            name: substitute(evaluate(hint, base.__module__), arguments) for name, hint in hints.items()
        }
    if typing.is_typeddict(owner):  # has no bases of its own at run time, but all their annotations
        hints = owner.__annotations__
        found = {
            name: substitute(evaluate(hint, owner.__module__), arguments) for name, hint in hints.items()
        }
    return found


def evaluate(annotation: Any, module: str) -> Any:
    """Return the type that ``annotation``, perhaps still a text of ``module``, stands for, or `UNKNOWN`."""
    if isinstance(annotation, typing.ForwardRef):
        module = annotation.__forward_module__ or module
        annotation = annotation.__forward_arg__
    if annotation is None:
        return type(None)
    if not isinstance(annotation, str):
        return annotation
    loaded = sys.modules.get(module)
    if loaded is None:
        return UNKNOWN
    try:
        return evaluate(eval(annotation, vars(loaded), _TypingNames(module)), module)
    except Exception:  # whatever a stranger's module has in it, the others are described
        return UNKNOWN


def substitute(annotation: Any, arguments: Arguments) -> Any:
    """Return ``annotation`` with ``arguments`` in place of the type variables that it holds."""
    if isinstance(annotation, TypeVar):
        return arguments.get(annotation, annotation.__bound__ or UNKNOWN)
    inner = typing.get_args(annotation)
    if not arguments or not inner or typing.get_origin(annotation) is typing.Literal:
        return annotation
    replaced = tuple(substitute(member, arguments) for member in inner)
    if replaced == inner:
        return annotation
    if isinstance(annotation, types.UnionType):
        return typing.Union[replaced]  # noqa: UP007 - of a tuple that is made here
    return typing.get_origin(annotation)[replaced]


def parent_of(owner: Any, wanted: type) -> Any | None:
    """Return ``wanted`` as the class ``owner`` (``Rows[Run]``) inherits it (``list[Run]``), or None."""
    plain = typing.get_origin(owner) or owner
    if plain is wanted:
        return owner
    given = arguments_of(owner)
    for base in plain.__dict__.get("__orig_bases__", plain.__bases__):
        origin = typing.get_origin(base) or base
        if isinstance(origin, type) and issubclass(origin, wanted):
            return parent_of(substitute(base, given), wanted)
    return None


def arguments_of(owner: Any) -> dict[Any, Any]:
    """Return what the generic class ``owner`` (``Rows[Run]``) is given for its type variables."""
    plain = typing.get_origin(owner) or owner
    variables = getattr(plain, "__parameters__", None)
    if variables is None:  # a class that inherits list[T] has no more than that to tell
        bases = plain.__dict__.get("__orig_bases__", ())
        variables = dict.fromkeys(name for base in bases for name in getattr(base, "__parameters__", ()))
    return dict(zip(variables, typing.get_args(owner), strict=False))


class _TypingNames(dict[str, Any]):
    """The names that a module imports under ``if TYPE_CHECKING``, each loaded when it is looked up."""

    def __init__(self, module: str) -> None:
        super().__init__()
        self._imports = _typing_imports(module)

    def __missing__(self, name: str) -> Any:
        source, original = self._imports[name]
        return getattr(importlib.import_module(source), original)


@cache
def _typing_imports(module: str) -> dict[str, tuple[str, str]]:
    """Map each such name to the module that it comes from, and what it is called there."""
    found: dict[str, tuple[str, str]] = {}
    for block in ast.parse(inspect.getsource(sys.modules[module])).body:
        if not isinstance(block, ast.If) or "TYPE_CHECKING" not in ast.dump(block.test):
            continue
        for statement in block.body:
            if isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
                for name in statement.names:
                    found[name.asname or name.name] = (statement.module, name.name)
    return found
