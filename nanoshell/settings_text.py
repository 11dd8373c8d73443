"""The text of a settings file: flat TOML that people edit by hand, so what stands around a value stays."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_SYNTAX_PLACE = re.compile(r" \(at line (\d+), column (\d+)\)$")
_AT_END = " (at end of document)"
_TWICE = "Cannot overwrite a value"
_MOST_QUOTED = 60
_TABLE = re.compile(r"^\s*\[", re.MULTILINE)


def line_of(text: str, name: str) -> int | None:
    """Return the number of the line on which ``name`` gets its value, counted from 1, or None."""
    found = _assignment(name).search(_top_level(text))
    return text.count("\n", 0, found.start()) + 1 if found else None


def syntax_error(error: Exception, text: str) -> tuple[int | None, str]:
    """Return the line that a TOML error names (None where it names none), and what is wrong in it."""
    said = str(error)
    if place := _SYNTAX_PLACE.search(said):
        line, what = int(place[1]), said[: place.start()]
    elif said.endswith(_AT_END):
        line, what = max(1, len(text.splitlines())), said.removesuffix(_AT_END)
    else:
        return None, said
    written = "".join(text.splitlines()[line - 1 : line]).strip()
    if what == _TWICE and (first := line_of(text, name := written.partition("=")[0].strip(" \t\"'"))):
        return line, f"{name} is set twice, in line {first} already"
    return line, f"{what[:1].lower()}{what[1:]} in '{written[:_MOST_QUOTED]}'"


def with_value(text: str, name: str, value: Any | None) -> str:
    """Return the valid TOML ``text`` with ``name`` at its top level set to ``value``, without it for None.

    All else stays as it is, comments included, but where ``name`` has a value that spans lines: there the
    file is written anew.
    """
    import tomllib

    import tomli_w

    wanted = {key: kept for key, kept in tomllib.loads(text).items() if key != name}
    if value is not None:
        wanted[name] = value
    changed = _edited(text, name, tomli_w.dumps({name: value}) if value is not None else "")
    return changed if _means(changed, wanted) else tomli_w.dumps(wanted)


def _edited(text: str, name: str, line: str) -> str:
    top = _top_level(text)
    found = _assignment(name).search(top)
    if found is None:
        before = top if not top or top.endswith("\n") else f"{top}\n"
        return before + line + text[len(top) :]
    comment = re.search(r"\s+#[^\"'\n]*$", found[0].rstrip("\n"))
    kept = comment[0] if comment and line.count("\n") == 1 else ""
    new = f"{line.rstrip()}{kept}\n" if line else ""
    return text[: found.start()] + new + text[found.end() :]


def _assignment(name: str) -> re.Pattern[str]:
    key = re.escape(name)
    return re.compile(rf"^[ \t]*(?:{key}|\"{key}\"|'{key}')[ \t]*=[^\n]*(?:\n|\Z)", re.MULTILINE)


def _top_level(text: str) -> str:
    """Return what stands before the first table.

    A line of an array may begin like one; what comes of that is no valid change, and `with_value` notices.
    """
    table = _TABLE.search(text)
    return text[: table.start()] if table else text


def _means(text: str, wanted: Mapping[str, Any]) -> bool:
    import tomllib

    try:
        return tomllib.loads(text) == wanted
    except tomllib.TOMLDecodeError:
        return False
