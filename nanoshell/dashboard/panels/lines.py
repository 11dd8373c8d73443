"""Lines of text that scroll: what most panels show, drawn line by line, and only those that are seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from nanoshell.dashboard.chart.palette import Depth, Look, bright, broken, styles
from nanoshell.dashboard.panels.plain import plain

Span = tuple[str, str]
"""Text and its role: quiet, heading, good, warning, error, accent, found, chosen, ``run-N``, or none."""

Line = tuple[Span, ...]

ROLES = ("quiet", "heading", "good", "warning", "error", "accent", "bright", "found", "head")
_RUN = "run-"

STATE_ROLES = {
    "starting": "accent",
    "running": "good",
    "paused": "warning",
    "stopping": "warning",
    "finished": "",
    "stopped": "",
    "failed": "error",
    "crashed": "error",
    "silent": "error",
    "gone": "error",
}
"""The role in which the state of a run is written."""


class TextLines(ScrollView, can_focus=False):
    """Lines that scroll under ``head``, which stays. One of them may be chosen: it is reversed."""

    DEFAULT_CSS = """
    TextLines { height: 1fr; width: 1fr; overflow-x: hidden; overflow-y: auto; scrollbar-size-vertical: 1; }
    TextLines > .lines--quiet { color: $foreground 60%; }
    TextLines > .lines--heading { text-style: bold; }
    TextLines > .lines--head { text-style: bold; color: $foreground 80%; }
    TextLines > .lines--good { color: $text-success; }
    TextLines > .lines--warning { color: $text-warning; }
    TextLines > .lines--error { color: $text-error; text-style: bold; }
    TextLines > .lines--accent { color: $text-accent; }
    TextLines > .lines--bright { text-style: bold; color: $text-accent; }
    TextLines > .lines--found { text-style: reverse; }
    TextLines:ansi > .lines--quiet { color: ansi_default; text-style: dim; }
    TextLines:ansi > .lines--head { color: ansi_default; text-style: bold; }
    TextLines:ansi > .lines--good { color: ansi_green; }
    TextLines:ansi > .lines--warning { color: ansi_yellow; }
    TextLines:ansi > .lines--error { color: ansi_red; }
    TextLines:ansi > .lines--accent { color: ansi_cyan; }
    TextLines:ansi > .lines--bright { color: ansi_default; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"lines--{role}" for role in ROLES}

    class Pressed(Message):
        """A line was clicked, or ``twice``: its number, or -1 for the head; ``x`` is the column."""

        def __init__(self, lines: TextLines, line: int, x: int, *, twice: bool = False) -> None:
            super().__init__()
            self.lines, self.line, self.x, self.twice = lines, line, x, twice

        @property
        def control(self) -> TextLines:
            return self.lines

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - the name of Textual
        super().__init__(id=id)
        self.lines: Sequence[Line] = ()
        self.head: Line = ()
        self.chosen: int | None = None

    def show(self, lines: Sequence[Line], *, head: Line = (), chosen: int | None = None) -> None:
        """Show ``lines`` under ``head``; nothing is drawn where that is what is shown already."""
        if (lines, head, chosen) == (self.lines, self.head, self.chosen):
            return
        moved = chosen != self.chosen
        self.lines, self.head, self.chosen = lines, head, chosen
        self.virtual_size = Size(0, len(lines) + bool(head))
        if moved and chosen is not None:
            self.bring(chosen)
        self.refresh()

    @property
    def rows(self) -> int:
        """How many lines there is room for, below the head."""
        return max(1, self.size.height - bool(self.head))

    @property
    def at_end(self) -> bool:
        """Whether the last line is seen."""
        return self.scroll_offset.y >= len(self.lines) - self.rows

    def bring(self, line: int) -> None:
        """Scroll no further than needed for ``line`` to be seen."""
        top = self.scroll_offset.y
        if line < top:
            self.scroll_to(y=line, animate=False, force=True, immediate=True)
        elif line >= top + self.rows:
            self.scroll_to(y=line - self.rows + 1, animate=False, force=True, immediate=True)

    def on_resize(self) -> None:
        """Keep the chosen line in sight."""
        if self.chosen is not None:
            self.bring(self.chosen)

    def to_end(self) -> None:
        """Scroll to the last line."""
        top = max(0, len(self.lines) - self.rows)
        self.scroll_to(y=top, animate=False, force=True, immediate=True)

    def move(self, by: int) -> None:
        """Scroll by so many lines."""
        self.scroll_to(y=self.scroll_offset.y + by, animate=False, force=True, immediate=True)

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        number = y - bool(self.head) + self.scroll_offset.y
        base = self.rich_style
        if y == 0 and self.head:
            return self._strip(self.head, width, base)
        if not 0 <= number < len(self.lines):
            return Strip.blank(width, base)
        chosen = Style(reverse=True) if number == self.chosen else Style.null()
        return self._strip(self.lines[number], width, base, chosen)

    def _strip(self, line: Line, width: int, base: Style, over: Style | None = None) -> Strip:
        ascii_only = bool(getattr(self.app, "ascii", False))
        segments, room = [], width
        for text, role in line:
            shown = plain(text, ascii=ascii_only)
            if role.startswith(_RUN) and broken(int(role.removeprefix(_RUN)), self._look):
                shown = shown.replace("●", "○")  # as its points are in charts
            if cell_len(shown) > room:
                shown = set_cell_size(shown, room)
            room -= cell_len(shown)
            own = Style(bold=self._style(role).bold) if over else self._style(role)  # one ground for the row
            segments.append(Segment(shown, base + own + (over or Style.null())))
        return Strip(segments).extend_cell_length(width, base + (over or Style.null()))

    def _style(self, role: str) -> Style:
        if role.startswith(_RUN):
            return styles(self._look, Style.null())[bright(int(role.removeprefix(_RUN)))]
        if not role:
            return Style.null()
        found = self.get_component_rich_style(f"lines--{role}", partial=True)
        if found.color is None:
            return found
        # A partial style leaves out how transparent its colour is: the whole one is blended with the ground.
        return found + Style(color=self.get_component_rich_style(f"lines--{role}").color)

    @property
    def _look(self) -> Look:
        few = self.app.native_ansi_color or self.app.console.color_system in ("standard", "windows")
        depth: Depth = "mono" if self.app.no_color else "ansi" if few else "true"
        return Look(depth, light=not self.app.current_theme.dark)

    def on_click(self, event: object) -> None:
        y, x = getattr(event, "y", 0), getattr(event, "x", 0)
        on_head = bool(self.head) and y == 0
        number = -1 if on_head else y - bool(self.head) + self.scroll_offset.y
        if number < len(self.lines):
            self.post_message(self.Pressed(self, number, x, twice=getattr(event, "chain", 1) == 2))


