"""Names of runs beside each other: as short as they can still be told apart."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.cells import cell_len

from nanoshell.dashboard.panels.words import cut_middle

_PARTS = re.compile(r"[^-_. ]+[-_. ]*")
_BETWEEN = "-_. "

_BEGIN = 2
"""So many letters of its beginning a name keeps at the least."""


def without_shared(names: Sequence[str]) -> list[str]:
    """Return ``names`` without the words with which all begin and all end; a number alone keeps its word."""
    split = [_PARTS.findall(name) or [name] for name in names]
    spare = min(map(len, split), default=1) - 1
    head = next((at for at in range(spare) if len({parts[at] for parts in split}) > 1), spare)
    tail = _shared_end(split, spare - head)
    found = []
    for parts in split:
        own = parts[head : len(parts) - tail]
        if head and not any(map(str.isalpha, "".join(own))):
            own = parts[head - 1 : len(parts) - tail]
        found.append("".join(own).rstrip(_BETWEEN))
    return found if len(split) > 1 and len(set(found)) == len(set(names)) else list(names)


def short_names(names: Sequence[str]) -> list[str]:
    """Return of each of ``names`` the fewest last words that no other has: ``a`` of ``run-a-1``, ``run-b-1``.

    Words with which all end are left out, and a number alone keeps the word before it.
    """
    split = [_PARTS.findall(name) or [name] for name in names]
    tail = _shared_end(split, min(map(len, split), default=1) - 1)
    ends = [parts[: len(parts) - tail] for parts in split]
    return [_fewest(parts, ends) for parts in ends] if len(split) > 1 else list(names)


def _shared_end(split: Sequence[Sequence[str]], most: int) -> int:
    """Return with how many words all end alike, ``most`` at the most."""
    return next((at for at in range(most) if len({parts[-1 - at] for parts in split}) > 1), most)


def _fewest(parts: list[str], among: Sequence[list[str]]) -> str:
    for count in range(1, len(parts)):
        found = "".join(parts[-count:]).rstrip(_BETWEEN)
        alike = sum(others[-count:] == parts[-count:] for others in among)
        if alike == 1 and any(map(str.isalpha, found)):
            return found
    return "".join(parts).rstrip(_BETWEEN)


def cut_apart(names: Sequence[str], width: int, mark: str) -> list[str] | None:
    """Return ``names`` cut in the middle to ``width`` cells; None where two that differ become alike.

    They keep more of their ends where only these differ.
    """
    for cut in (cut_middle, _cut_early):
        found = [cut(name, max(1, width), mark) for name in names]
        if len(set(found)) == len(set(names)):
            return found
    return None


def _cut_early(name: str, width: int, mark: str) -> str:
    """Return ``name`` in at most ``width`` cells: two letters, ``mark``, and its end."""
    end = name
    while end and cell_len(name[:_BEGIN] + mark + end) > width:
        end = end[1:]
    return name if cell_len(name) <= width else name[:_BEGIN] + mark + end
