"""Whose fault an exception is: one that a panel raises costs that panel, and nothing else."""

from __future__ import annotations

import traceback
from types import FrameType, TracebackType

from textual.dom import DOMNode

from nanoshell.dashboard.inside import InnerScreen, handling
from nanoshell.dashboard.panel import Panel
from nanoshell.dashboard.slots import PanelSlot


class DeskScreen(InnerScreen):
    """The screen of the panels. One that fails while it is drawn does not take the screen with it."""

    def forgives(self, error: Exception) -> bool:
        """Put a card in the place of the panel that has raised ``error``; return whether it was one."""
        slot = slot_of(error)
        if slot is not None:
            slot.fail(error, place_of(error))
        return slot is not None


def slot_of(error: BaseException) -> PanelSlot | None:
    """Return the slot of the panel that has raised ``error``, None where it was none.

    That is the innermost widget on the way to where it was raised, else the one whose message is handled.
    """
    frames = reversed([frame for frame, _line in traceback.walk_tb(error.__traceback__)])
    nodes = [*(frame.f_locals.get("self") for frame in frames), handling()]
    return next((slot for slot in map(_above, nodes) if slot is not None), None)


def _above(node: object) -> PanelSlot | None:
    """Return the slot that ``node`` stands in, where it is of a panel."""
    if not isinstance(node, DOMNode):
        return None
    inside = False
    for parent in node.ancestors_with_self:
        inside = inside or isinstance(parent, Panel)
        if isinstance(parent, PanelSlot):
            return parent if inside else None
    return None


def place_of(error: BaseException) -> str:
    """Return where ``error`` was raised: ``file.py:12``."""
    last: TracebackType | None = error.__traceback__
    frame: FrameType | None = None
    line = 0
    while last is not None:
        frame, line, last = last.tb_frame, last.tb_lineno, last.tb_next
    return f"{frame.f_code.co_filename}:{line}" if frame is not None else ""
