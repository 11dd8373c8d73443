"""Whose fault an exception is: one that a panel raises costs that panel, and nothing else."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Sequence
from types import FrameType

from textual.dom import DOMNode
from textual.geometry import Region
from textual.worker import Worker, WorkerFailed

from nanoshell.dashboard.faults import NO_AUTHORS, package_of
from nanoshell.dashboard.inside import InnerScreen, handling
from nanoshell.dashboard.panel import Panel
from nanoshell.dashboard.slots import SLOW_SECONDS, PanelSlot


class DeskScreen(InnerScreen):
    """The screen of the panels. One that fails while it is drawn does not take the screen with it."""

    def drew(self, region: Region, seconds: float) -> None:
        """Let the slot in which something took long to be drawn know of it."""
        if seconds > SLOW_SECONDS:
            slots = (slot for slot in self.query(PanelSlot) if slot.region.contains_region(region))
            for slot in slots:  # later: what changes while the screen is drawn is forgotten
                slot.call_later(slot.judge, seconds, "to draw")

    def forgives(self, error: Exception) -> bool:
        """Put a card in the place of the panel that has raised ``error``; return whether it was one."""
        slot = slot_of(error)
        if slot is not None:
            slot.fail(error)
        return slot is not None


def cause_of(error: Exception) -> BaseException:
    """Return what a worker of a panel has raised, where ``error`` tells that it failed; else ``error``."""
    return error.error if isinstance(error, WorkerFailed) else error


def slot_of(error: BaseException, slots: Iterable[PanelSlot] = ()) -> PanelSlot | None:
    """Return the slot of the panel that has raised ``error``, None where it was none.

    That is the innermost widget on the way to where it was raised, else the one of ``slots`` from whose class
    or package the code came, else the one whose message is handled.
    """
    frames = [frame for frame, _line in traceback.walk_tb(error.__traceback__)][::-1]
    found = next((slot for slot in map(_above, map(_node, frames)) if slot is not None), None)
    return found or _written_by(frames, list(slots)) or _above(handling())


def _node(frame: FrameType) -> object:
    """Return the widget whose method or worker ``frame`` is, else something else."""
    owner = frame.f_locals.get("self")
    return owner.node if isinstance(owner, Worker) else owner


def _written_by(frames: Iterable[FrameType], slots: Sequence[PanelSlot]) -> PanelSlot | None:
    """Return the slot of a panel whose author wrote the innermost of ``frames`` that is an author's.

    A function that is handed to somebody else, to be called later, need not know its panel.
    """
    for frame in frames:
        package = package_of(frame)
        classes = [(slot, type(slot.panel)) for slot in slots if slot.panel is not None]
        own = [(slot, kind) for slot, kind in classes if kind.__module__.partition(".")[0] == package]
        if own and package not in NO_AUTHORS:
            inside = (
                slot for slot, kind in own if frame.f_code.co_qualname.startswith(f"{kind.__qualname__}.")
            )
            return next(inside, own[0][0])
    return None


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
