"""The charts of the dashboard: what they draw of runs, how they are moved, hidden, copied and exported."""

from __future__ import annotations

import csv
import errno
import json
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from textual.pilot import Pilot

from nanoshell.dashboard.app import DashboardApp
from nanoshell.dashboard.chart.line_chart import LineChart
from nanoshell.dashboard.chart.palette import bright
from nanoshell.dashboard.course import Course, Series, Sight, Snapshot
from nanoshell.dashboard.panels.charts import ChartPanel
from nanoshell.dashboard.panels.figures import (
    Figure,
    along,
    expert_layers,
    expert_lines,
    lines,
    whole_span,
    with_experts,
)
from nanoshell.dashboard.panels.kinds import (
    CHARTS,
    BitsPerByteChart,
    ExpertChart,
    GradientChart,
    LearningRateChart,
    LossChart,
    SpeedChart,
    TrainingBitsChart,
    chart_panel,
)
from nanoshell.errors import UnknownNameError
from nanoshell.runs.status import RunStatus
from nanoshell.testing import FakeRun

from .still import more, play, settled, shows, text

Make = Callable[..., FakeRun]
ALL: list[Callable[[], ChartPanel]] = [lambda name=name: chart_panel(name) for name in CHARTS]  # type: ignore[misc]


@pytest.fixture
def learning(nanoshell_fake_run: Make) -> FakeRun:
    fake = nanoshell_fake_run(total_steps=100)
    for _ in range(3):
        fake.step(10)
        fake.eval()
    return fake


def shown(app: DashboardApp) -> list[str]:
    """Return the charts that are on the screen."""
    return [slot.panel_id for slot in app.view.visible_slots()]


def course(**figures: list[float]) -> Course:
    made = {}
    for name, values in figures.items():
        step = np.arange(1.0, len(values) + 1)
        made[name.replace("__", ".")] = Series(step, 100 * step, step**2, np.array(values))
    return Course(run=SimpleNamespace(name="a-1"), status=RunStatus("running"), series=made)  # type: ignore[arg-type]


# What is drawn, without a screen


def test_a_moment_stays_where_it_is_on_another_axis() -> None:
    one = course(loss=[4.0, 3.0, 2.0, 1.0])
    sight = along(Sight(left=1.0, right=3.0, cursor=2.0, follow=False), "tokens", one)
    assert (sight.axis, sight.left, sight.right, sight.cursor) == ("tokens", 100.0, 300.0, 200.0)
    sight = along(sight, "time", one)
    assert (sight.left, sight.right, sight.cursor) == (1.0, 9.0, 4.0)
    back = along(sight, "step", one)
    assert (back.left, back.right, back.cursor) == (1.0, 3.0, 2.0)
    assert along(sight, "step", None) == Sight(axis="step")


def test_experts_are_lines_of_their_layer() -> None:
    one = course(expert_load__1__0=[0.5], expert_load__1__1=[0.5], expert_load__10__0=[1.0], loss=[1.0])
    assert expert_layers(one) == [1, 10]
    assert [line.name for line in expert_lines(one, 1, "step")] == ["expert 0", "expert 1"]
    (alone,) = expert_lines(one, 10, "step")
    assert (alone.name, alone.run, alone.figure) == ("expert 0", "a-1", "layer 10, expert 0")
    assert expert_layers(None) == []
    assert {bright(line.colour) for line in expert_lines(one, 1, "step")}.isdisjoint(map(bright, range(8)))
    without = course(loss=[1.0])
    assert with_experts(Snapshot((without, one), 0)) is one, "the focused run has none"
    assert with_experts(Snapshot((without,))) is None


def test_the_span_is_that_of_all_runs() -> None:
    snapshot = Snapshot((course(loss=[1.0, 2.0]), course(loss=[1.0] * 5), course(val_loss=[1.0] * 9)))
    assert whole_span(snapshot, "tokens") == (100.0, 500.0)
    assert whole_span(Snapshot(), "step") is None
    assert lines(Snapshot(), (Figure("loss", "training"),), "step") == []


def test_an_unknown_chart_is_told_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="los"):
        chart_panel("los")


