"""What is reduced and drawn: every visible point lights its cell, whatever the data and the view."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nanoshell.dashboard.chart.blocks import SIZE, Blocks
from nanoshell.dashboard.chart.curve import ChartSeries, Curve
from nanoshell.dashboard.chart.drawing import Frame, draw
from nanoshell.dashboard.chart.palette import WARNING, Look, bright, faint
from nanoshell.dashboard.chart.picture import blocks as block_cells, braille
from nanoshell.dashboard.chart.reduce import reduce, spans
from nanoshell.dashboard.chart.scale import Scale
from nanoshell.dashboard.course import Sight

NAN, INF = math.nan, math.inf
RAW = Sight(smoothing=0.0, follow=False)


def drawn(
    x: list[float] | np.ndarray,
    y: list[float] | np.ndarray,
    *,
    sight: Sight = RAW,
    size: tuple[int, int] = (60, 20),
    log_y: bool = False,
    look: Look = Look(),
    points: bool = False,
) -> Frame:
    curve = Curve(log_y)
    curve.feed(np.array(x, np.float64), np.array(y, np.float64))
    rising = curve.all_x[curve.all_x > 0] if sight.log_x else curve.all_x
    span = (float(rising[0]), float(rising[-1])) if len(rising) else (0.0, 1.0)
    series = ChartSeries("run", curve.all_x, curve.all_y, 0, points)
    return draw([(series, curve)], [], sight, span, look, size, log_y=log_y)


def plot(frame: Frame) -> list[str]:
    """Return the rows of the plot as text."""
    layout = frame.layout
    rows = frame.picture.codes[layout.top : layout.top + layout.rows, layout.gutter :]
    return ["".join(chr(code) for code in row) for row in rows]


def cell_of(frame: Frame, x: float, y: float) -> tuple[int, int, int]:
    """Return row, column and the bit of the dot in which a point stands, computed one point at a time."""
    layout = frame.layout
    edges = frame.x.edges(2 * layout.columns)
    dot = next((k for k in range(2 * layout.columns) if edges[k] <= x < edges[k + 1]), 2 * layout.columns - 1)
    if frame.y.log:
        height = (math.log(y) - math.log(frame.y.low)) / (math.log(frame.y.high) - math.log(frame.y.low))
    else:
        height = (y / 2 - frame.y.low / 2) / (frame.y.high / 2 - frame.y.low / 2)
    line = (1 - height) * (4 * layout.rows - 1)
    bits = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))[dot % 2]
    row = min(4 * layout.rows - 1, max(0, round(line)))
    near_tie = abs(line % 1 - 0.5) < 1e-6
    return row // 4, dot // 2, 0 if near_tie else bits[row % 4]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_every_visible_point_lights_its_dot(values: list[float], seed: int, log: bool) -> None:
    random = np.random.default_rng(seed)
    x = np.cumsum(random.exponential(1.0, len(values))) + 1
    y = np.abs(values) + 1e-3 if log else np.array(values)
    left, right = np.sort(random.uniform(x[0], x[-1] + 1, 2)).tolist()
    sight = Sight(left=left, right=right, follow=False, smoothing=0.0, log_x=bool(seed % 2))
    frame = drawn(x, y, sight=sight, log_y=log)
    layout = frame.layout
    seen = 0
    for place, value in zip(x.tolist(), y.tolist(), strict=True):
        if frame.x.low <= place <= frame.x.high:
            row, column, bit = cell_of(frame, place, value)
            code = int(frame.picture.codes[layout.top + row, layout.gutter + column])
            assert 0x2800 < code <= 0x28FF, (place, value)
            assert (code - 0x2800) & bit == bit, (place, value)
            seen += 1
    if seen == 0 and len(x) and frame.x.high < x[-1] and frame.x.low > x[0]:
        assert any(row.strip() for row in plot(frame)), "the line between two points outside is drawn"


def test_one_spike_among_a_million_points_is_seen_from_afar_and_near() -> None:
    x = np.arange(1_000_000, dtype=np.float64)
    y = np.zeros(len(x))
    y[654_321] = 1.0
    for left, right in ((0.0, 999_999.0), (654_000.0, 655_000.0), (654_320.0, 654_322.0)):
        frame = drawn(x, y, sight=Sight(left=left, right=right, follow=False, smoothing=0.0))
        top = plot(frame)[0]
        row, column, _ = cell_of(frame, 654_321, 1.0)
        assert row == 0
        assert top[column].strip()
        assert len(top.strip()) <= 5, "nothing else is there"


def test_smoothing_leaves_the_spike_in_the_faint_colour_and_the_line_in_the_bright_one() -> None:
    x = np.arange(5000, dtype=np.float64)
    y = np.sin(x / 300)
    y[2500] = 9
    frame = drawn(x, y, sight=Sight(smoothing=0.9))
    layout = frame.layout
    row, column, _ = cell_of(frame, 2500, 9)
    assert frame.picture.styles[layout.top + row, layout.gutter + column] == faint(0)
    shown = set(frame.picture.styles[layout.top + layout.rows // 2 :, layout.gutter :].ravel().tolist())
    assert bright(0) in shown


def test_buckets_hold_only_what_is_visible_and_the_neighbours_outside() -> None:
    x = np.arange(100, dtype=np.float64)
    found = reduce(x, x * 10, Scale(40.0, 59.0), 10)
    assert found.low[found.inside].tolist() == [400, 420, 440, 460, 480, 500, 520, 540, 560, 580]
    assert found.high[found.inside].tolist() == [410, 430, 450, 470, 490, 510, 530, 550, 570, 590]
    assert (found.low[0], found.low[-1]) == (390, 600)
    assert found.place[0] < -0.5
    assert found.place[-1] > 9.5


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_blocks_say_what_the_values_themselves_say(length: int, seed: int, parts: int) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(size=length)
    blocks = Blocks()
    for upto in sorted(random.integers(0, length + 1, 3).tolist()):
        blocks.extend(values[:upto])
    blocks.extend(values)
    bounds = np.unique(np.concatenate((random.integers(0, length, parts), [length])))
    if len(bounds) < 2:
        bounds = np.array([0, length])
    begins, ends = bounds[:-1], bounds[1:]
    low, high = blocks.extremes(values, begins, ends)
    means = blocks.means(values, begins, ends)
    for k, (a, b) in enumerate(zip(begins.tolist(), ends.tolist(), strict=True)):
        assert (low[k], high[k]) == (values[a:b].min(), values[a:b].max())
        assert means[k] == pytest.approx(math.fsum(values[a:b]) / (b - a), abs=1e-12)


def test_blocks_that_know_less_than_the_values_are_not_asked() -> None:
    values = np.arange(10.0 * SIZE)
    low, high = Blocks().extremes(values, np.array([0]), np.array([len(values)]))
    assert (low.tolist(), high.tolist()) == ([0.0], [len(values) - 1.0])


def test_gaps_at_nan_are_not_bridged_and_a_point_between_is_drawn() -> None:
    x = list(range(11))
    y = [0.0, 0, 0, NAN, NAN, 0, NAN, NAN, 0, 0, 0]
    frame = drawn(x, y, size=(67, 8))
    line = plot(frame)[len(plot(frame)) // 2]
    lit = [column for column, character in enumerate(line) if ord(character) > 0x2800]
    columns = frame.layout.columns
    cell = [min(columns - 1, int(k / 10 * columns)) for k in range(11)]
    assert set(range(cell[2] + 1)) <= set(lit)
    assert not set(range(cell[2] + 2, cell[5])) & set(lit)
    assert cell[5] in lit
    assert not set(range(cell[5] + 1, cell[8] - 1)) & set(lit)
    assert set(range(cell[8] + 1, columns)) <= set(lit)


@pytest.mark.parametrize(
    ("value", "glyph", "plain", "top"),
    [(NAN, "×", "x", True), (INF, "▲", "^", True), (-INF, "▼", "v", False)],
)
def test_what_has_no_height_is_marked_at_the_edge(value: float, glyph: str, plain: str, top: bool) -> None:
    x = list(range(101))
    y = [1.0 + 0.001 * k for k in x]
    y[50] = value
    for ascii_only in (False, True):
        frame = drawn(x, y, look=Look(ascii=ascii_only))
        rows = plot(frame)
        row = 0 if top else len(rows) - 1
        column = int(0.5 * frame.layout.columns)
        assert rows[row][column] == (plain if ascii_only else glyph)
        layout = frame.layout
        assert frame.picture.styles[layout.top + row, layout.gutter + column] == WARNING


def test_what_is_not_above_zero_is_marked_on_a_log_axis() -> None:
    x = list(range(101))
    y = [10.0 ** (k / 50) for k in x]
    y[25], y[75] = 0.0, -3.0
    frame = drawn(x, y, log_y=True)
    bottom = plot(frame)[-1]
    assert bottom[int(0.25 * frame.layout.columns)] == "▼"
    assert bottom[int(0.75 * frame.layout.columns)] == "▼"
    assert (frame.y.low, frame.y.high) == (1.0, 100.0)


def test_points_without_a_place_on_a_log_x_axis_are_counted_and_marked() -> None:
    frame = drawn([-1, 0, 1, 10, 100], [1, 2, 3, 4, 5], sight=Sight(log_x=True, smoothing=0.0))
    assert frame.misplaced == 2
    assert (frame.x.low, frame.x.high) == (1.0, 100.0)
    assert chr(frame.picture.codes[frame.layout.axis_row, frame.layout.gutter]) == "◂"


@pytest.mark.parametrize("values", [[], [NAN], [INF, -INF], [5.0], [0.0, 0.0], [1e308, -1e308], [5e-324]])
@pytest.mark.parametrize("log_y", [False, True])
@pytest.mark.parametrize("size", [(20, 5), (1, 1), (3, 2), (80, 24), (300, 100)])
@pytest.mark.parametrize("smoothing", [0.0, 0.9])
def test_odd_data_is_drawn_in_any_size(
    values: list[float], log_y: bool, size: tuple[int, int], smoothing: float
) -> None:
    x = [float(k) for k in range(len(values))]
    for log_x in (False, True):
        frame = drawn(x, values, size=size, log_y=log_y, sight=Sight(smoothing=smoothing, log_x=log_x))
        assert frame.picture.codes.shape == size[::-1]


def test_markers_stand_at_both_extremes_of_a_column() -> None:
    values = [(0.0, 0.0), (1.0, 5.0), (1.0, 10.0), (1.0, 3.0), (2.0, 0.0)]
    x, y = zip(*values, strict=True)
    frame = drawn(list(x), list(y), points=True, size=(40, 20))
    rows, columns = len(plot(frame)), frame.layout.columns

    def marked(x: float, y: float) -> int:
        """Return how many dots of the bright colour are lit within a dot of the point."""
        row, column, bit = cell_of(frame, x, y)
        assert bit, "not between two dots"
        side, line = divmod((0x01, 0x02, 0x04, 0x40, 0x08, 0x10, 0x20, 0x80).index(bit), 4)
        dot = (4 * row + line, 2 * column + side)
        return sum(lit(frame, dot[0] + down, dot[1] + on) for down, on in PLUS)

    for at in (values[0], values[2], values[3], values[4]):
        row, column, _ = cell_of(frame, *at)
        corner = (row in (0, rows - 1)) + (column in (0, columns - 1))
        assert marked(*at) >= 5 - corner, at


def test_points_differ_in_height_by_less_than_a_cell_and_are_joined_by_dots() -> None:
    frame = drawn([0, 1, 2, 3], [0.0, 0.45, 0.48, 1.0], points=True, size=(60, 12))
    heights = [cell_of(frame, x, y) for x, y in ((1, 0.45), (2, 0.48))]
    assert heights[0][0] == heights[1][0], "one row"
    columns = (_dot(frame, 1), _dot(frame, 2))
    dots = [next(row for row in range(40) if lit(frame, row, column)) for column in columns]
    assert dots[0] > dots[1]
    between = range(columns[0] + 2, columns[1] - 1)
    seen = [any(lit(frame, row, column) for row in range(4 * frame.layout.rows)) for column in between]
    assert seen.count(True) in (len(seen) // 2, -(-len(seen) // 2))
    assert all(one != other for one, other in itertools.pairwise(seen))


PLUS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))


def _dot(frame: Frame, x: float) -> int:
    return min(2 * frame.layout.columns - 1, int(frame.x.place_of(x) * 2 * frame.layout.columns))


def lit(frame: Frame, row: int, column: int) -> bool:
    """Return whether a dot of the plot is lit; False beyond its edges."""
    cells = plot(frame)
    if not (0 <= row < 4 * len(cells) and 0 <= column < 2 * len(cells[0])):
        return False
    bits = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))[column % 2]
    code = ord(cells[row // 4][column // 2])
    return code > 0x2800 and bool(code & bits[row % 4])


def test_ascii_holds_nothing_else() -> None:
    x = np.arange(3000, dtype=np.float64)
    y = np.sin(x / 100)
    y[100] = NAN
    frame = drawn(x, y, look=Look(ascii=True), sight=Sight(smoothing=0.9))
    text = "".join(chr(code) for code in frame.picture.codes.ravel())
    assert text.isascii()
    assert {"*", ".", "|", "-"} <= set(text)


def test_series_without_colours_have_glyphs_of_their_own() -> None:
    x = np.arange(50, dtype=np.float64)
    pairs = []
    for colour in range(3):
        curve = Curve()
        curve.feed(x, x + 20 * colour)
        pairs.append((ChartSeries(f"run-{colour}", x, x, colour), curve))
    frame = draw(pairs, [], RAW, (0.0, 49.0), Look("mono"), (60, 20))
    assert {"*", "x", "+"} <= set("".join(plot(frame)))


def broken_line(
    y: np.ndarray, colour: int, look: Look, *, points: bool = False, smoothing: float = 0.0
) -> Frame:
    x = np.arange(len(y), dtype=np.float64)
    curve = Curve()
    curve.feed(x, y)
    sight = Sight(smoothing=smoothing, follow=False)
    series = ChartSeries("run", x, y, colour, points)
    return draw([(series, curve)], [], sight, (0.0, float(x[-1])), look, (67, 20))


def gaps(frame: Frame, style: int) -> int:
    """Return how many columns of the plot have no cell in ``style``."""
    layout, picture = frame.layout, frame.picture
    cells = slice(layout.top, layout.top + layout.rows), slice(layout.gutter, None)
    there = (picture.codes[cells] > 0x2800) & (picture.styles[cells] == style)
    return int((~there.any(axis=0)).sum())


def test_of_sixteen_colours_the_later_half_has_broken_lines_which_lose_no_spike() -> None:
    y = np.linspace(1.0, 2.0, 600)
    few = Look("ansi", light=True)
    assert gaps(broken_line(y, 3, few), bright(3)) == gaps(broken_line(y, 4, Look()), bright(4)) == 0
    assert gaps(broken_line(y, 4, few), bright(4)) == 20  # a third of 60 columns
    assert gaps(broken_line(y, 4, few, smoothing=0.9), bright(4)) == 20
    for at in range(300, 330):
        spike = y.copy()
        spike[at] = 9.0
        tops = plot(broken_line(spike, 4, few))[0]
        assert any(ord(code) > 0x2800 for code in tops), at
    raw = broken_line(np.where(np.arange(600) % 2, 1.0, 2.0), 4, few, smoothing=0.9)
    assert gaps(raw, faint(4)) == 0  # what was measured stays whole behind its average


def test_of_sixteen_colours_the_later_half_has_hollow_points() -> None:
    y = np.array([1.0, 2.0, 3.0])
    few = Look("ansi")
    for colour, hollow in ((3, False), (4, True)):
        frame = broken_line(y, colour, few, points=True)
        column = _dot(frame, 1)
        row = next(row for row in range(4 * frame.layout.rows) if lit(frame, row, column))
        assert lit(frame, row + 1, column) != hollow
        assert lit(frame, row + 2, column)
        assert lit(frame, row + 1, column - 1)
        assert lit(frame, row + 1, column + 1)


def test_the_focused_run_is_on_top() -> None:
    x = np.arange(50, dtype=np.float64)
    for focus in (0, 1):
        pairs = []
        for colour in (0, 1):
            curve = Curve()
            curve.feed(x, x)
            pairs.append((ChartSeries(f"run-{colour}", x, x, colour, focused=colour == focus), curve))
        frame = draw(pairs, [], Sight(smoothing=0.5), (0.0, 49.0), Look(), (60, 20))
        shown = frame.picture.styles[frame.picture.codes > 0x2800]
        assert bright(focus) in shown
        assert bright(1 - focus) not in shown


def test_braille_and_blocks_light_from_top_to_bottom() -> None:
    top, bottom = np.array([1.0, np.nan, 0.5, 2.0]), np.array([0.0, np.nan, 0.5, 1.5])
    assert braille(top, bottom, 1).tolist() == [[0x47, 0x04]]
    assert block_cells(top, bottom, 3).tolist() == [[1, 0, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0]]


def test_a_line_is_without_holes() -> None:
    places = np.array([0.0, 7.0])
    low, high = spans(places, places * 3, places * 3, places * 3, places * 3, np.array([True]), 8)
    assert np.all(low[1:] <= high[:-1] + 1e-9)
    assert (low[0], high[-1]) == (0.0, 21.0)
