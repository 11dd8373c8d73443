"""The pictures of the documents: linked ones are there and small, and what draws them keeps to its cells."""

from __future__ import annotations

import importlib
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from rich.terminal_theme import MONOKAI

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SVG = "{http://www.w3.org/2000/svg}"
CELL = 8


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch):
    """Return what draws a screen, as the root of its SVG."""
    monkeypatch.syspath_prepend(str(DOCS))
    draw = importlib.import_module("recording.picture").draw
    return lambda screen: ET.fromstring(draw(screen, 20, 2, "a <title>", MONOKAI))


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda page: page.name)
def test_linked_pictures_are_there_and_small(page: Path) -> None:
    for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text("utf-8")):
        picture = page.parent / link
        assert picture.is_file(), link
        assert picture.stat().st_size < (400_000 if picture.suffix == ".png" else 300_000), link


def test_every_text_begins_at_its_cell_and_is_as_long_as_its_cells(drawn) -> None:
    texts = list(drawn("a 日本 \x1b[1mb&c\x1b[0m\n  ◆d").iter(f"{SVG}text"))[1:]
    places = [
        (one.text, int(one.get("x", "")) // CELL, int(one.get("textLength", "")) // CELL) for one in texts
    ]
    assert sorted(places, key=lambda place: place[1]) == [
        ("a", 0, 1),
        ("日", 2, 2),
        ("◆", 2, 1),
        ("d", 3, 1),
        ("本", 4, 2),
        ("b&c", 7, 3),
    ]


def test_braille_is_dots_at_equal_distances_and_needs_no_font(drawn) -> None:
    root = drawn("⣿⠁")
    assert [one.text for one in root.iter(f"{SVG}text")] == ["a <title>"]
    (path,) = root.iter(f"{SVG}path")
    x = y = 0
    dots = set()
    for right, down in re.findall(r"m(-?\d+) (-?\d+)h0", path.get("d", "")):
        x, y = x + int(right), y + int(down)
        dots.add((x, y))
    assert dots == {(x, y) for x in (2, 6) for y in (2, 6, 10, 14)} | {(10, 2)}


def test_lines_meet_at_the_edges_of_their_cells_and_blocks_fill_their_part(drawn) -> None:
    root = drawn("┌─▄")
    (path,) = root.iter(f"{SVG}path")
    assert sorted(re.findall(r"M[^M]+", path.get("d", ""))) == ["M12 8h-4", "M12 8h4", "M4 8h4", "M4 8v8"]
    blocks = [one for one in root.iter(f"{SVG}rect") if one.get("fill-opacity")]
    assert [(one.get("x"), one.get("y"), one.get("height")) for one in blocks] == [("16", "8", "8")]
