"""The panel of runs: table, filter, order, difference, what plugins say, on live and on vanished runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from rich.cells import cell_len
from textual.pilot import Pilot

from nanoshell.dashboard.app import DashboardApp
from nanoshell.dashboard.panels import runs
from nanoshell.dashboard.panels.difference import difference_lines
from nanoshell.dashboard.panels.lines import Line
from nanoshell.dashboard.panels.runlist import RunList, RunReader, RunRow
from nanoshell.dashboard.panels.runs import RunsPanel
from nanoshell.dashboard.panels.runtable import (
    COLUMNS,
    NAME,
    WHY,
    Column,
    Look,
    about_run,
    fitting,
    head_line,
    ordered,
    row_line,
    widths,
)
from nanoshell.dashboard.panels.words import cut_end, cut_middle, figure_within
from nanoshell.plugin.registry import Entry
from nanoshell.runs.comparing import run_settings
from nanoshell.runs.directory import RunDirectory, create_run
from nanoshell.runs.status import RunStatus
from nanoshell.testing import FakeRun, write_run

from .desk import run, shown
from .stage import play, screen_text, until

# Table and difference


def row(
    name: str,
    created: float,
    status: RunStatus,
    num_bytes: int | None = 1,
    config: Mapping[str, Any] | None = None,
) -> RunRow:
    return RunRow(RunDirectory(Path(name)), status, created, num_bytes, config)


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.title)
def test_runs_of_which_nothing_is_known_are_last_in_both_directions(column: Column) -> None:
    low = RunStatus("crashed", "a", 1, loss=1.0, val_loss=1.0, best_val_loss=1.0, tokens_per_second=2.0)
    high = RunStatus("stopped", "b", 2, loss=2.0, val_loss=2.0, best_val_loss=2.0, tokens_per_second=3.0)
    none = RunStatus("silent", loss=float("nan"))
    small = {"trainer.learning_rate": 0.001, "trainer.batch_size": 4, "source": "a.txt"}
    large = {"trainer.learning_rate": 0.01, "trainer.batch_size": 8, "source": "b.txt"}
    rows = [
        row("unknown", 1.0, none, None),
        row("low", 2.0, low, 5, small),
        row("high", 3.0, high, 6, large),
    ]
    forth, back = ([each.run.name for each in ordered(rows, column, turned)] for turned in (False, True))
    if column.title not in ("run", "state", "started"):  # which are known of all
        assert forth[-1] == back[-1] == "unknown"
        assert forth[:2] == back[1::-1]
        assert forth[0] == ("low" if column.title in ("loss", "val", "best", "data", "why") else "high")
    else:
        assert forth == back[::-1]


def test_figures_and_names_have_the_room_that_there_is() -> None:
    assert [figure_within(value, 6) for value in (0.021811, 2.3456, 12.3456, None)] == [
        "0.0218",
        "2.346",
        "12.35",
        "",
    ]
    assert len(figure_within(-0.000123456, 6)) <= 6
    assert cut_middle("a-long-name-12", 9) == "a-lo…e-12"
    assert cell_len(cut_middle("漢字漢字漢字", 8)) == 8


def test_a_name_is_cut_in_its_middle_and_a_reason_at_its_end() -> None:
    reason = "training diverged at step 42: loss 28.65, gradient norm nan"
    crashed = row(
        "a-run-with-a-name-that-is-far-longer-than-forty-cells-12", 1.0, RunStatus("failed", reason)
    )
    columns = [NAME, WHY]
    shown = "".join(
        text for text, _ in row_line(crashed, columns, 80, Look({}, "", (), NAME, False, False, 0.0))
    )
    assert re.search(r"a-run-with-\S+…\S+cells-12 training diverged at step 42: \S*.*…$", shown)
    assert cell_len(cut_end("漢字漢字", 5)) == 5


@given(st.integers(20, 160))
def test_no_value_leaves_its_name(width: int) -> None:
    status = RunStatus(
        "running", step=5, epoch=1.5, best_val_loss=2.5, best_step=1200, learning_rate=0.001, eta_seconds=99.0
    )
    status = replace(status, started=1.7e9, pid=12, host="a-machine")
    lines = ["".join(text for text, _ in line) for line in about_run(row("a", 1.0, status, 2000), width)]
    figures = "\n".join(lines[1:-1])
    for part in ("best 2.5 at step 1,200", "epoch 1.5", "learning rate 0.001", "process 12 on a-machine"):
        assert part in figures
    assert all(len(line.rstrip()) <= max(width, 29) for line in lines[1:-1])


def test_the_size_of_a_run_that_has_ended_is_what_it_is_now(tmp_path: Path) -> None:
    reader = RunReader()
    with FakeRun(tmp_path) as fake:
        fake.step()
        before = reader.read(tmp_path, [], configs=False).rows[0].num_bytes
        (fake.checkpoint() / "more.bin").write_bytes(b"x" * 50_000)
        fake.crash()
        after = reader.read(tmp_path, [], configs=False).rows[0].num_bytes
        assert before is not None
        assert after == fake.run.size_bytes() > before + 50_000


def compared(width: int = 78, **settings: dict[str, object]) -> list[str]:
    lines = difference_lines(list(settings), list(settings.values()), width)
    return ["".join(text for text, _ in line) for line in lines]


def test_settings_within_settings_are_compared_one_by_one() -> None:
    records = [
        {"trainer": {"options": {"muon": {"momentum": value, "nesterov": True}}}} for value in (0.9, 0.95)
    ]
    before, after = (run_settings(record, []) for record in records)
    lines = compared(one=before, two=after)
    assert [line.split() for line in lines[1:]] == [["trainer.options.muon.momentum", "0.9", "0.95"]]


def test_a_long_value_is_folded_and_whole_on_both_sides() -> None:
    before, after = {"source": "x/" * 40 + "one.txt"}, {"source": "y/" * 40 + "two.txt"}
    lines = compared(a=before, b=after)
    assert all(len(line) <= 78 for line in lines)
    left = "".join(line[8:].split()[0] for line in lines[1:])
    right = "".join(line[8:].split()[1] for line in lines[1:])
    assert (left, right) == (before["source"], after["source"])


@pytest.mark.parametrize("width", [40, 62, 78, 100, 158])
def test_columns_fit_and_the_name_keeps_its_room(width: int) -> None:
    columns = fitting(width)
    titles = [column.title for column in columns]
    assert ("lr" in titles) is (width >= 78), "what runs are tried out with before how fast they are"
    look = Look({}, "", (), NAME, False, False, 0.0)
    (head, _role), *_ = head_line(columns, width, look)
    assert cell_len(head) <= width
    assert head.endswith("›") is (len(columns) < len(COLUMNS))
    assert columns[:2] == list(COLUMNS[:2])
    assert 3 + sum(each + 1 for each in widths(columns, width)) <= width + 1
    assert widths(columns, width)[0] >= 14
    assert {"lr", "batch", "data"} <= {column.title for column in fitting(119)}
    assert len(fitting(159)) == len(COLUMNS)


def test_the_name_takes_what_it_needs_and_the_rest_goes_to_the_reason() -> None:
    columns = fitting(200)
    short, long = (dict(zip(columns, widths(columns, 200, name), strict=True)) for name in (6, 90))
    assert (short[NAME], long[NAME]) == (14, 40)
    assert short[WHY] - long[WHY] == 26


def test_a_difference_names_both_values_and_fits() -> None:
    before = {"trainer.learning_rate": 1e-3, "trainer.seed": 1, "source": "a" * 200}
    after = {"trainer.learning_rate": 2e-3, "trainer.seed": 1, "source": "b"}
    lines = compared(one=before, two=after)
    assert "one" in lines[0]
    assert lines[1].split() == ["trainer.learning_rate", "0.001", "0.002"]
    assert not any("seed" in line for line in lines)
    assert all(len(line) <= 78 for line in lines)


def test_a_difference_of_several_has_a_column_for_each() -> None:
    rates = {f"run-{number}": {"trainer.learning_rate": number, "seed": 1} for number in range(4)}
    rates["run-3"]["source"] = "漢字" * 16
    lines = compared(78, **rates)
    assert lines[0].split() == ["run-0", "run-1", "run-2", "run-3"]
    assert lines[1].split() == ["trainer.learning_rate", "0", "1", "2", "3"]
    assert len({line.index(mark) for line, mark in ((lines[0], "run-3"), (lines[1], "3"))}) == 1
    assert all(cell_len(line) <= 78 for line in lines)
    assert sum(line.count("漢") for line in lines) == 16
    same = compared(78, a={"seed": 1}, b={"seed": 1}, c={"seed": 1})
    assert same == ["a, b and c were given the same config and data"]


# The panel


def test_every_state_is_in_the_table_with_its_reason_below(tmp_path: Path) -> None:
    write_run(tmp_path, "done")
    write_run(tmp_path, "bad", state="failed")
    write_run(tmp_path, "gone", state="crashed")
    fake = FakeRun(tmp_path, "live")
    fake.step(3)

    async def scene() -> None:
        async with shown(tmp_path, [RunsPanel], [fake]) as desk:
            await desk.sees("live-1", "gone-1", "bad-1", "done-1")
            assert "3/1,000" in desk.line("live-1")
            assert "●>" in desk.line(" live-1         ")
            assert "failed" in desk.line("bad-1")
            assert "crashed" in desk.line("gone-1")
            names = [line.split()[-8:] for line in desk.lines if "-1 " in line and "/12" in line]
            assert len(names) == 3
            panel = desk.app.query_one(RunsPanel)
            panel._choose("bad-1")
            await desk.sees("failed: as the test wants it")
            fake.step(4)
            fake.eval()
            desk.feed.read()
            await desk.sees("7/1,000")
            fake.state("paused", "a full disk")
            desk.feed.read()
            await desk.until(lambda: any("paused" in line and "7/1,000" in line for line in desk.lines[4:]))

    run(scene)
    fake.close()


def test_the_newest_run_is_first_and_the_order_can_be_another(tmp_path: Path) -> None:
    for name, loss in (("one", 3.0), ("two", 1.0), ("three", 2.0)):
        fake = FakeRun(tmp_path, name)
        fake.step(1, loss=loss)
        fake.finish()

    async def scene() -> None:
        async with shown(tmp_path, [RunsPanel], []) as desk:
            panel = desk.app.query_one(RunsPanel)
            await desk.sees("three-1")

            def order() -> list[str]:
                return [row.run.name for row in panel.rows]

            assert order() == ["three-1", "two-1", "one-1"]
            await desk.press("home", "o", "o", "o", "o", "o")
            await desk.sees("loss▴")
            assert order() == ["two-1", "three-1", "one-1"]
            await desk.press("r")
            await desk.sees("loss▾")
            assert order() == ["one-1", "three-1", "two-1"]
            head = next(y for y, line in enumerate(desk.lines) if "loss▾" in line)
            await desk.pilot.click(offset=(desk.lines[head].index("state"), head))
            await desk.sees("state▴")
            await desk.pilot.click(offset=(5, head + 2))
            await desk.pilot.pause()
            assert panel.chosen == order()[1]

    run(scene)


def test_keys_focus_show_and_hide(tmp_path: Path) -> None:
    first, second = FakeRun(tmp_path, "first"), FakeRun(tmp_path, "second")

    async def scene() -> None:
        async with shown(tmp_path, [RunsPanel], [first]) as desk:
            await desk.sees("first-1", "second-1")
            panel = desk.app.query_one(RunsPanel)
            assert panel.chosen == "first-1"
            await desk.press("space", "up", "space", "enter")
            assert desk.feed.asked == [
                ("show", "first-1", False),
                ("show", "second-1", True),
                ("focus", "second-1"),
            ]

    run(scene)
    first.close()
    second.close()


def test_the_filter_is_typed_live_and_its_errors_stand_below(tmp_path: Path) -> None:
    fast, slow = FakeRun(tmp_path, "fast"), FakeRun(tmp_path, "slow", total_steps=50)
    slow.step(2)

    async def scene() -> None:
        async with shown(tmp_path, [RunsPanel], [fast, slow]) as desk:
            panel = desk.app.query_one(RunsPanel)
            await desk.until(lambda: len(panel.rows) == 2)
            await desk.press("slash")
            await desk.type("max_steps=50")
            await desk.until(lambda: [row.run.name for row in panel.rows] == ["slow-1"])
            await desk.type(" los>")
            await desk.sees("did you mean 'loss'? F1 lists what can be asked")
            assert [row.run.name for row in panel.rows] == ["slow-1"]
            await desk.press("enter")
            assert not panel.has_focus, "what is typed to mend it must be no key of a run"
            await desk.press("backspace", "backspace", "backspace", "backspace", "enter")
            assert panel.has_focus
            await desk.sees("max_steps=50")
            await desk.press("slash")
            await desk.type(" loss>99")
            await desk.sees("no run fulfils the filter; Esc removes it")
            await desk.press("enter", "escape")
            assert panel.has_focus
            assert len(panel.rows) == 2
            assert "max_steps" not in desk.text

    run(scene)
    fast.close()
    slow.close()


def test_two_runs_are_compared_by_what_they_were_given(tmp_path: Path) -> None:
    first, second = FakeRun(tmp_path, "first"), FakeRun(tmp_path, "second", total_steps=77)
    second.control("set", values={"learning_rate": 0.5}, before={"learning_rate": 0.01})

    async def scene() -> None:
        async with shown(tmp_path, [RunsPanel], [first, second]) as desk:
            panel = desk.app.query_one(RunsPanel)
            await desk.until(lambda: len(panel.rows) == 2)
            await desk.press("d")
            await desk.sees("choose another run", "folder")  # there is nothing to give the room to
            assert not panel.has_class("-comparing")
            panel._choose("second-1")
            await desk.sees("trainer.max_steps")
            assert panel.has_class("-comparing")
            assert "horizon" not in desk.text  # it would say the same once more
            assert desk.line("trainer.max_steps").split() == ["trainer.max_steps", "1000", "77"]
            assert desk.line("changed.learning_rate").split() == ["changed.learning_rate", "-", "0.5"]
            await desk.press("m", "home", "end")
            await desk.until(lambda: desk.line("trainer.max_steps").split()[1:] == ["77", "1000"])
            await desk.press("m", "up")  # two are marked now: it does not matter which one is chosen
            assert panel.marked == ("second-1", "first-1")
            await desk.until(lambda: desk.line("trainer.max_steps").split()[1:] == ["77", "1000"])
            second.run.record_path.write_text("trainer: [")
            await desk.press("d", "d")
            await desk.sees("is damaged")
            await desk.press("d", "m")
            await desk.sees("folder")
            assert panel.marked == ("first-1",)

    run(scene)
    first.close()
    second.close()


def test_as_many_marked_runs_are_compared_as_have_room(tmp_path: Path) -> None:
    fakes = [FakeRun(tmp_path, name, total_steps=50 + at) for at, name in enumerate("abcde")]

    async def scene() -> None:
        async with shown(tmp_path, [RunsPanel], fakes, size=(80, 40)) as desk:
            panel = desk.app.query_one(RunsPanel)
            await desk.until(lambda: len(panel.rows) == 5)
            for fake in fakes:
                panel._choose(fake.run.name)
                await desk.press("m")
            await desk.press("d")
            await desk.sees("trainer.max_steps")
            assert desk.line("trainer.max_steps").split()[1:] == ["50", "51", "52"]
            assert "no room for d-1, e-1: a wider window has some" in desk.text
            await desk.press("m")
            assert panel.marked == ("a-1", "b-1", "c-1", "d-1")
            await desk.until(lambda: "no room for d-1:" in desk.text)

    run(scene)
    for fake in fakes:
        fake.close()


def test_what_plugins_say_is_shown_and_a_broken_one_is_named(tmp_path: Path) -> None:
    fake = FakeRun(tmp_path)

    def broken(found: object) -> None:
        raise ValueError("no luck")

    sections = [
        Entry("notes", lambda found: ["a first\x1b[31m note", "another"], "notes"),
        Entry("odd", broken, "strange"),
        Entry("empty", lambda found: None, "notes"),
    ]

    async def scene() -> None:
        async with shown(tmp_path, [RunsPanel], [fake], sections=sections, size=(100, 40)) as desk:
            await desk.sees(
                "a first", "another", "plugin 'strange' failed to make 'odd': ValueError: no luck"
            )
            assert "\x1b" not in desk.text
            assert "empty" not in desk.text

    run(scene)
    fake.close()


class Clock:
    """A clock that stands until a test moves it; of a processor's time there is never any."""

    now = 1_767_225_600.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return 0.0


