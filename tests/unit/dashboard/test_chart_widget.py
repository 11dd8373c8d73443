"""The chart as a widget: what it shows, and what keys, wheel, drag and crosshair do."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace

import numpy as np
import pytest
from rich.cells import cell_len
from rich.color import ColorSystem
from textual.app import App, ComposeResult
from textual.events import MouseScrollDown, MouseScrollUp
from textual.pilot import Pilot

from nanoshell.dashboard.chart.curve import ChartSeries
from nanoshell.dashboard.chart.line_chart import ACTIONS, LineChart
from nanoshell.dashboard.course import AXES, Mark, Sight

N = 1001
X = np.arange(N, dtype=np.float64)
Y = 5.0 - X / 250


class Charts(App[None]):
    """Two charts that share a view."""

    def __init__(self, ascii_only: bool = False) -> None:
        super().__init__()
        self.first = LineChart("loss", unit="nats", ascii=ascii_only)
        self.second = LineChart("rate", ascii=ascii_only)
        self.told: list[Sight] = []

    def compose(self) -> ComposeResult:
        yield self.first
        yield self.second

    def on_line_chart_sight_changed(self, event: LineChart.SightChanged) -> None:
        self.told.append(event.sight)
        for chart in (self.first, self.second):
            chart.look(event.sight)


Scene = Callable[[Charts, "Pilot[None]"], Awaitable[None]]


def play(scene: Scene, *, size: tuple[int, int] = (80, 40), ascii_only: bool = False) -> None:
    async def act() -> None:
        app = Charts(ascii_only)
        async with app.run_test(size=size) as pilot:
            app.first.set_series([ChartSeries("a", X, Y)])
            app.second.set_series([ChartSeries("a", X[::10], Y[::10], points=True)], span=(0, 1000))
            app.first.focus()
            await pilot.pause()
            await scene(app, pilot)

    asyncio.run(act())


def text(chart: LineChart) -> list[str]:
    return [chart.render_line(y).text for y in range(chart.size.height)]


def shown(chart: LineChart) -> tuple[float, float]:
    text(chart)
    assert chart._frame is not None
    return chart._frame.x.low, chart._frame.x.high


def test_keys_zoom_pan_reset_and_follow() -> None:
    async def scene(app: Charts, pilot: Pilot[None]) -> None:
        chart = app.first
        await pilot.press("plus")
        assert shown(chart) == pytest.approx((200, 1000))
        await pilot.press("up", "left")
        assert shown(chart) == pytest.approx((232, 872))
        assert not chart.sight.follow
        await pilot.press("right")
        assert shown(chart) == pytest.approx((360, 1000))
        assert chart.sight.follow
        await pilot.press("down", "minus", "minus")
        assert shown(chart) == pytest.approx((0, 1000))
        await pilot.press("plus", "f")
        assert not chart.sight.follow
        await pilot.press("f", "home")
        assert chart.sight == Sight()
        assert shown(app.second) == shown(chart)
        assert app.second.sight == chart.sight == app.told[-1]

    play(scene)


def test_following_moves_with_the_newest_and_keeps_the_width() -> None:
    async def scene(app: Charts, pilot: Pilot[None]) -> None:
        await pilot.press("plus")
        longer = np.arange(1501, dtype=np.float64)
        app.first.set_series([ChartSeries("a", longer, 5 - longer / 250)])
        assert shown(app.first) == pytest.approx((700, 1500))
        await pilot.press("left")
        app.first.set_series([ChartSeries("a", np.arange(1601.0), 5 - np.arange(1601.0) / 250)])
        assert shown(app.first) == pytest.approx((540, 1340))

    play(scene)


def test_what_is_followed_no_longer_stands_still_while_the_run_goes_on() -> None:
    async def scene(app: Charts, pilot: Pilot[None]) -> None:
        def goes_on(n: int) -> tuple[float, float]:
            longer = np.arange(n + 1.0)
            app.first.set_series([ChartSeries("a", longer, 5 - longer / 250)])
            return shown(app.first)

        assert goes_on(1100) == pytest.approx((0, 1100))
        await pilot.press("f")
        assert goes_on(1500) == pytest.approx((0, 1100))
        await pilot.press("f")
        assert shown(app.first) == pytest.approx((400, 1500))
        assert goes_on(1600) == pytest.approx((500, 1600))

    play(scene)


def test_the_wheel_zooms_around_the_pointer_and_dragging_pans() -> None:
    async def scene(app: Charts, pilot: Pilot[None]) -> None:
        chart = app.first
        text(chart)
        assert chart._frame is not None
        layout = chart._frame.layout
        column = layout.gutter + layout.columns // 4
        under = chart._frame.x.at((column - layout.gutter + 0.5) / layout.columns)
        for event in (MouseScrollUp, MouseScrollUp, MouseScrollDown):
            chart.post_message(
                event(chart, column, 5, 0, 0, 0, False, False, False, screen_x=column, screen_y=5)
            )
        await pilot.pause()
        low, high = shown(chart)
        assert high - low == pytest.approx(800)
        assert low + (high - low) * (column - layout.gutter + 0.5) / layout.columns == pytest.approx(under)
        await pilot.mouse_down(chart, offset=(40, 5))
        await pilot.hover(chart, offset=(30, 5))
        await pilot.mouse_up(chart, offset=(30, 5))
        moved = 10 / layout.columns * 800
        assert shown(chart)[0] == pytest.approx(min(200, low + moved))
        before = chart.sight
        await pilot.hover(chart, offset=(20, 5))
        assert replace(chart.sight, cursor=None) == replace(before, cursor=None), "the button is up"

    play(scene)


def test_the_crosshair_is_shared_and_steps_along_points() -> None:
    async def scene(app: Charts, pilot: Pilot[None]) -> None:
        chart = app.first
        await pilot.hover(chart, offset=(40, 5))
        at = chart.sight.cursor
        assert at is not None
        assert at == round(at), "a point of the series"
        assert app.second.sight.cursor == at
        lines = text(chart)
        index = int(at)
        assert f"at step {index}" in lines[0]
        assert f"{Y[index]:.4g} (" in lines[0]
        assert all(line[40] == "│" or ord(line[40]) > 0x2800 for line in lines[1:18])
        cells = [next(iter(chart.render_line(y).crop(40, 41))) for y in range(1, 18)]
        assert not any(cell.style and cell.style.reverse for cell in cells), "no block where it meets a line"
        assert "│" in text(app.second)[5][8:]
        await pilot.press("full_stop")
        assert chart.sight.cursor == at + 1
        await pilot.press("comma", "comma")
        assert chart.sight.cursor == at - 1
        column = chart._column(chart.sight.cursor)
        await pilot.press("shift+right")
        assert chart._column(chart.sight.cursor) == (column or 0) + 1
        chart._redraw()
        chart.action_cursor_left()
        assert chart._column(chart.sight.cursor) == column, "also before what is new has been drawn"
        await pilot.press("c")
        assert chart.sight.cursor is None
        assert "at step" not in text(chart)[0]
        await pilot.press("c")
        assert chart.sight.cursor == 1000
        await pilot.press("full_stop")
        assert chart.sight.cursor == 1000

    play(scene)


def test_stepping_out_of_sight_takes_the_view_along() -> None:
    async def scene(app: Charts, pilot: Pilot[None]) -> None:
        chart = app.first
        chart.look(Sight(left=100, right=110, follow=False, cursor=109))
        await pilot.press("full_stop", "full_stop")
        low, high = shown(chart)
        assert chart.sight.cursor == 111
        assert low < 111 < high
        assert high - low == pytest.approx(10)

    play(scene)


def test_nothing_is_drawn_anew_where_nothing_changed() -> None:
    async def scene(app: Charts, pilot: Pilot[None]) -> None:
        chart = app.first
        text(chart)
        frames = chart.frames
        chart.set_series([ChartSeries("a", X, Y)])
        chart.set_series([ChartSeries("a", X.copy(), Y.copy())])
        chart.set_series([ChartSeries("a", X, Y)], marks=[])
        chart.look(chart.sight)
        assert chart._frame is not None, "still valid"
        chart.look(replace(chart.sight, cursor=500.0))
        chart.look(replace(chart.sight, cursor=510.0))
        lines = text(chart)
        await pilot.pause()
        assert chart.frames == frames
        assert any("│" in line[8:] for line in lines)
        chart.set_series([ChartSeries("a", X, Y + 1)], marks=MARKS)
        text(chart)
        assert chart.frames == frames + 1, "once, for the values and the marks"

    play(scene)


def test_a_resize_draws_anew_without_a_cell_too_many() -> None:
    async def scene(app: Charts, pilot: Pilot[None]) -> None:
        for size in ((80, 24), (300, 100), (20, 10), (7, 4), (160, 48)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            for chart in (app.first, app.second):
                assert [cell_len(line) for line in text(chart)] == [chart.size.width] * chart.size.height

    play(scene)


def test_smallest_chart_still_says_everything() -> None:
    async def scene(app: Charts, pilot: Pilot[None]) -> None:
        lines = text(app.first)
        assert len(lines) == 5
        assert lines[0].startswith("loss (nats)  ━ ")
        assert lines[1].lstrip().startswith("5┤")
        assert lines[2].lstrip().startswith("1┤")
        assert lines[3].lstrip().startswith("└")
        assert lines[4].split()[:2] == ["step", "0"]

    play(scene, size=(20, 10))


def test_axes_of_tokens_time_and_logarithms() -> None:
    async def scene(app: Charts, pilot: Pilot[None]) -> None:
        chart = app.first
        chart.set_series([ChartSeries("a", X * 4096, Y)])
        chart.look(Sight(axis="tokens"))
        assert "1M" in text(chart)[-1] or "1.0M" in text(chart)[-1]
        chart.set_series([ChartSeries("a", X * 10, Y)])
        chart.look(Sight(axis="time", cursor=3900))
        assert "1h00m" in text(chart)[-1]
        assert "at 1h05m" in text(chart)[0]
        chart.set_series([ChartSeries("a", X, 10 ** (-X / 200))])
        chart.look(Sight(log_y=True, log_x=True))
        labels = [line[:7].strip(" │┤") for line in text(chart)]
        assert {"0.1", "0.01", "0.001", "1e-4"} <= set(labels)
        assert "(1 at step <= 0)" in text(chart)[0]
        assert text(chart)[-1].split()[:2] == ["step", "1"]

    play(scene)


def test_log_y_is_the_charts_own_too() -> None:
    async def scene(app: Charts, pilot: Pilot[None]) -> None:
        chart = app.first
        chart.set_series([ChartSeries("a", X, np.where(X == 500, 0.0, 10 ** (X / 500)))])
        assert "▼" not in "".join(text(chart))
        chart.log_y = True
        assert "▼" in "".join(text(chart))
        chart.look(replace(chart.sight, cursor=500.0))
        assert "a 0" in text(chart)[0]
        chart.log_y = False
        assert "▼" not in "".join(text(chart))

    play(scene)


MARKS = [
    Mark("control", 300, 0, 0, "learning rate 3e-4"),
    Mark("checkpoint", 500, 0, 0, "step-000500"),
    Mark("alert", 700, 0, 0, "loss is nan"),
    Mark("resume", 900, 0, 0, "from step 900"),
    Mark("alert", 5000, 0, 0, "elsewhere"),
]


@pytest.mark.parametrize(("ascii_only", "glyphs"), [(False, "◆▪!↻"), (True, "o#!>")])
def test_marks_stand_on_the_axis_and_speak_under_the_crosshair(ascii_only: bool, glyphs: str) -> None:
    async def scene(app: Charts, pilot: Pilot[None]) -> None:
        chart = app.first
        chart.set_series(chart.series, marks=MARKS)
        axis = text(chart)[-2]
        assert [axis.index(glyph) for glyph in glyphs] == sorted(axis.index(glyph) for glyph in glyphs)
        assert axis.count("!") == 1
        column = axis.index("!")
        faint = [line[column] for line in text(chart)[1:-2]]
        assert faint.count(":" if ascii_only else "┊") >= len(faint) - 2
        assert "loss is nan" not in text(chart)[-1]
        chart.look(replace(chart.sight, cursor=700.0))
        assert "! step 700: loss is nan" in text(chart)[-1]
        if ascii_only:
            assert "".join(text(chart)).isascii()

    play(scene, ascii_only=ascii_only)


@pytest.mark.parametrize("ascii_only", [False, True])
def test_the_words_of_a_mark_steer_no_terminal(ascii_only: bool) -> None:
    async def scene(app: Charts, pilot: Pilot[None]) -> None:
        chart = app.first
        chart.set_series(chart.series, marks=[Mark("alert", 700, 0, 0, "a \x1b]0;x\x07\u202e → b…")])
        chart.look(replace(chart.sight, cursor=700.0))
        said = text(chart)[-1]
        assert said.isprintable()
        assert ("-> b..." if ascii_only else "→ b…") in said
        assert "\u202e" not in said

    play(scene, ascii_only=ascii_only)


def test_a_chart_may_leave_words_and_checkpoints_to_others() -> None:
    async def scene(app: Charts, pilot: Pilot[None]) -> None:
        chart = app.first
        chart.set_series(chart.series, marks=MARKS)
        chart.look(replace(chart.sight, cursor=700.0))
        before = text(chart)
        chart.tells_marks = chart.shows_checkpoints = False
        lines = text(chart)
        assert "1000" in lines[-1], "its numbers"
        assert "nan" not in lines[-1]
        assert ("▪" in before[-2], "▪" in lines[-2], "!" in lines[-2]) == (True, False, True)
        chart.tells_marks = chart.shows_checkpoints = True
        assert text(chart) == before

    play(scene)


def test_the_axes_say_their_word_and_their_ends() -> None:
    async def scene(app: Charts, pilot: Pilot[None]) -> None:
        chart = app.first
        for axis in AXES:
            chart.look(Sight(axis=axis))
            assert text(chart)[-1].split()[0] == axis
        chart.look(Sight())
        for log, values, end in ((False, 4.83 - X / 300, "4.8"), (True, 1.07 + X / 270, "1.1")):
            chart.log_y = log
            chart.set_series([ChartSeries("a", X, values)])
            labels = [line[:7].strip(" │┤") for line in text(chart)[1:-2]]
            assert labels[-1 if log else 0] == end
        assert "2" in labels, "a round one rather than its neighbours"

    play(scene, size=(80, 24))


def test_the_title_names_as_many_series_as_fit_and_marks_nan() -> None:
    async def scene(app: Charts, pilot: Pilot[None]) -> None:
        chart = app.first
        newest = Y.copy()
        newest[-1] = math.nan
        chart.set_series([ChartSeries(f"run-{k}", X, newest, k, focused=k == 3) for k in range(4)])
        title = text(chart)[0]
        assert title.index("run-3 nan") < title.index("run-0 nan")
        await pilot.resize_terminal(40, 20)
        await pilot.pause()
        title = text(chart)[0]
        assert "run-3 nan" in title
        assert "+" in title
        chart.set_series([])
        assert "no data yet" in "".join(text(chart))
        chart.reading = True
        await pilot.pause()
        assert "reading …" in "".join(text(chart))

    play(scene)


def test_of_a_run_that_has_ended_before_the_crosshair_it_is_told_where() -> None:
    async def scene(app: Charts, pilot: Pilot[None]) -> None:
        chart = app.first
        chart.set_series([ChartSeries("a", X, Y), ChartSeries("b", X[:300], Y[:300], 1)])
        chart.look(replace(chart.sight, cursor=800.0))
        title = text(chart)[0]
        assert "a 1.8 (1.806)" in title
        assert "b until 299" in title
        chart.look(replace(chart.sight, cursor=200.0))
        assert "b 4.2" in text(chart)[0]

    play(scene)


def test_colours_follow_the_theme_and_the_terminal() -> None:
    async def scene(app: Charts, pilot: Pilot[None]) -> None:
        def colours() -> set[str]:
            return {
                segment.style.color.name
                for y in range(1, 10)
                for segment in app.first.render_line(y)
                if segment.style and segment.style.color and ord(segment.text[0]) > 0x2800
            }

        app.console._color_system = ColorSystem.STANDARD
        app.first.render_lines(app.first.size.region)
        assert "bright_yellow" in colours()
        app.console._color_system = ColorSystem.TRUECOLOR
        app.first.render_lines(app.first.size.region)
        assert "#e69f00" in colours()
        app.theme = "textual-light"
        await pilot.pause()
        app.first.render_lines(app.first.size.region)
        assert "#af5f00" in colours()

    play(scene)


def test_keys_are_those_of_the_table() -> None:
    chart = LineChart()
    for action in ACTIONS:
        assert callable(getattr(chart, f"action_{action.id}"))
        for key in action.keys:
            assert chart._bindings.key_to_bindings[key][0].action == action.id
    keys = [key for action in ACTIONS for key in action.keys]
    assert len(keys) == len(set(keys))
    assert not {"ctrl+a", "ctrl+b"} & set(keys), "tmux and screen take these"
