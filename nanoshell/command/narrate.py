"""Narrators of the faces: a bar on a terminal's stderr, plain lines where stderr is a file or a pipe."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nanoshell.command.render import write_note

if TYPE_CHECKING:
    from nanoshell.command.render import TerminalScreen
    from nanoshell.narrator import Advance

_BYTES = ("B", "bytes")
PLAIN_SECONDS = 5.0
"""Time between two plain lines about the same work."""


class ScreenNarrator:
    """Narrates on stderr, as a bar that goes away where a person watches, as a few plain lines elsewhere."""

    def __init__(self, screen: TerminalScreen) -> None:
        self._screen = screen

    def note(self, text: str) -> None:
        write_note(text)

    @contextlib.contextmanager
    def progress(self, label: str, total: int | None, unit: str = "") -> Iterator[Advance]:
        with (_bar if self._screen.live else _plain)(self._screen, label, total, unit) as advance:
            yield advance


@contextlib.contextmanager
def _bar(screen: TerminalScreen, label: str, total: int | None, unit: str) -> Iterator[Advance]:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    amounts = (DownloadColumn(),) if unit in _BYTES else (MofNCompleteColumn(), TextColumn(unit))
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        *amounts,
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=screen.err, transient=True) as progress:
        task = progress.add_task(label, total=total)
        yield lambda count: progress.update(task, advance=count)


@contextlib.contextmanager
def _plain(_screen: TerminalScreen, label: str, total: int | None, unit: str) -> Iterator[Advance]:
    done, said = 0, time.monotonic()

    def advance(count: int) -> None:
        nonlocal done, said
        done += count
        if time.monotonic() - said >= PLAIN_SECONDS:
            said = time.monotonic()
            share = f" ({done / total:.0%})" if total else ""
            print(f"{label}: {_amount(done, unit)}{share}", file=sys.stderr, flush=True)

    print(f"{label} …", file=sys.stderr, flush=True)
    yield advance


def _amount(count: int, unit: str) -> str:
    """Return ``count`` with its unit: bytes as the bar has them, in kB, MB, …"""
    if unit in _BYTES:
        from rich.filesize import decimal

        return decimal(count)
    return f"{count:,} {unit}".rstrip()