def test_ages_grow_though_nothing_else_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("nanoshell.dashboard.panels.runs.time", clock)
    with FakeRun(tmp_path, "old") as fake:
        fake.finish()
    begun = fake.run.created()
    assert begun is not None

    async def scene() -> None:
        async with shown(tmp_path, [RunsPanel], [fake]) as desk:
            panel = desk.app.query_one(RunsPanel)
            for minutes in (1, 7):
                clock.now = begun + 60 * minutes + 30
                panel._read(force=True)
                await desk.sees(f"{minutes}m ago")

    run(scene)


@pytest.mark.parametrize("rows", [10, 11, 12, 14, 24])
def test_on_a_low_screen_runs_are_seen_before_what_is_known_of_one(tmp_path: Path, rows: int) -> None:
    for number in range(5):
        write_run(tmp_path, f"run-{number}")

    async def scene() -> None:
        async with shown(tmp_path, [RunsPanel], [], size=(40, rows)) as desk:
            await desk.until(lambda: desk.text.count("finished") >= 3)
            await desk.press("end")
            await desk.until(lambda: sum(f"run-{number}-1" in desk.text for number in range(5)) >= 3)
            await desk.press("m", "home", "d")
            await desk.until(lambda: desk.app.query_one(RunsPanel).has_class("-comparing"))
            await desk.sees("model.name")

    run(scene)


