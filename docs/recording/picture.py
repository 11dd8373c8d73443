"""A screen with its colours as an SVG in which every character stands in its cell, whatever the fonts."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from rich.cells import cell_len
from rich.color import Color, blend_rgb
from rich.color_triplet import ColorTriplet
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from recording.glyphs import HEIGHT, WIDTH, block, dots, strokes

_MARGIN, _BAR = 10, 30
"""Around the screen, and above it for the title."""
_FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
_FONT_SIZE = 13.3
"""Of which a cell is the width in nearly all such fonts; ``textLength`` corrects the others."""
_BUTTONS = ("#ff5f57", "#febc2e", "#28c840")
_WORDS = re.compile(r"[!-~]+(?: [!-~]+)*|[^ ]")
"""Text that is laid out as one; what is beyond ASCII may come from another font, and is placed by itself."""


@dataclass(frozen=True)
class _Pen:
    """How a character looks."""

    ink: str
    paper: str
    bold: bool = False
    italic: bool = False
    underline: bool = False


@dataclass(frozen=True)
class _Piece:
    """Characters of one look, and where they begin, in cells."""

    row: int
    column: int
    text: str
    pen: _Pen


def draw(screen: str, columns: int, rows: int, title: str, theme: TerminalTheme) -> str:
    """Return a picture of ``screen``, which is text with ANSI's colours, of ``columns`` and ``rows``."""
    pieces = list(_pieces(screen, theme))
    ground = pieces[0].pen.paper if pieces else theme.background_color.hex
    width, height = columns * WIDTH + 2 * _MARGIN, rows * HEIGHT + _MARGIN + _BAR
    quiet = blend_rgb(theme.background_color, theme.foreground_color, 0.6).hex
    size = f'width="{width}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {size}>',
        f"<title>{escape(title)}</title>",
        f'<rect {size} rx="8" fill="{ground}"/>',
        *(f'<circle cx="{18 + 16 * at}" cy="15" r="5" fill="{fill}"/>' for at, fill in enumerate(_BUTTONS)),
        f'<text x="{width / 2:g}" y="19" font-family="{_FONTS}" font-size="12" text-anchor="middle" '
        f'fill="{quiet}">{escape(title)}</text>',
        f'<g transform="translate({_MARGIN} {_BAR})">',
        *_papers(pieces, ground),
        *_drawn(pieces),
        f'<g font-family="{_FONTS}" font-size="{_FONT_SIZE}" xml:space="preserve">',
        *_written(pieces),
        "</g>\n</g>\n</svg>\n",
    ]
    return "\n".join(parts)


def _pieces(screen: str, theme: TerminalTheme) -> Iterator[_Piece]:
    console = Console(width=1000, file=open(os.devnull, "w"), color_system="truecolor")  # noqa: SIM115, PTH123
    for row, line in enumerate(Text.from_ansi(screen, no_wrap=True).split("\n")):
        column = 0
        for segment in line.render(console):
            yield _Piece(row, column, segment.text, _pen(segment.style or Style(), theme))
            column += cell_len(segment.text)


def _pen(style: Style, theme: TerminalTheme) -> _Pen:
    ink = _shade(style.color, theme, theme.foreground_color)
    paper = _shade(style.bgcolor, theme, theme.background_color)
    if style.reverse:
        ink, paper = paper, ink
    if style.dim:
        ink = blend_rgb(ink, paper, 0.5)
    return _Pen(ink.hex, paper.hex, bool(style.bold), bool(style.italic), bool(style.underline))


def _shade(color: Color | None, theme: TerminalTheme, default: ColorTriplet) -> ColorTriplet:
    return default if color is None or color.is_default else color.get_truecolor(theme)


def _papers(pieces: list[_Piece], ground: str) -> Iterator[str]:
    for piece in pieces:
        if piece.pen.paper != ground:
            yield (
                f'<rect x="{piece.column * WIDTH}" y="{piece.row * HEIGHT}" '
                f'width="{cell_len(piece.text) * WIDTH}" height="{HEIGHT}" fill="{piece.pen.paper}"/>'
            )


def _drawn(pieces: list[_Piece]) -> Iterator[str]:
    """Yield blocks, then lines and dots: one path for each colour, which keeps the file small."""
    lines: dict[tuple[str, float], list[str]] = defaultdict(list)
    points: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for piece, x, y, character in _characters(pieces):
        if filled := block(character):
            (left, top, width, height), density = filled
            yield (
                f'<rect x="{x + left * WIDTH:g}" y="{y + top * HEIGHT:g}" width="{width * WIDTH:g}" '
                f'height="{height * HEIGHT:g}" fill="{piece.pen.ink}" fill-opacity="{density:g}"/>'
            )
        ends, heavy = strokes(character)
        middle = f"M{x + WIDTH // 2} {y + HEIGHT // 2}"
        lines[piece.pen.ink, 2 if heavy else 1].extend(middle + end for end in ends)
        points[piece.pen.ink].extend((x + right, y + down) for right, down in dots(character))
    for (ink, width), given in lines.items():
        if given:
            yield f'<path stroke="{ink}" stroke-width="{width:g}" fill="none" d="{"".join(given)}"/>'
    for ink, found in points.items():
        if found:
            yield f'<path stroke="{ink}" stroke-width="2.8" stroke-linecap="round" d="{_dotted(found)}"/>'


def _dotted(points: list[tuple[int, int]]) -> str:
    """Return a path of lines without length, each of which a round pen makes a dot, in short steps."""
    written, before = [], (0, 0)
    for x, y in points:
        written.append(f"m{x - before[0]} {y - before[1]}h0")
        before = (x, y)
    return "".join(written)


def _characters(pieces: list[_Piece]) -> Iterator[tuple[_Piece, int, int, str]]:
    """Yield each character that is drawn, and where its cell is."""
    for piece in pieces:
        column = piece.column
        for character in piece.text:
            if _is_drawn(character):
                yield piece, column * WIDTH, piece.row * HEIGHT, character
            column += cell_len(character)


def _is_drawn(character: str) -> bool:
    return bool(block(character) or strokes(character)[0] or dots(character) or character == "\u2800")


def _written(pieces: list[_Piece]) -> Iterator[str]:
    looks: dict[_Pen, list[str]] = defaultdict(list)
    for piece in pieces:
        for found in _WORDS.finditer(piece.text):
            text = found[0]
            if _is_drawn(text[0]):
                continue
            column = piece.column + cell_len(piece.text[: found.start()])
            looks[piece.pen].append(
                f'<text x="{column * WIDTH}" y="{piece.row * HEIGHT + 12}" '
                f'textLength="{cell_len(text) * WIDTH}" lengthAdjust="spacingAndGlyphs">'
                f"{escape(text, quote=False)}</text>"
            )
    for pen, texts in looks.items():
        yield f'<g fill="{pen.ink}"{_attributes(pen)}>'
        yield from texts
        yield "</g>"


def _attributes(pen: _Pen) -> str:
    attributes = {
        'font-weight="bold"': pen.bold,
        'font-style="italic"': pen.italic,
        'text-decoration="underline"': pen.underline,
    }
    return "".join(f" {written}" for written, wanted in attributes.items() if wanted)
