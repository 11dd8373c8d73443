"""From what a command returns to what JSON can hold."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import math
from collections.abc import Mapping, Sequence, Set
from pathlib import PurePath
from typing import Any


def encode(value: Any) -> Any:
    """Return ``value`` as dicts, lists, strings, numbers, booleans and None.

    A dataclass becomes its fields (those that do not start with ``_``), or what its ``to_json()`` returns. A
    number that JSON lacks (NaN, an infinity) becomes None; anything unknown becomes its ``str``.
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value.value if isinstance(value, enum.Enum) else value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if callable(to_json := getattr(value, "to_json", None)) and not isinstance(value, type):
        return encode(to_json())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if not field.name.startswith("_")]
        return {name: encode(getattr(value, name)) for name in names}
    return _encode_other(value)


def _encode_other(value: Any) -> Any:
    match value:
        case Mapping():
            return {str(key): encode(member) for key, member in value.items()}
        case enum.Enum():
            return encode(value.value)
        case PurePath():
            return str(value)
        case dt.date() | dt.time():
            return value.isoformat()
        case bytes() | bytearray():
            return bytes(value).decode("utf-8", "replace")
        case Sequence() | Set():
            return [encode(member) for member in value]
    for method in ("tolist", "item"):  # numpy arrays and scalars, torch tensors, without importing either
        if callable(convert := getattr(value, method, None)):
            return encode(convert())
    return str(value)


def dump(value: Any, *, indent: int | None = None) -> str:
    """Return ``value`` as one JSON text. Non-ASCII letters stay as they are; lone surrogates are escaped."""
    text = json.dumps(encode(value), ensure_ascii=False, indent=indent, allow_nan=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
