"""Legends: names as short as they can be told apart, and as much of the values as there is room for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from rich.cells import cell_len

from nanoshell.dashboard.chart.curve import ChartSeries, Curve
from nanoshell.dashboard.chart.drawing import draw
from nanoshell.dashboard.chart.legend import legend_words
from nanoshell.dashboard.chart.names import short_names, without_shared
from nanoshell.dashboard.chart.palette import Look
from nanoshell.dashboard.course import Axis, Mark, Sight

X = np.arange(1.0, 11.0)
Drawn = tuple[ChartSeries, Curve]


def runs(count: int) -> list[Drawn]:
    """Return a line and points of each of ``count`` runs."""
    return called(*(f"nano-{at}x-1" for at in range(count)))


def called(*names: str) -> list[Drawn]:
    """Return a line and points of each run of ``names``."""
    found: list[Drawn] = []
    for at, name in enumerate(names):
        for label, points in (("training", False), ("validation", True)):
            series = ChartSeries(f"{name} {label}", X, X * (at + 1) / 3, at, points, at == 1, name)
            curve = Curve()
            curve.feed(series.x, series.y)
            found.append((series, curve))
    return found


def legend(drawn: list[Drawn], room: int, look: Look | None = None, sight: Sight | None = None) -> str:
    look, sight = look or Look(), sight or Sight()
    frame = draw(drawn, (), sight, (1, 10), look, (80, 20))
    return "".join(text for text, _ in legend_words("", drawn, frame, sight, look, room))


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["run-a-1", "run-b-1"], ["a", "b"]),
        (["slow-1", "quick-1"], ["slow", "quick"]),
        (["nano-start-1", "nano-start-2"], ["start-1", "start-2"]),
        (["run", "run-2"], ["run", "run-2"]),
        (["long-name-a-1", "long-name-b-1", "story-1"], ["a", "b", "story"]),
        (["nano-start-1", "nano-start-2", "story-1"], ["start-1", "start-2", "story-1"]),
        (["1", "2"], ["1", "2"]),
        (["alone-1"], ["alone-1"]),
        ([], []),
    ],
)
def test_names_lose_what_all_share(names: list[str], short: list[str]) -> None:
    assert short_names(names) == short


@given(st.lists(st.text(st.sampled_from("ab1-_. "), max_size=12), unique=True, max_size=6))
def test_short_names_stay_parts_of_the_names_and_are_never_empty(names: list[str]) -> None:
    for name, short in zip(names, short_names(names), strict=True):
        assert short in name
        assert bool(short.strip("-_. ")) == bool(name.strip("-_. "))


@given(st.lists(st.from_regex(r"[ab1]{1,2}(-[ab1]{1,2}){0,3}", fullmatch=True), unique=True, max_size=6))
def test_short_names_tell_apart_what_the_names_do(names: list[str]) -> None:
    assert len(set(short_names(names))) == len(set(without_shared(names))) == len(names)


@pytest.mark.parametrize(
    ("names", "rest"),
    [
        (["run-a-1", "run-b-1"], ["a", "b"]),
        (["nano-start-1", "nano-start-2"], ["start-1", "start-2"]),
        (["long-a-1", "long-b-1", "mid-c-1", "live-2"], ["long-a-1", "long-b-1", "mid-c-1", "live-2"]),
        (["run", "run-2"], ["run", "run-2"]),
        (["alone-1"], ["alone-1"]),
        ([], []),
    ],
)
def test_names_lose_only_what_all_share(names: list[str], rest: list[str]) -> None:
    assert without_shared(names) == rest


def overlaid(
    cursor: float | None, room: int, ends: dict[str, int], axis: Axis = "step", over: Sequence[str] = ()
) -> str:
    """Return the legend of runs of so many steps, evaluated at every 100th, the first in focus.

    Those that are ``over`` are known to have ended.
    """
    drawn: list[Drawn] = []
    for at, (name, end) in enumerate(ends.items()):
        for label, every in (("training", 1), ("validation", 100)):
            x = np.arange(every, end + 1.0, every)
            series = ChartSeries(f"{name} {label}", x, 1 + x / 1e4, at, every > 1, at == 0, name)
            series = replace(series, ended=name in over)
            curve = Curve()
            curve.feed(series.x, series.y)
            drawn.append((series, curve))
    sight = Sight(axis=axis, cursor=cursor, smoothing=0.0)
    frame = draw(drawn, (), sight, (1, max(ends.values())), Look(), (80, 20))
    return "".join(text for text, _ in legend_words("", drawn, frame, sight, Look(), room))


ENDS = {"short-c-1": 1160, "long-a-1": 9000, "long-b-1": 9000, "crashed-2": 700}


def test_at_the_crosshair_runs_with_a_value_there_come_first_and_keep_their_marks() -> None:
    values = "  ━ long-a-1 1.503 ● 1.5 at 5,000  ━ long-b-1 1.503 ● 1.5 at 5,000"
    assert overlaid(5030, 130, ENDS) == f"{values}  ━ short-c-1 until 1,160  ━ crashed-2 until 700"
    assert overlaid(5030, 72, ENDS) == f"{values} +2"
    assert overlaid(5030, 40, ENDS) == " ━ long-a-1 1.5 ━ long-b-1 1.5 +2"
    assert overlaid(1000, 140, ENDS).startswith("  ━ short-c-1 1.1 ● 1.1  ━ long-a-1 1.1")
    assert overlaid(5030, 160, ENDS, "time").endswith("━ crashed-2 until 11m40s")


def test_where_points_were_measured_elsewhere_it_is_told_whatever_the_width_of_a_column() -> None:
    at_first = overlaid(1, 160, ENDS)
    assert at_first.count("● 1.01 at 100") == 4
    assert overlaid(9000, 160, {"alone": 9000, "live": 8999}).count(" at ") == 2, (
        "of the other, in its column"
    )
    assert overlaid(710, 160, ENDS, over=["crashed-2"]).endswith("━ crashed-2 until 700")
    assert "crashed-2 1.07 at 700" in overlaid(710, 160, ENDS), "it may go on, and is in that column"
    gone = overlaid(8000, 120, {"a": 700, "b": 1160})
    assert gone == "  ━ a 1.07 at 700 ● 1.07 at 700  ━ b 1.116 at 1,160 ● 1.11 at 1,100", (
        "when all have ended"
    )


def test_names_are_cut_in_the_middle_before_they_lose_words_that_tell_something() -> None:
    ends = dict.fromkeys(["long-experiment-a-1", "long-experiment-b-1", "real-2"], 900)
    assert overlaid(None, 66, ends) == " long-experiment-a-1 1.09 long-experiment-b-1 1.09 real-2 1.09"
    assert overlaid(None, 44, ends) == " long-…-a-1 1.09 long-…-b-1 1.09 real-2 1.09"
    assert overlaid(None, 37, ends) == " lo…a-1 1.09 lo…b-1 1.09 real-2 1.09"
    assert overlaid(None, 35, ends) == " a-1 1.09 b-1 1.09 real-2 1.09"


def test_the_focused_run_comes_first_and_its_points_stand_beside_its_line() -> None:
    told = legend(runs(2), 200)
    assert told.index("nano-1x-1 6.667") < told.index("nano-0x-1 3.333")
    assert told.count("● 6.667") == 1
    assert told.count("nano-1x-1") == 1


def test_less_room_takes_averages_then_names_then_points_then_signs_then_runs() -> None:
    drawn = runs(4)
    assert legend(drawn, 200).count("(") == 4
    assert legend(drawn, 130).count("(") == 0
    assert "nano-0x-1 3.333 ● 3.333" in legend(drawn, 120)
    assert "━ 0x 3.333 ● 3.333" in legend(drawn, 90)
    assert legend(drawn, 50) == " ━ 1x 6.67 ━ 0x 3.33 ━ 2x 10 ━ 3x 13.3"
    assert legend(drawn, 32) == " 1x 6.67 0x 3.33 2x 10 3x 13.3"
    assert legend(drawn, 24) == " 1x 6.67 0x 3.33 +2"
    assert legend(drawn, 5) == ""
    assert " O " not in legend(drawn, 50, Look(depth="mono"))
    five = legend(runs(5), 60, Look(depth="ansi"))  # the fifth differs by its sign alone, which stays
    assert (five.count("━"), five.count("╍")) == (4, 1)
    assert "╍ nano-4x-1 16.67 ○ 16.67" in legend(runs(5), 130, Look(depth="ansi"))
    assert legend(drawn, 50, Look(ascii=True)) == " x 1x 6.67 * 0x 3.33 + 2x 10 % 3x 13.3"


def test_where_nothing_was_measured_the_nearest_value_is_told_with_its_place() -> None:
    drawn = []
    for name, x, points in (("line", np.arange(1.0, 401.0), False), ("dots", X * 40, True)):
        curve = Curve()
        curve.feed(x, x / 100)
        drawn.append((ChartSeries(name, x, x / 100, 0, points), curve))

    def told(cursor: float | None, axis: Axis = "step") -> str:
        sight = Sight(axis=axis, cursor=cursor, smoothing=0.0)
        frame = draw(drawn, (), sight, (1, 400), Look(), (80, 20))
        return "".join(text for text, _ in legend_words("", drawn, frame, sight, Look(), 80))

    assert told(130) == "  ━ line 1.3  ● dots 1.2 at 120"
    assert told(200) == "  ━ line 2  ● dots 2"
    assert told(1) == "  ━ line 0.01  ● dots 0.4 at 40"
    assert told(130, "time") == "  ━ line 1.3  ● dots 1.2 at 2m00s"
    assert told(None) == "  ━ line 4  ● dots 4"


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.text(st.sampled_from("ab-\u5b9e\u9a8c\U0001f680\x1b\n"), max_size=30), max_size=9),
    st.integers(0, 160),
    st.booleans(),
)
def test_a_legend_never_takes_more_room_than_there_is(names: list[str], room: int, plain: bool) -> None:
    told = legend(called(*names), room, Look(ascii=plain))
    assert cell_len(told) <= room
    assert told.isprintable()
    if names and room >= 16:
        assert any(value in told for value in ("3.33", "6.67", "6.667")), "of the run that comes first"


def test_long_names_are_cut_before_a_run_is_left_out_and_a_value_is_told_as_long_as_it_fits() -> None:
    names = called("x" * 30 + "a" * 20, "y" * 30 + "b" * 20)
    assert legend(names, 40) == " yyyyyyy…bbbbbb 6.67 xxxxxxx…aaaaaa 3.33"
    assert legend(names, 24) == " yyy…bb 6.67 xxx…aa 3.33"
    assert legend(names, 23) == " yyyyyyy…bbbbbb 6.67 +1"
    assert legend(names, 11) == " y… 6.67 +1"
    assert legend(names, 8) == ""
    assert (
        legend(called("\u5b9e" * 20, "b"), 31)
        == " b 6.67 \u5b9e\u5b9e\u5b9e\u5b9e …\u5b9e\u5b9e\u5b9e\u5b9e 3.33"
    )


def test_checkpoints_close_together_leave_the_ticks_to_be_seen() -> None:
    drawn = runs(1)
    alone = [Mark("checkpoint", 5, 0, 0, "one")]
    many = [Mark("checkpoint", 1 + at * 9 / 300, 0, 0, str(at)) for at in range(301)]
    for marks, glyph, other in ((alone, "▪", "═"), (many, "═", "▪")):
        frame = draw(drawn, marks, Sight(), (1, 10), Look(), (80, 20))
        row = "".join(map(chr, frame.picture.codes[frame.layout.axis_row]))
        assert glyph in row
        assert other not in row
        assert row.count("┬") >= 5


def test_alerts_close_together_do_not_cover_the_chart() -> None:
    marks = [Mark("alert", 1 + at * 9 / 300, 0, 0, str(at)) for at in range(301)]
    frame = draw(runs(1), marks, Sight(), (1, 10), Look(), (80, 20))
    columns = [(frame.picture.codes[:, column] == ord("┊")).any() for column in range(80)]
    assert sum(columns) == 1


def test_many_points_leave_the_line_to_be_seen_and_hide_no_extreme() -> None:
    x = np.arange(1000.0)
    y = 5 - x / 250
    y[300], y[700] = 40.0, -30.0
    drawn = []
    for series in (ChartSeries("line", x, 5 - x / 250), ChartSeries("points", x, y, 0, True)):
        curve = Curve()
        curve.feed(series.x, series.y)
        drawn.append((series, curve))
    frame = draw(drawn, (), Sight(smoothing=0.0), (0, 999), Look(), (80, 20))
    layout = frame.layout
    plot = frame.picture.codes[layout.top : layout.axis_row, layout.gutter :]
    points = (plot > 0x2800) & ((plot & 0xFF) > 0)
    assert points.sum() < points.size // 3, "most is left free"
    assert abs(np.flatnonzero(points[0]).mean() - 0.3 * layout.columns) < 1.5
    assert abs(np.flatnonzero(points[-1]).mean() - 0.7 * layout.columns) < 1.5
