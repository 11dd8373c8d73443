"""Ink: the colours of a drawing, those of the screen on the screen's kind of background."""

from __future__ import annotations

from dataclasses import dataclass

from nanoshell.dashboard.chart.palette import hex_colour


@dataclass(frozen=True)
class Ink:
    """What a drawing is drawn with on a ``ground``, ``light`` or not; all are ``#rrggbb``."""

    ground: str
    light: bool
    text: str
    quiet: str
    grid: str
    bad: str
    control: str
    checkpoint: str
    resume: str

    def of(self, colour: int) -> str:
        """Return the colour of a run or a part, as `hex_colour` has it on such a background."""
        return hex_colour(colour, light=self.light)

    def of_mark(self, kind: str) -> str:
        """Return the colour of a mark of ``kind``."""
        marks = {"alert": self.bad, "control": self.control, "checkpoint": self.checkpoint}
        return marks.get(kind, self.resume)


ON_LIGHT = Ink(
    "#ffffff", True, "#333333", "#666666", "#e6e6e6", "#cc0000", "#333333", "#888888", "#0060a0"
)  # fmt: skip
ON_DARK = Ink(
    "#121212", False, "#dddddd", "#aaaaaa", "#333333", "#ff6b6b", "#dddddd", "#888888", "#7cc4ff"
)  # fmt: skip
