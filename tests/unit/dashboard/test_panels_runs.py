"""The panel of runs: table, filter, order, difference, what plugins say, on live and on vanished runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanoshell.dashboard.panels.difference import difference_lines
from nanoshell.dashboard.panels.filter import config_values, fulfils, parse_filter
from nanoshell.dashboard.panels.runs import RunsPanel
from nanoshell.dashboard.panels.runtable import COLUMNS, fitting, widths
from nanoshell.errors import UsageError
from nanoshell.plugin.registry import Entry
from nanoshell.runs.directory import create_run
from nanoshell.testing import FakeRun, write_run
from nanoshell.training.keys import config_keys

from .desk import run, shown

KEYS = frozenset(config_keys())
VALUES = {
    "name": "nano-3",
    "state": "finished",
    "loss": 1.5,
    "val_loss": 1.75,
    "best": None,
    "step": 2000,
    "trainer.learning_rate": 0.003,
    "trainer.shuffle": "windows",
    "trainer.keep_best": True,
    "trainer.betas": [0.9, 0.95],
    "model.hidden_size": 64,
}


# The filter


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", True),
        ("lr>1e-3 val_loss<2 name~nano state=finished", True),
        ("lr>1e-3 val_loss<1", False),
        ("learning_rate=0.003", True),
        ("trainer.learning_rate<=3e-3", True),
        ("hidden_size=64 model.hidden_size>=64", True),
        ("hidden_size!=64", False),
        ("step>=2k", True),
        ("step<2k", False),
        ("nano", True),
        ("name!~^tiny", True),
        ("name~^ano", False),
        ("STATE==Finished", True),
        ("keep_best=yes shuffle=windows", True),
        ("keep_best=false", False),
        ("best<9", False),
        ("best>0", False),
        ("best=none", True),
        ("best!=3", True),
        ('betas="0.9, 0.95"', True),
        ("loss=nan", False),
        ("loss<inf", True),
    ],
)
def test_conditions_hold_of_what_they_say(text: str, holds: bool) -> None:
    assert fulfils(VALUES, parse_filter(text, KEYS)) is holds


def test_a_loss_that_is_no_number_is_found_and_is_below_nothing() -> None:
    values = {"loss": float("nan")}
    assert fulfils(values, parse_filter("loss=nan", KEYS))
    assert not fulfils(values, parse_filter("loss<1e9", KEYS))
    assert not fulfils(values, parse_filter("loss>0", KEYS))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("los<2", "did you mean 'loss'?"),
        ("hiden_size=3", "did you mean 'hidden_size'?"),
        ("loss<two", "'two' is no number"),
        ("loss<", "lacks a value"),
        ("<2", "lacks a name"),
        ("name~[", "no regular expression"),
        ('name="a', "a quotation mark is missing"),
    ],
)
def test_a_wrong_condition_says_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_filter(text, KEYS)
    assert said in raised.value.message


def test_the_keys_of_a_record_are_dotted_also_within_mappings() -> None:
    record = {"source": "a.txt", "model": {"layer_options": {"kernel": 3}}, "trainer": None}
    found = config_values(record)
    assert found["model.layer_options.kernel"] == 3
    assert found["source"] == "a.txt"


# Table and difference


@pytest.mark.parametrize("width", [40, 62, 78, 100, 158])
def test_columns_fit_and_the_name_keeps_its_room(width: int) -> None:
    columns = fitting(width)
    assert columns[:2] == list(COLUMNS[:2])
    assert 3 + sum(each + 1 for each in widths(columns, width)) <= width + 1
    assert widths(columns, width)[0] >= 14
    assert len(fitting(100)) == len(COLUMNS)


def test_a_difference_names_both_values_and_fits() -> None:
    before = {"trainer.learning_rate": 1e-3, "trainer.seed": 1, "source": "a" * 200}
    after = {"trainer.learning_rate": 2e-3, "trainer.seed": 1, "source": "b"}
    lines = ["".join(text for text, _ in line) for line in difference_lines("one", "two", before, after, 78)]
    assert "one" in lines[0]
    assert lines[1].split() == ["trainer.learning_rate", "0.001", "0.002"]
    assert not any("seed" in line for line in lines)
    assert all(len(line) <= 78 for line in lines)


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
            await desk.press("home", "o", "o", "o", "o")
            await desk.sees("loss▾")
            assert order() == ["two-1", "three-1", "one-1"]
            await desk.press("r")
            await desk.sees("loss▴")
            assert order() == ["one-1", "three-1", "two-1"]
            head = next(y for y, line in enumerate(desk.lines) if "loss▴" in line)
            await desk.pilot.click(offset=(desk.lines[head].index("state"), head))
            await desk.sees("state▾")
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
            await desk.sees("did you mean 'loss'?")
            assert [row.run.name for row in panel.rows] == ["slow-1"]
            await desk.press("backspace", "backspace", "backspace", "backspace", "enter")
            assert panel.has_focus
            await desk.sees("max_steps=50")
            await desk.press("slash")
            await desk.type(" loss>99")
            await desk.sees("none of the 2 runs fulfils the filter")
            await desk.press("escape")
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
            await desk.sees("choose another run")
            panel._choose("second-1")
            await desk.sees("trainer.max_steps")
            assert desk.line("trainer.max_steps").split() == ["trainer.max_steps", "1000", "77"]
            assert desk.line("changed.learning_rate").split() == ["changed.learning_rate", "-", "0.5"]
            await desk.press("m", "home", "end")
            await desk.until(lambda: desk.line("trainer.max_steps").split()[1:] == ["77", "1000"])
            await desk.press("d")
            await desk.sees("folder")

    run(scene)
    first.close()
    second.close()


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
            await desk.until(lambda: [row.run.name for row in panel.rows] == ["comes-1"])

    run(scene)


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
