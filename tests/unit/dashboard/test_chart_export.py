"""Charts as files: SVG that a browser can read, CSV that holds what is visible, exactly."""

from __future__ import annotations

import asyncio
import csv
import io
import math
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from rich.color import ColorSystem
from textual.app import App, ComposeResult

from nanoshell.dashboard.chart.curve import ChartSeries
from nanoshell.dashboard.chart.ink import ON_DARK as INK_ON_DARK, ON_LIGHT as INK_ON_LIGHT, Ink
from nanoshell.dashboard.chart.line_chart import LineChart
from nanoshell.dashboard.chart.palette import COLOURS, ON_DARK, ON_LIGHT
from nanoshell.dashboard.course import Mark, Sight

from .test_chart_palette import LEGIBLE, READABLE, contrast

SVG = "{http://www.w3.org/2000/svg}"


def chart(log_y: bool = False) -> LineChart:
    made = LineChart("loss <&>", unit="nats", log_y=log_y)
    x = np.arange(2000, dtype=np.float64)
    y = 3 + np.sin(x / 50)
    y[1000], y[1200:1300], y[1500] = 40.0, math.nan, math.inf
    made.set_series(
        [
            ChartSeries("run-1", x, y, 0),
            ChartSeries("val", x[::200], np.full(10, 2.5), 0, points=True),
            ChartSeries("none", x[:0], y[:0], 1),
        ],
        marks=[Mark("alert", 700, 0, 0, "loss & more")],
    )
    return made


@pytest.mark.parametrize("log_y", [False, True])
def test_the_drawing_holds_lines_texts_and_marks(log_y: bool) -> None:
    made = chart(log_y)
    root = ET.fromstring(made.to_svg(800, 400))
    assert (root.get("width"), root.get("height")) == ("800", "400")
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert "loss <&> (nats)" in texts
    assert {"step", "0", "1000"} <= set(texts) or {"step", "0", "1.0k"} <= set(texts)
    titles = [element.text for element in root.iter(f"{SVG}title")]
    assert "alert: loss & more" in titles
    assert {"NaN", "Inf"} <= set(titles)
    lines = list(root.iter(f"{SVG}polyline"))
    assert len(lines) == 2, "the gap is not bridged"
    assert len(list(root.iter(f"{SVG}circle"))) >= 10
    for line in lines:
        for point in (line.get("points") or "").split():
            across, down = (float(part) for part in point.split(","))
            assert -1 <= across <= 800
            assert -1 <= down <= 400


def test_a_drawing_of_foreign_names_and_words_is_xml_that_can_be_read() -> None:
    made, x = LineChart("a \x00 title"), np.arange(3.0)
    made.set_series(
        [ChartSeries("run\x1b[31m\ud800", x, x)], marks=[Mark("alert", 1, 0, 0, "\x1b]0;x\x07 & \ufffe")]
    )
    root = ET.fromstring(made.to_svg().encode())
    assert any("run" in (element.text or "") for element in root.iter(f"{SVG}text"))
    assert any("&" in (element.text or "") for element in root.iter(f"{SVG}title"))


def test_the_drawings_spike_reaches_the_top() -> None:
    root = ET.fromstring(chart().to_svg(1000, 400))
    path = max((element.get("d") or "" for element in root.iter(f"{SVG}path")), key=len)
    strokes = [stroke.split(" ")[1].split("V") for stroke in path.split("M")[1:]]
    assert min(float(begin) for begin, _ in strokes) <= 1
    middle = float(path.split("M")[1:][len(strokes) // 3].split(" ")[0])
    assert 0 < middle < 1000


def test_the_table_holds_what_is_visible_exactly() -> None:
    made = chart()
    made.look(Sight(left=999, right=1201, follow=False, smoothing=0.5))
    rows = list(csv.DictReader(io.StringIO(made.to_csv())))
    run = [row for row in rows if row["figure"] == "run-1"]
    assert [int(row["step"]) for row in run] == list(range(999, 1202))
    assert run[1]["value"] == "40"
    assert float(run[0]["value"]) == 3 + math.sin(999 / 50)
    assert (run[-1]["value"], run[-1]["smoothed"]) == ("nan", "")
    assert float(run[1]["smoothed"]) > 20
    points = [row for row in rows if row["figure"] == "val"]
    assert [(row["step"], row["value"], row["smoothed"]) for row in points] == [
        ("1000", "2.5", ""),
        ("1200", "2.5", ""),
    ]


@pytest.mark.parametrize("log_y", [False, True])
def test_the_table_holds_smoothed_values_and_no_logarithms(log_y: bool) -> None:
    made = LineChart("loss", log_y=log_y)
    y = np.array([8.0, 2.0, 0.5, 4.0, 1.0])
    made.set_series([ChartSeries("run-1", np.arange(5.0), y, 0)])
    made.look(Sight(smoothing=0.75))
    rows = csv.DictReader(io.StringIO(made.to_csv()))
    values = np.log(y) if log_y else y
    wanted = []
    for at in range(5):  # the mean of what was until then, each value weighing 3/4 of the one after it
        weights = 0.75 ** np.arange(at, -1, -1)
        mean = float(weights @ values[: at + 1] / weights.sum())
        wanted.append(math.exp(mean) if log_y else mean)
    assert [float(row["smoothed"]) for row in rows] == pytest.approx(wanted)


def test_an_empty_chart_can_be_exported() -> None:
    assert LineChart("loss").to_csv() == "run,figure,step,tokens,seconds,value,smoothed\n"
    ET.fromstring(LineChart("loss").to_svg())
    ET.fromstring(LineChart("loss", log_y=True).to_svg(10, 10))


class Alone(App[None]):
    """A chart, on the background of a theme."""

    def __init__(self, theme: str) -> None:
        super().__init__()
        self.wanted, self.chart = theme, LineChart("loss")

    def compose(self) -> ComposeResult:
        yield self.chart

    def on_mount(self) -> None:
        self.theme = self.wanted
        self.console._color_system = ColorSystem.TRUECOLOR


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light"])
def test_a_drawing_has_the_colours_of_the_screen_on_such_a_background(theme: str) -> None:
    async def act() -> None:
        app = Alone(theme)
        async with app.run_test(size=(80, 24)) as pilot:
            x = np.arange(50.0)
            app.chart.set_series([ChartSeries(f"run-{at}", x, x + at, at) for at in range(COLOURS)])
            await pilot.pause()
            seen = {
                segment.style.color.name
                for y in range(1, 22)
                for segment in app.chart.render_line(y)
                if segment.style and segment.style.color and segment.text.strip() > "\u2800"
            }
            drawing = app.chart.to_svg()
            lines = ET.fromstring(drawing).iter(f"{SVG}polyline")
            drawn = {line.get("stroke") for line in lines}
            assert len(drawn) == COLOURS
            assert drawn & seen
            assert {name for name in seen if name in ON_DARK + ON_LIGHT} <= drawn
            ground = next(ET.fromstring(drawing).iter(f"{SVG}rect")).get("fill")
            assert ground == ("#121212" if theme == "textual-dark" else "#ffffff")

    asyncio.run(act())


@pytest.mark.parametrize("ink", [INK_ON_DARK, INK_ON_LIGHT])
def test_what_is_written_in_a_drawing_can_be_read_on_its_background(ink: Ink) -> None:
    written = (ink.text, ink.quiet, ink.bad, ink.control, ink.resume)
    assert min(contrast(colour, ink.ground) for colour in written) >= LEGIBLE
    runs = (ink.of(colour) for colour in range(COLOURS))
    assert min(contrast(colour, ink.ground) for colour in runs) >= READABLE