def test_a_list_that_has_not_changed_is_not_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []

    def counted(row: RunRow, *about: Any) -> Line:
        drawn.append(row.run.name)
        return row_line(row, *about)

    monkeypatch.setattr("nanoshell.dashboard.panels.rundrawn.row_line", counted)
    monkeypatch.setattr("nanoshell.dashboard.panels.runs.READ_SECONDS", 3600.0)
    monkeypatch.setattr("nanoshell.dashboard.panels.runs.time", Clock())
    read = RunReader.read
    reads: list[RunList] = []

    def noted(*about: Any, **wanted: Any) -> RunList:
        reads.append(read(*about, **wanted))
        return reads[-1]

    monkeypatch.setattr(RunReader, "read", noted)
    for number in range(20):
        with FakeRun(tmp_path, f"run-{number}") as fake:
            fake.step(3)
            fake.finish()

    async def scene() -> None:
        async with shown(tmp_path, [RunsPanel], [fake]) as desk:
            panel = desk.app.query_one(RunsPanel)
            await desk.until(lambda: len(panel.rows) == 20 and all(row.config for row in panel._found.rows))
            await desk.until(lambda: panel.parent._seen is desk.app.snapshot and not panel._list.busy)
            await desk.press("home")
            known = panel._found
            drawn.clear()
            before = len(reads)
            panel._read(force=True)
            await desk.until(lambda: len(reads) > before and not panel._list.busy)
            await desk.press("down", "down")
            assert reads[-1] == known
            assert panel._found is known
            assert set(drawn) <= {fake.run.name}  # how it stands comes with every snapshot
            (tmp_path / "late-1").mkdir()
            (tmp_path / "late-1" / "run.yaml").write_bytes(fake.run.record_path.read_bytes())
            panel._read(force=True)
            await desk.until(lambda: len(panel.rows) == 21 and "late-1" in drawn)

    run(scene)


