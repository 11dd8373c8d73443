"""Samples as they are shown: the line above a text, the text itself, and what differs from another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from textual.content import Content

from nanoshell.command.render import counted
from nanoshell.dashboard.panels.textdiff import Piece, shown

if TYPE_CHECKING:
    from nanoshell.dashboard.course import SampleText

HERE = "here"
"""What stands in `SampleText.stop` of a text that was tried here, followed by how it was tried."""

QUIET, PROMPT = "dim", "bold"
EARLIER, LATER = "underline $text-error", "underline $text-success"
"""How words are marked that are in the left one of two texts alone, and in the right one."""

_ENDS = {"length": "", "context": "context is full", "interrupted": "interrupted"}


def heading(sample: SampleText, samples: Sequence[SampleText], index: int, room: int) -> str:
    """Return the line above ``sample``, which is the one at ``index`` of all ``samples`` of its prompt.

    In less ``room`` (cells) it says less.
    """
    newest = "the newest" if index == len(samples) - 1 else f"newest {samples[-1].step:,}"
    place = f"{index + 1:,} of {counted(len(samples), 'text')}"
    step, end = f"step {sample.step:,}", _ended(sample)
    for parts in ((step, f"{place}, {newest}", end), (step, place, end), (step, end)):
        said = "   ".join(filter(None, parts))
        if len(said) <= room:
            return said
    return step


def _ended(sample: SampleText) -> str:
    if sample.stop.startswith(HERE):
        return ", ".join(filter(None, ("tried here", sample.stop.removeprefix(HERE).strip())))
    return _ENDS.get(sample.stop, "")  # a token that ended it stands behind the text


def body(
    sample: SampleText, pieces: Sequence[Piece], ascii_only: bool, mark: str = LATER, *, written: bool = False
) -> Content:
    """Return the prompt of ``sample``, ``pieces`` of its text, and the token that ended it.

    Those that differ have the style ``mark``. While it is being ``written`` it may still be empty.
    """
    end = sample.stop if sample.stop not in _ENDS and not sample.stop.startswith(HERE) else ""
    said = ""
    if not written and not sample.text.strip():
        said = " (nothing but white space was written)" if sample.text else " (nothing was written)"
    return Content.assemble(
        (shown(sample.prompt, ascii_only=ascii_only), PROMPT),
        *(part for piece in pieces for part in _marked(piece, ascii_only, mark)),
        (said, QUIET),
        (shown(end, ascii_only=ascii_only), QUIET),
    )


def _marked(piece: Piece, ascii_only: bool, mark: str) -> Iterator[tuple[str, str]]:
    """Yield what is drawn of ``piece``, the white space behind it without a mark."""
    words = piece.text.rstrip() if piece.changed else ""
    yield shown(words, ascii_only=ascii_only), mark
    yield shown(piece.text[len(words) :], ascii_only=ascii_only), ""


def alike(pieces: Sequence[Piece]) -> str:
    """Return how much of a text is the same in the other one: ``31% alike``."""
    same = sum(len(piece.text.split()) for piece in pieces if not piece.changed)
    every = sum(len(piece.text.split()) for piece in pieces)
    return f"{same / every:.0%} alike" if every else ""