def test_a_table_tells_run_and_figure_apart() -> None:
    one, other = course(loss=[1.0], val_loss=[2.0]), course(loss=[3.0])
    other = replace(other, run=SimpleNamespace(name="b-1"))  # type: ignore[arg-type]
    snapshot = Snapshot((one, other))
    found = lines(snapshot, LossChart.figures, "step")
    assert [(one.run, one.figure) for one in found] == [
        ("a-1", "training"),
        ("a-1", "validation"),
        ("b-1", "training"),
    ]
    (alone,) = lines(Snapshot(snapshot.courses[1:]), LossChart.figures, "step")
    assert (alone.run, alone.called, alone.figure) == ("b-1", "", "training")


# On the screen


def test_two_charts_at_a_time_fit_and_only_those_that_the_run_has(learning: FakeRun) -> None:
    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        assert shown(app) == ["loss", "learning_rate"]
        await pilot.press("pagedown")
        assert shown(app) == ["grad_norm", "speed"]
        await pilot.press("pagedown")
        assert shown(app) == ["bits_per_byte"]
        await pilot.press("pagedown", "pageup", "pageup")
        assert shown(app) == ["loss", "learning_rate"]
        lines_ = text(app).split("\n")
        assert len(lines_) == 24
        assert all(len(line) <= 80 for line in lines_)

    play([learning], ALL, scene)


def test_a_wide_screen_shows_columns(learning: FakeRun) -> None:
    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        assert shown(app) == ["loss", "learning_rate", "grad_norm", "speed", "bits_per_byte"]
        tops = {slot.region.y for slot in app.view.visible_slots()}
        assert len(tops) < 5
        boxes = [slot.region for slot in app.view.visible_slots()]
        assert boxes[1].x == boxes[0].right + 1, "an empty column between charts"
        assert boxes[-1].width == app.size.width, "the last has what is left of its row"
        drawn = [slot.query_one(LineChart) for slot in app.view.visible_slots()]
        assert [chart.shows_checkpoints for chart in drawn] == [False] * 4 + [True]
        assert [chart.tells_marks for chart in drawn] == [True] + [False] * 4
        app.query_one(LearningRateChart).focus()
        await pilot.press("enter")
        await settled(app, pilot)
        rate = app.query_one(LearningRateChart).chart
        assert (rate.shows_checkpoints, rate.tells_marks, drawn[0].tells_marks) == (True, True, False)

    play([learning], ALL, scene, size=(160, 48))


def test_a_figure_that_comes_later_gets_its_chart(learning: FakeRun) -> None:
    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        assert "expert_load" not in shown(app)
        learning.step(1, balance_loss=1.1, expert_load={"1": [0.25, 0.75], "3": [0.5, 0.5]})
        await more(app, pilot)
        assert {"expert_load", "balance_loss"} <= set(shown(app))
        chart = app.query_one(ExpertChart)
        assert [series.name for series in chart.chart.series] == ["expert 0", "expert 1"]
        assert chart.expert_layer == 1
        chart.focus()
        await pilot.press("v")
        assert chart.expert_layer == 3
        assert "layer 3" in text(app)

    play([learning], ALL, scene, size=(160, 48))


def test_loss_and_validation_are_drawn_with_their_newest_values(learning: FakeRun) -> None:
    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        chart = app.query_one(LossChart).chart
        training, validation = chart.series
        assert (training.name, training.points, len(training.x)) == ("training", False, 30)
        assert (validation.name, validation.points, list(validation.x)) == ("validation", True, [10, 20, 30])
        assert f"{learning.loss():.4g}" in text(app)
        learning.step(1, loss=math.nan)
        await more(app, pilot)
        assert "nan" in text(app)

    play([learning], [LossChart], scene)


def test_several_runs_keep_their_colours(nanoshell_fake_run: Make) -> None:
    runs = [nanoshell_fake_run("one"), nanoshell_fake_run("two")]
    for fake in runs:
        fake.step(5)
        fake.checkpoint()

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        chart = app.query_one(GradientChart).chart
        assert [(one.name, one.colour, one.focused) for one in chart.series] == [
            ("one-1", 0, True),
            ("two-1", 1, False),
        ]
        assert "one-1" in text(app)
        assert "two-1" in text(app)
        await pilot.press("N")
        await settled(app, pilot)
        assert [(one.name, one.colour, one.focused) for one in chart.series] == [
            ("one-1", 0, False),
            ("two-1", 1, True),
        ]

    play(runs, [GradientChart], scene)


