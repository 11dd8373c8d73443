"""Colours of charts: by formulas, that they can be read, and told apart by the colour-blind, too."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.color import ANSI_COLOR_NAMES, Color, ColorSystem
from rich.style import Style
from textual.app import App

from nanoshell.dashboard.chart.palette import (
    ON_DARK,
    ON_LIGHT,
    PARTS_ON_DARK,
    PARTS_ON_LIGHT,
    Look,
    blend,
    bright,
    broken,
    part_colour,
    styles,
)
from nanoshell.dashboard.panels.lines import TextLines
from nanoshell.dashboard.themes import adopt_themes

LEGIBLE = 4.5
"""The contrast that WCAG 2.1 asks of text (1.4.3)."""

READABLE = 3.0
"""The contrast that WCAG 2.1 asks of graphics (1.4.11)."""

APART = 9.0
"""Distances in CIELAB below it are no longer seen at a glance; about 2.3 can just be noticed."""

GROUNDS = {False: "#121212", True: "#e0e0e0"}
"""Those of Textual's own themes, dark and light; black and white have more contrast."""

TERMINALS = {
    "VGA": "000000 aa0000 00aa00 aa5500 0000aa aa00aa 00aaaa aaaaaa"
    " 555555 ff5555 55ff55 ffff55 5555ff ff55ff 55ffff ffffff",
    "xterm": "000000 cd0000 00cd00 cdcd00 0000ee cd00cd 00cdcd e5e5e5"
    " 7f7f7f ff0000 00ff00 ffff00 5c5cff ff00ff 00ffff ffffff",
    "Tango": "2e3436 cc0000 4e9a06 c4a000 3465a4 75507b 06989a d3d7cf"
    " 555753 ef2929 8ae234 fce94f 729fcf ad7fa8 34e2e2 eeeeec",
    "Solarized": "073642 dc322f 859900 b58900 268bd2 d33682 2aa198 eee8d5"
    " 002b36 cb4b16 586e75 657b83 839496 6c71c4 93a1a1 fdf6e3",
}
"""The 16 colours in the usual terminals."""

SIGHTS = {
    "ordinary": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
"""What is seen of linear RGB: Machado, Oliveira and Fernandes (2009), severity 1."""

TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def linear(colour: str) -> NDArray[np.float64]:
    """Return ``#rrggbb`` in linear light."""
    parts = np.array(Color.parse(colour).get_truecolor()) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """Return WCAG's contrast of two colours: 1 to 21."""
    low, high = sorted(float(TO_XYZ[1] @ linear(colour)) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def lab(colour: str, sight: str) -> NDArray[np.float64]:
    """Return what is seen of ``colour``, in CIELAB."""
    seen = TO_XYZ @ np.clip(SIGHTS[sight] @ linear(colour), 0, 1) / TO_XYZ.sum(axis=1)
    root = np.where(seen > (6 / 29) ** 3, np.cbrt(seen), seen / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


def nearest(colours: Sequence[str]) -> float:
    """Return the least distance of two of ``colours``, whoever looks at them."""
    return min(
        float(np.linalg.norm(lab(one, sight) - lab(other, sight)))
        for one, other in itertools.combinations(colours, 2)
        for sight in SIGHTS
    )


def test_the_formulas_give_the_known_contrasts() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(
        4.48, abs=0.01
    )  # the grey that just fails WCAG's AA
    assert lab("#ff0000", "ordinary") == pytest.approx([53.24, 80.09, 67.20], abs=0.05)


@pytest.mark.parametrize("of_256", [False, True])
@pytest.mark.parametrize("light", [False, True])
def test_colours_can_be_read_and_told_apart(light: bool, of_256: bool) -> None:
    for table in (ON_LIGHT, PARTS_ON_LIGHT) if light else (ON_DARK, PARTS_ON_DARK):
        shown = list(table)
        if of_256:  # what a terminal without more gets for them
            shown = [Color.parse(one).downgrade(ColorSystem.EIGHT_BIT).get_truecolor().hex for one in table]
        assert len(set(shown)) == 8
        assert min(contrast(colour, GROUNDS[light]) for colour in shown) >= READABLE
        assert nearest(shown) >= APART


@pytest.mark.parametrize("terminal", TERMINALS)
@pytest.mark.parametrize("light", [False, True])
def test_sixteen_colours_can_be_read_in_the_usual_terminals(light: bool, terminal: str) -> None:
    colours = [f"#{one}" for one in TERMINALS[terminal].split()]
    ground = "#ffffff" if light else "#000000"
    if terminal == "Solarized":
        ground = "#fdf6e3" if light else "#002b36"
    look = Look("ansi", light)
    known = styles(look, Style())
    for numbers in (range(8), [part_colour(part) for part in range(8)]):
        shown = {}
        for number in numbers:
            name = known[bright(number)].color
            assert name is not None
            shown[number] = colours[ANSI_COLOR_NAMES[name.name]]
        assert min(contrast(colour, ground) for colour in shown.values()) >= READABLE
        for second_mark in (False, True):
            alike = [colour for number, colour in shown.items() if broken(number, look) == second_mark]
            assert len(alike) == 4
            # Solarized has greys for half of its bright colours.
            assert nearest(alike) >= (4.0 if terminal == "Solarized" else APART)


def test_colours_differ_in_every_kind_of_terminal() -> None:
    for light in (False, True):
        for depth in ("true", "ansi"):
            look = Look(depth, light)  # type: ignore[arg-type]
            found = styles(look, Style())
            for numbers in (range(8), [part_colour(part) for part in range(8)]):
                assert len({(found[bright(number)].color, broken(number, look)) for number in numbers}) == 8
            own = {found[bright(colour)].color for colour in range(8)}
            assert depth == "ansi" or own.isdisjoint(
                found[bright(part_colour(part))].color for part in range(8)
            )
    assert not any(style.color for style in styles(Look("mono"), Style()))
    assert bright(9) == bright(1)
    assert blend("#000000", "#ffffff", 0.5) == "#808080"


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light"])
def test_words_can_be_read_on_the_ground_of_either_theme(theme: str) -> None:
    app: App[None] = App()
    adopt_themes(app)
    app.theme = theme
    known = app.get_css_variables()
    for role in ("foreground", "text-accent", "text-warning", "text-error", "text-success"):
        for ground in ("background", "panel"):
            # What is marked stands on the panel's ground nowhere but in the frames of questions.
            least = LEGIBLE if ground == "background" or role in ("foreground", "text-accent") else READABLE
            assert contrast(known[role], known[ground]) >= least, (role, ground)
    named = app.ansi_theme_light.ansi_colors
    shown = [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in map(named.__getitem__, range(16))]
    assert min(contrast(one, GROUNDS[True]) for at, one in enumerate(shown) if at not in (7, 15)) >= LEGIBLE


def test_quiet_words_are_quieter_than_others_but_can_be_read() -> None:
    app: App[None] = App()
    adopt_themes(app)

    async def scene() -> None:
        async with app.run_test() as pilot:
            lines = TextLines()
            await app.mount(lines)
            for theme, light in (("textual-dark", False), ("textual-light", True)):
                app.theme = theme
                await pilot.pause()
                quiet, plain = (lines._style(role).color for role in ("quiet", "head"))
                assert quiet is not None
                assert plain is not None
                seen = [contrast(one.get_truecolor().hex, GROUNDS[light]) for one in (quiet, plain)]
                assert READABLE < seen[0] < 0.7 * seen[1]

    asyncio.run(scene())
