"""Which of the files that a user pointed at are read: one rule for folders, globs and repositories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from nanoshell import DataError

TEXT_SUFFIXES = (".txt", ".md", ".jsonl")
TOKEN_SUFFIX = ".bin"
SUFFIXES = (TOKEN_SUFFIX, *TEXT_SUFFIXES)
WHAT_IS_READ = ".bin (32-bit token ids), .txt and .md (one document each), .jsonl (one document a line)"
_MERGED = "combined"


@dataclass(frozen=True)
class Selection:
    """The ``names`` that are read, in order, and sentences about what is not."""

    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def suffix_of(name: str) -> str:
    """Return the suffix of ``name`` in lower case, with its dot."""
    return PurePosixPath(name).suffix.lower()


def select(names: Sequence[str], where: str) -> Selection:
    """Return which of ``names``, found in ``where``, are read.

    Text goes before tokens: a ``.bin`` beside text is most often made from it, and would count it twice. Of
    several ``.bin`` files one called ``combined.bin`` holds the others; else all are read in order.
    Raises `DataError` where there is nothing to read.
    """
    found = sorted(names)
    texts = [name for name in found if suffix_of(name) in TEXT_SUFFIXES]
    tokens = [name for name in found if suffix_of(name) == TOKEN_SUFFIX]
    if texts:
        note = f"{where}: the text is read, not {_listed(tokens)} beside it" if tokens else ""
        return Selection(tuple(texts), _notes(note))
    if not tokens:
        raise nothing_to_read(found, where)
    merged = [name for name in tokens if PurePosixPath(name).stem.lower() == _MERGED]
    if len(merged) == 1 and len(tokens) > 1:
        others = [name for name in tokens if name != merged[0]]
        return Selection(
            tuple(merged), _notes(f"{where}: {merged[0]} is read, not {_listed(others)} beside it")
        )
    note = f"{where}: {_listed(tokens)} are read one after the other" if len(tokens) > 1 else ""
    return Selection(tuple(tokens), _notes(note))


def nothing_to_read(names: Sequence[str], where: str) -> DataError:
    """Return the error for a place that holds ``names``, none of which is read."""
    seen = Counter(suffix_of(name) or "no suffix" for name in names)
    others = ", ".join(f"{count} with {suffix}" for suffix, count in seen.most_common(4))
    return DataError(
        f"{where} holds no text: "
        + (f"it has files that are not read ({others})" if names else "it is empty"),
        hint=f"nanoshell reads {WHAT_IS_READ}",
    )


def unknown_suffix(name: str) -> DataError:
    """Return the error for a file that was named by itself and is of a kind that is not read."""
    suffix = suffix_of(name)
    kind = f"files with the suffix {suffix}" if suffix else "files without a suffix"
    return DataError(
        f"{name}: {kind} are not read",
        hint=f"nanoshell reads {WHAT_IS_READ}; convert it, or rename it if it is plain text",
    )


def _listed(names: Sequence[str]) -> str:
    listed = ", ".join(names[:3])
    return listed if len(names) <= 3 else f"{listed} and {len(names) - 3} more"


def _notes(note: str) -> tuple[str, ...]:
    return (note,) if note else ()