def test_all_charts_look_the_same_way_but_each_has_its_own_scale(learning: FakeRun) -> None:
    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        loss, rate = app.query_one(LossChart), app.query_one(LearningRateChart)
        await pilot.press("plus", "plus", "comma", "l", "s")
        await settled(app, pilot)
        assert loss.chart.sight.left is not None
        assert rate.chart.sight == replace(loss.chart.sight, smoothing=0.0)
        at = rate.chart.sight.cursor
        assert at in (29, 30)
        assert loss.chart.sight.smoothing == 0.9
        assert not loss.chart.log_y, "it was from the start"
        assert not rate.chart.log_y
        await pilot.press("x")
        await settled(app, pilot)
        assert loss.chart.sight.axis == rate.chart.sight.axis == "tokens"
        assert rate.chart.sight.cursor == at * 512
        assert "tokens" in text(app)
        await pilot.press("x", "x", "a", "a", "c", "0")
        await settled(app, pilot)
        sight = loss.chart.sight
        assert (sight.axis, sight.smoothing, sight.cursor, sight.left) == ("step", 0.0, None, None)

    play([learning], [LossChart, LearningRateChart], scene)


def test_the_crosshair_tells_the_values_and_copies_them(
    learning: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[str] = []
    monkeypatch.setattr(DashboardApp, "copy_to_clipboard", lambda app, text: copied.append(text))

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        app.set_sight(replace(app.sight, cursor=20.0))
        await pilot.press("comma", "y")
        assert "step 19" in text(app)
        assert f"{learning.loss(19):.4g}" in text(app)
        series, place, value = copied[0].splitlines()[0].split("\t")
        assert (series, place) == ("training", "step 19")
        assert float(value) == pytest.approx(learning.loss(19))
        assert copied[0].splitlines()[1].startswith("validation\tstep 20\t")
        (note,) = app._notifications
        path = Path(note.message.split(": ", 1)[1])
        assert path.read_text("utf-8") == copied[0]

    play([learning], [LossChart], scene)


def test_a_chart_is_exported_and_overwrites_nothing(
    learning: FakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await pilot.press("e", "e")
        assert all(str(tmp_path) in note.message for note in app._notifications)

    play([learning], [LossChart], scene)
    made = sorted(path.name for path in tmp_path.iterdir() if path.is_file())
    assert made == ["fake-1-loss-2.csv", "fake-1-loss-2.svg", "fake-1-loss.csv", "fake-1-loss.svg"]
    drawing = ET.parse(tmp_path / "fake-1-loss.svg").getroot()
    assert "Loss (nats), fake-1" in [one.text for one in drawing.iter("{http://www.w3.org/2000/svg}text")]
    with (tmp_path / "fake-1-loss.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == 33
    assert float(table[9]["value"]) == learning.loss(10)
    assert [row["step"] for row in table if row["figure"] == "validation"] == ["10", "20", "30"]
    assert {row["run"] for row in table} == {"fake-1"}


def test_where_the_folder_cannot_be_written_the_data_folder_is_used(
    learning: FakeRun, nanoshell_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lost := tmp_path / "lost").mkdir()
    monkeypatch.chdir(lost)
    lost.rmdir()

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await pilot.press("e")
        assert str(nanoshell_home) in next(iter(app._notifications)).message

    play([learning], [LossChart], scene)
    assert len(list(nanoshell_home.rglob("fake-1-loss.*"))) == 2


def test_where_nothing_can_be_written_it_is_told_why(
    learning: FakeRun, nanoshell_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lost := tmp_path / "lost").mkdir()
    monkeypatch.chdir(lost)
    lost.rmdir()

    def refuse(path: Path) -> Path:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr("nanoshell.paths.private_folder", refuse)

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await pilot.press("e")
        await shows(app, pilot, lambda: bool(app._notifications))
        said = [notice.message for notice in app._notifications]
        assert len(said) == 1
        assert re.fullmatch(r"not exported: cannot write .*/exports: the file system is read-only", said[0])

    play([learning], [LossChart], scene)


def test_maximised_logarithmic_and_hidden_charts_are_remembered(learning: FakeRun, tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"

    async def first(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await pilot.press("l", "h")
        await shows(app, pilot, lambda: shown(app) == ["learning_rate", "grad_norm"])
        await shows(app, pilot, lambda: "1 hidden, u" in text(app).splitlines()[1])
        app.query_one(LearningRateChart).focus()
        await pilot.press("enter")
        assert shown(app) == ["learning_rate"]

    async def second(app: DashboardApp, pilot: Pilot[Any]) -> None:
        assert shown(app) == ["learning_rate"]
        await pilot.press("escape")
        await shows(app, pilot, lambda: shown(app) == ["learning_rate", "grad_norm"])
        assert "1 hidden, u" in text(app).splitlines()[1]
        await pilot.press("u")
        await shows(app, pilot, lambda: shown(app) == ["loss", "learning_rate"])
        await shows(app, pilot, lambda: "hidden" not in text(app).splitlines()[1])
        assert not app.query_one(LossChart).chart.log_y, "it is from the start"

    play([learning], ALL, first, state_path=kept)
    assert json.loads(kept.read_text())["maximized"] == "learning_rate"
    play([learning], ALL, second, state_path=kept)


def test_the_last_chart_cannot_be_hidden(learning: FakeRun) -> None:
    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await pilot.press("h")
        await shows(app, pilot, lambda: shown(app) == ["speed"])
        app.query_one(SpeedChart).focus()
        await pilot.press("h")
        assert app.query_one(SpeedChart).wanted(app.snapshot)
        assert any("last chart" in note.message for note in app._notifications)

    play([learning], [LossChart, SpeedChart], scene)


def test_charts_that_are_not_seen_compute_nothing(learning: FakeRun) -> None:
    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        seen, unseen = app.query_one(LossChart).chart, app.query_one(GradientChart).chart
        before = unseen.frames
        frames = seen.frames
        learning.step(5)
        await more(app, pilot)
        assert seen.frames > frames
        assert unseen.frames == before == 0
        assert unseen.series == []
        frames = seen.frames
        app._spread()
        await pilot.pause()
        assert seen.frames == frames

    play([learning], ALL, scene)


def test_ascii_charts_are_ascii(learning: FakeRun) -> None:
    learning.checkpoint()

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await pilot.press("comma")
        assert text(app).isascii(), sorted({mark for mark in text(app) if ord(mark) > 127})

    play([learning], ALL, scene, ascii=True)


def test_a_chart_of_a_plugin_needs_its_figures_alone(learning: FakeRun) -> None:
    class SpeedAgain(ChartPanel):
        panel_id = "again"
        title = "Steps/s"
        figures = (Figure("it/s", "steps per second"),)

    async def scene(app: DashboardApp, pilot: Pilot[Any]) -> None:
        (series,) = app.query_one(SpeedAgain).chart.series
        assert series.name == "steps per second"
        assert list(series.y) == [8.0] * 30
        assert "Steps/s" in text(app)

    play([learning], [SpeedAgain], scene)


def test_an_evaluation_of_training_text_is_not_called_validation(nanoshell_fake_run: Make) -> None:
    overfit, held_out = nanoshell_fake_run("overfit"), nanoshell_fake_run("honest")
    for fake, split, bits in ((overfit, "train", 0.211), (held_out, "validation", 3.913)):
        fake.step(10)
        fake.eval(bits_per_byte=bits, split=split)

    async def alone(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await shows(app, pilot, lambda: "training text 0.211" in text(app))
        assert "validation" not in text(app)
        assert "train_bits_per_byte" in shown(app)
        assert "bits_per_byte" not in shown(app)

    async def beside_another(app: DashboardApp, pilot: Pilot[Any]) -> None:
        await shows(app, pilot, lambda: "● honest-1 3.913" in text(app))
        assert [one.name for one in app.query_one(BitsPerByteChart).chart.series] == ["honest-1"]
        assert [one.name for one in app.query_one(TrainingBitsChart).chart.series] == ["overfit-1"]

    both = [BitsPerByteChart, TrainingBitsChart]
    play([overfit], both, alone)
    play([overfit, held_out], both, beside_another, size=(120, 48))
