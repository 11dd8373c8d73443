"""The order of the table of runs: its arrow, how a column is named, and how many are seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nanoshell.dashboard.panels.runorder import meant, wrong_column
from nanoshell.dashboard.panels.runs import RunsPanel
from nanoshell.dashboard.panels.runtable import COLUMNS, Column, Look, head_line, ordered
from nanoshell.runs.status import RunStatus
from nanoshell.testing import FakeRun, write_run

from .desk import run, shown
from .test_panels_runs import row


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.title)
@pytest.mark.parametrize("backwards", [False, True])
def test_the_arrow_is_down_where_the_greatest_comes_first(column: Column, backwards: bool) -> None:
    rows = []
    for name, value in (("a", 1.0), ("b", 2.0), ("c", 3.0)):
        status = RunStatus("running" if name == "a" else "stopped", name, int(value))
        status = replace(status, loss=value, val_loss=value, best_val_loss=value, tokens_per_second=value)
        config = {"trainer.learning_rate": value, "trainer.batch_size": value, "source": name}
        rows.append(row(name, value, status, int(value), config))
    first = ordered(rows, column, backwards)[0].run.name
    greatest = first != "a"
    assert first in ("abc" if column.title == "state" else "ac")
    look = Look({}, "", (), column, backwards, False, 0.0)
    ((head, _role),) = head_line(list(COLUMNS), 220, look)
    assert column.title + ("▾" if greatest else "▴") in head.split()


def test_a_column_is_meant_by_its_beginning_or_by_what_filters_call_it() -> None:
    for column in COLUMNS:
        assert meant(column.title) == [column]
    names = {"v": "val", " VAL_loss ": "val", "b": "", "be": "best", "lr": "lr", "learning_rate": "lr"}
    names |= {
        "speed": "tok/s",
        "bytes": "size",
        "name": "run",
        "reason": "why",
        "st": "",
        "step": "step/total",
    }
    for text, title in names.items():
        assert [column.title for column in meant(text)] == [title] if title else wrong_column(text), text
    assert wrong_column("st") == "'st' may be state, step/total or started"
    assert wrong_column("x").startswith("'x' is none of run, state, step/total, loss, val, best,")
    assert wrong_column("val") == ""


def test_a_column_is_named_to_sort_by_it_also_one_that_has_no_room(tmp_path: Path) -> None:
    for name, loss in (("one", 3.0), ("two", 1.0), ("three", 2.0)):
        with FakeRun(tmp_path, name) as fake:
            fake.step()
            fake.eval(val_loss=loss)
            fake.log("x" * round(5000 * loss))

    async def scene() -> None:
        async with shown(tmp_path, [RunsPanel], [], size=(70, 24)) as desk:
            panel = desk.app.query_one(RunsPanel)
            await desk.until(lambda: len(panel.rows) == 3)
            await desk.press("s")
            await desk.sees("Sort by which column?")
            await desk.type("x")
            await desk.press("enter")
            await desk.sees("'x' is none of run,")
            await desk.press("backspace")
            await desk.type("v")
            await desk.press("enter")
            await desk.sees("val▴")
            assert [row.run.name for row in panel.rows] == ["two-1", "three-1", "one-1"]
            assert "by val" not in desk.text
            await desk.press("s")
            await desk.type("size")
            await desk.press("enter")
            await desk.sees("Runs: by size▾")
            assert [row.run.name for row in panel.rows] == ["one-1", "three-1", "two-1"]

    run(scene)


def test_above_a_filtered_list_stands_how_many_of_how_many_it_has(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        write_run(tmp_path, name)

    async def scene() -> None:
        async with shown(tmp_path, [RunsPanel], []) as desk:
            await desk.sees("one-1", "two-1", "three-1")
            assert "of 3" not in desk.text
            await desk.press("slash")
            await desk.type("t")
            await desk.press("enter")
            await desk.sees("Runs: 2 of 3")
            await desk.press("escape")
            await desk.until(lambda: "of 3" not in desk.text)

    run(scene)
