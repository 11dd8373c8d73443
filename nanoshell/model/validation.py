"""Validation errors of pydantic as one clear message: which key, where, what was wrong, what was meant."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails

from nanoshell.errors import ConfigError, nearest

Model = TypeVar("Model", bound=BaseModel)

Count = Annotated[int, Field(strict=True, ge=1)]
"""A whole number from 1; ``"8"``, ``8.0`` and ``true`` are refused."""
Natural = Annotated[int, Field(strict=True, ge=0)]
"""A whole number from 0."""
Flag = Annotated[bool, Field(strict=True)]
"""``true`` or ``false``, and nothing that merely looks like it."""


class BadValueError(ValueError):
    """What a validator raises: the message, and what to do about it. `explain` carries both to the user."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def validate(model: type[Model], data: Any, where: str) -> Model:
    """Return ``data`` as a ``model``. Raises `ConfigError` that begins with ``where`` (a file, an option)."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise explain(error, model, where) from None


def explain(error: ValidationError, model: type[BaseModel], where: str) -> ConfigError:
    """Return ``error``, met while validating ``where`` as a ``model``, in the user's words.

    Unknown keys come first, since a mistyped key often causes the other errors. At most four are told.
    """
    details = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
    meant = {_nearest_key(detail, model) for detail in details if detail["type"] == "extra_forbidden"}
    details = [detail for detail in details if detail["type"] != "missing" or detail["loc"] not in meant]
    told = [_tell(detail, model) for detail in details[:4]]
    if len(details) > 4:
        told.append((f"and {len(details) - 4} more", ""))
    hints = list(dict.fromkeys(hint for _, hint in told if hint))
    return ConfigError(f"{where}: " + "; ".join(text for text, _ in told), hint=hints[0] if hints else "")


def without_nulls(data: Any) -> Any:
    """Return a mapping without the keys that hold None (``null`` means absent); anything else as it is."""
    if isinstance(data, Mapping):
        return {key: value for key, value in data.items() if value is not None}
    return data


def _tell(detail: ErrorDetails, model: type[BaseModel]) -> tuple[str, str]:
    kind, path, value = detail["type"], _key_path(detail["loc"], model), detail["input"]
    if kind == "extra_forbidden":
        known = _keys_beside(detail["loc"], model)
        match = nearest(str(detail["loc"][-1]), known)
        text = f"unknown key '{path}'" + (f"; did you mean '{match}'?" if match else "")
        return text, "correct the spelling, or remove the key" if match else f"known keys: {', '.join(known)}"
    if kind == "missing":
        return f"'{path}' is missing", f"add '{path}'"
    context = detail.get("ctx", {}).get("error")
    if isinstance(context, BadValueError):
        return (f"{path}: " if path else "") + context.message, context.hint
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return (
            f"{repr(path) if path else 'the whole'} must be a mapping of keys to values, not {_show(value)}",
            "",
        )
    reason = _REASONS.get(kind)
    if reason is None:
        text = detail["msg"].removeprefix("Value error, ")
        reason = text[:1].lower() + text[1:]
    told = f"'{path}' is {_show(value)}, but {reason.format(**_bounds(detail))}"
    expected = _QUOTED.findall(str(_bounds(detail)["expected"])) if kind == "literal_error" else []
    match = nearest(str(value), expected)
    return told + (f"; did you mean '{match}'?" if match else ""), ""


_QUOTED = re.compile(r"'([^']*)'")
_REASONS = {
    "int_type": "it must be a whole number",
    "int_parsing": "it must be a whole number",
    "int_from_float": "it must be a whole number",
    "float_type": "it must be a number",
    "float_parsing": "it must be a number",
    "finite_number": "it must be a finite number",
    "bool_type": "it must be true or false",
    "bool_parsing": "it must be true or false",
    "string_type": "it must be text",
    "list_type": "it must be a list",
    "tuple_type": "it must be a list",
    "literal_error": "it must be one of {expected}",
    "greater_than": "it must be greater than {gt}",
    "greater_than_equal": "it must be at least {ge}",
    "less_than": "it must be less than {lt}",
    "less_than_equal": "it must be at most {le}",
}


def _bounds(detail: ErrorDetails) -> dict[str, Any]:
    return {**dict.fromkeys(("expected", "gt", "ge", "lt", "le"), "?"), **detail.get("ctx", {})}


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _key_path(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    """Write ("model", "mamba_layers", 0) as ``model.mamba_layers[0]``, without labels of unions."""
    parts = ""
    owner: type[BaseModel] | None = model
    in_mapping = False
    for piece in location:
        if isinstance(piece, int):
            parts += f"[{piece}]"
        elif owner is not None or in_mapping:
            parts += f".{piece}" if parts else piece
            field = owner.model_fields.get(piece) if owner else None
            in_mapping = field is not None and get_origin(field.annotation) is dict
            owner = _child(owner, piece) if owner else None
    return parts


def _keys_beside(location: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
    """Return the valid keys at the level of the mapping in which ``location`` stands."""
    owner: type[BaseModel] | None = model
    for piece in location[:-1]:
        if owner is not None and isinstance(piece, str):
            owner = _child(owner, piece)
    return list(owner.model_fields) if owner else []


def _nearest_key(detail: ErrorDetails, model: type[BaseModel]) -> tuple[int | str, ...]:
    """Return the location that a mistyped key was probably meant to be."""
    location = detail["loc"]
    return (*location[:-1], nearest(str(location[-1]), _keys_beside(location, model)) or "")


def _child(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    field = model.model_fields.get(key)
    return next(_models_in(field.annotation), None) if field else None


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, types.UnionType, Annotated):
        for part in get_args(annotation):
            yield from _models_in(part)