def run_role(number: int) -> str:
    """Return the role of text in the colour of the run ``number``."""
    return f"{_RUN}{number}"


def span(text: str, role: str = "") -> Line:
    """Return a line of one role."""
    return ((text, role),)


def wrapped(lines: Iterable[Line], width: int, indent: int = 0) -> list[Line]:
    """Return ``lines`` in lines of at most ``width`` columns; what goes on is set ``indent`` columns in."""
    found: list[Line] = []
    for line in lines:
        if sum(cell_len(text) for text, _ in line) <= width:
            found.append(line)
        else:
            found += _folded(line, max(1, width), min(indent, max(0, width - 8)))
    return found


def _folded(line: Line, width: int, indent: int) -> list[Line]:
    found: list[Line] = []
    spans: list[Span] = []
    room = width
    for text, role in line:
        rest = text
        while rest:
            if room <= 0:
                found.append(tuple(spans))
                spans, room = [(" " * indent, "")] if indent else [], width - indent
            piece = _piece(rest, room, width - indent)
            if not piece:
                room = 0
                continue
            spans.append((piece, role))
            room -= cell_len(piece)
            rest = rest[len(piece) :]
            if rest:
                room, rest = 0, rest.lstrip(" ")
    if spans:
        found.append(tuple(spans))
    return found


def _piece(text: str, room: int, whole: int) -> str:
    """Return as much of ``text`` as there is ``room`` for, to the end of a word; '' to begin a new line."""
    if cell_len(text) <= room:
        return text
    piece = chop_cells(text, room)[0] or text[:1]  # a wide letter has no room in one column
    space = piece.rfind(" ")
    if space > 0 and text[len(piece) : len(piece) + 1] != " ":
        return piece[: space + 1]
    if space <= 0 and room < whole and text[len(piece) : len(piece) + 1] != " ":
        return ""
    return piece