def test_a_run_that_appears_is_listed_and_one_that_vanishes_goes(tmp_path: Path) -> None:
    fake = FakeRun(tmp_path, "stays")
    other = FakeRun(tmp_path, "goes")

    async def scene() -> None:
        async with shown(tmp_path, [RunsPanel], [fake]) as desk:
            panel = desk.app.query_one(RunsPanel)
            await desk.sees("stays-1", "goes-1")
            other.vanish()
            create_run(tmp_path, "comes", {"trainer": "no mapping"})
            panel._read(force=True)
            await desk.sees("comes-1")
            await desk.until(lambda: "goes-1" not in desk.text)
            fake.vanish()
            panel._read(force=True)
            desk.feed.read(status=RunStatus("gone", "its folder is gone"))
            await desk.sees("its folder is gone")
            assert desk.line(" stays-1 ").split()[1:3] == ["stays-1", "gone"]
            desk.feed.hand()  # it is in the charts no more
            await desk.until(lambda: not desk.app.snapshot.courses)
            panel._read(force=True)
            await desk.until(lambda: [row.run.name for row in panel.rows] == ["comes-1"])

    run(scene)


def test_what_vanishes_under_the_hand_leaves_the_keys_where_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what reads the runs in earnest: chosen runs go, then the one that has the focus."""
    monkeypatch.setattr(runs, "READ_SECONDS", 0.05)
    fakes = {name: FakeRun(tmp_path, name) for name in ("one", "two", "three", "four")}  # the newest is first
    app = DashboardApp(tmp_path, ["one-1"], panels=[Entry("runs", RunsPanel, "tests")])

    async def scene(pilot: Pilot[None]) -> None:
        app.action_view(1)
        panel = app.query_one(RunsPanel)

        def names() -> list[str]:
            return [row.run.name for row in panel.rows]

        def focused() -> str:
            return app.snapshot.focused.run.name if app.snapshot.focused else ""

        await until(pilot, lambda: len(names()) == 4 and focused() == "one-1")
        assert names() == ["four-1", "three-1", "two-1", "one-1"]
        await pilot.press("home")
        assert panel.chosen == "four-1"
        (tmp_path / "away").mkdir()  # at once: while files are deleted one by one the order may change
        fakes["four"].run.path.rename(tmp_path / "away" / "four-1")
        await until(pilot, lambda: names() == ["three-1", "two-1", "one-1"])
        await until(pilot, lambda: panel.chosen != "four-1")
        assert panel.chosen == "three-1", "the next one, not the one that has the focus"
        await pilot.press("down")
        assert panel.chosen == "two-1"
        fakes["two"].vanish()
        await until(pilot, lambda: names() == ["three-1", "one-1"])
        await until(pilot, lambda: panel.chosen == "one-1")
        fakes["one"].vanish()
        await until(pilot, lambda: re.search(r">.*one-1 +gone", screen_text(app)))
        await pilot.press("space")
        await until(pilot, lambda: names() == ["three-1"])
        await until(pilot, lambda: panel.chosen == "three-1")
        await pilot.press("enter")
        await until(pilot, lambda: focused() == "three-1")

    play(app, scene)
    assert app.failure is None


def test_it_is_usable_without_colour_and_beyond_ascii(tmp_path: Path) -> None:
    fake = FakeRun(tmp_path)
    fake.finish("failed", "the loss → \x1b]0;title\x07nan …")

    async def scene() -> None:
        async with shown(tmp_path, [RunsPanel], [fake], ascii=True) as desk:
            await desk.sees("o> fake-1", "startedv", "the loss -> ")
            assert desk.text.isascii()

    run(scene)


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    async def scene() -> None:
        async with shown(tmp_path / "none", [RunsPanel], []) as desk:
            await desk.sees("there are no runs in")

    run(scene)
