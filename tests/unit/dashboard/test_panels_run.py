"""Overview and System: what a run was given and has kept, and what it takes of the machine."""

from __future__ import annotations

import math
import socket
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nanoshell.dashboard.course import Course, Series
from nanoshell.dashboard.panels.bars import ASCII, BLOCKS, bars
from nanoshell.dashboard.panels.facts import read_facts
from nanoshell.dashboard.panels.overview import OverviewPanel, fact_lines, packed
from nanoshell.dashboard.panels.system import Machine, MachineReader, SystemPanel, share_of, system_lines
from nanoshell.plugin.registry import Entry
from nanoshell.runs.directory import RunDirectory
from nanoshell.runs.status import RunStatus
from nanoshell.testing import FakeRun

from .desk import run, shown

MACHINE = Machine("here", 8, 16e9, 4e9, 0.25, 500e9, 1e12)


def series(*values: float) -> Series:
    steps = np.arange(len(values), dtype=np.float64)
    return Series(steps, steps, steps, np.array(values))


def texts(lines: list) -> list[str]:
    return ["".join(text for text, _ in line).rstrip() for line in lines]


def squeezed(line: str) -> str:
    return " ".join(line.split())


# Overview


def test_facts_come_from_the_folder_and_load_no_torch(tmp_path: Path) -> None:
    fake = FakeRun(tmp_path)
    fake.step(2)
    fake.checkpoint()
    fake.finish()
    program = (
        "import sys; from pathlib import Path; from nanoshell.runs.directory import RunDirectory; "
        "from nanoshell.dashboard.panels.facts import read_facts; "
        f"print(read_facts(RunDirectory(Path({str(fake.run.path)!r}))).split.total, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    facts = read_facts(fake.run)
    assert facts.split is not None
    assert done.stdout.split() == [str(facts.split.total), "False"]
    assert [kept.step for kept in facts.checkpoints] == [2]
    assert facts.latest == fake.run.checkpoints_dir / "step-000002"
    assert facts.machine["device_name"] == "a made-up machine"
    assert "trainer.max_steps" in facts.given
    assert "trainer.seed" in facts.given  # 7, and 1337 is the default
    assert "model.hidden_size" in facts.given


def test_defaults_are_not_bright(tmp_path: Path) -> None:
    fake = FakeRun(tmp_path)
    fake.close()
    text = fake.run.record_path.read_text().replace(
        "  seed: 7", "  seed: 1337\n  schedule: cosine\n  betas: [0.9, 0.95]"
    )
    fake.run.record_path.write_text(text)
    facts = read_facts(fake.run)
    assert not facts.problem
    assert {"trainer.schedule", "trainer.betas", "trainer.seed"}.isdisjoint(facts.given)
    roles = {key.strip(): role for line in fact_lines(facts, 78) for (key, _), (_, role) in pairs(line)}
    assert roles["learning_rate"] == "bright"
    assert roles["schedule"] == ""


def pairs(line: tuple) -> list:
    """Return names and values of a packed line; none of another line."""
    return list(zip(line[0::3], line[1::3], strict=False)) if len(line) >= 3 and line[0][1] == "quiet" else []


def test_a_record_that_is_gone_or_damaged_is_told(tmp_path: Path) -> None:
    assert "is gone" in texts(fact_lines(read_facts(RunDirectory(tmp_path / "none")), 78))[0]
    fake = FakeRun(tmp_path)
    fake.close()
    fake.run.record_path.write_text("model: [")
    assert "is damaged" in texts(fact_lines(read_facts(fake.run), 78))[0]
    fake.run.record_path.write_text("model: 3\ntrainer: []\ncorpus: x\nprovenance: 1\nsource: a\n")
    assert "Data" in texts(fact_lines(read_facts(fake.run), 78))


@given(
    st.lists(st.tuples(st.text("abc_", min_size=1, max_size=30), st.text("xyz /", min_size=1, max_size=90))),
    st.sampled_from([40, 78, 158]),
)
def test_packing_keeps_every_value_in_its_order(items: list[tuple[str, str]], width: int) -> None:
    lines = packed([(name, value, "") for name, value in items], width)
    values = [text for line in lines for text, _ in line[1::3]]
    assert values == [value for _, value in items]
    for line in lines:
        if len(line) > 3:
            assert sum(len(text) for text, _ in line) <= width


def test_the_overview_shows_all_parts_and_follows_checkpoints(tmp_path: Path) -> None:
    fake = FakeRun(tmp_path)
    sections = [Entry("notes", lambda found: "remember the milk", "notes")]

    async def scene() -> None:
        async with shown(tmp_path, [OverviewPanel], [fake], sections=sections, size=(160, 60)) as desk:
            parts = (
                "Data",
                "Parameters",
                "Model: size",
                "Training: update",
                "Machine",
                "Origin",
                "Checkpoints",
            )
            await desk.sees(*parts, "none yet", "8,192", "tiny.txt", "a made-up machine", "remember the milk")
            assert "0.01" in desk.line("learning_rate")
            fake.step(5)
            fake.eval()
            path = fake.checkpoint()
            (fake.run.checkpoints_dir / "best").write_text(path.name)
            desk.feed.read()
            await desk.sees("step 5", "newest, best")
            fake.vanish()
            desk.feed.read()
            await desk.until(lambda: "crashed" in desk.text)

    run(scene)


def test_the_overview_scrolls_at_80_by_24(tmp_path: Path) -> None:
    fake = FakeRun(tmp_path)

    async def scene() -> None:
        async with shown(tmp_path, [OverviewPanel, SystemPanel], [fake]) as desk:
            await desk.sees("Data", "tiny.txt", "processor")
            await desk.press("end")
            await desk.sees("Checkpoints")
            assert "tiny.txt" not in desk.text
            await desk.press("home")
            await desk.sees("tiny.txt")

    run(scene)
    fake.close()


# System


def test_gauges_tell_the_newest_value_the_highest_and_the_total() -> None:
    figures = {"cpu": series(1, 3.5, 2), "memory": series(1e9, 15e9), "tokens/s": series(math.nan, 4000)}
    course = Course(RunDirectory(Path("x")), RunStatus("running", host="here"), figures)
    lines = texts(system_lines(course, MACHINE, 100))
    assert squeezed(lines[0]).endswith("2.0 of 8 cores at most 3.5")
    assert squeezed(lines[1]).endswith("15.0 GB of 16.0 GB at most 15.0 GB")
    assert squeezed(lines[2]).endswith("4k at most 4k")
    assert lines[3:5] == ["steps/s     not recorded", "GPU         none"]
    assert "25% of 8 cores busy, 4.0 GB of 16.0 GB in use" in lines[5]
    assert "500 GB free of 1.0 TB" in lines[6]
    assert all(len(line) <= 100 for line in lines)
    away = replace(course, status=RunStatus("running", host="elsewhere"))
    assert "it trains on elsewhere" in texts(system_lines(away, MACHINE, 100))[5]
    assert squeezed(texts(system_lines(away, MACHINE, 100))[0]).endswith("2.0 cores at most 3.5")


def test_a_gpu_is_shown_where_there_is_one_and_nothing_is_claimed_of_older_logs() -> None:
    with_gpu = {"cpu": series(1), "gpu": series(0.5, 0.75), "gpu_memory": series(2e9)}
    lines = texts(system_lines(Course(RunDirectory(Path("x")), RunStatus("finished"), with_gpu), MACHINE, 78))
    assert squeezed(lines[2]).endswith("75% at most 75%")
    assert squeezed(lines[3]).endswith("2.0 GB at most 2.0 GB")
    older = Course(RunDirectory(Path("x")), RunStatus("finished"), {"tokens/s": series(4000)})
    told = texts(system_lines(older, MACHINE, 78))
    assert told[2:4] == ["GPU         not recorded", "GPU memory  not recorded"]


def test_a_gpu_that_does_not_tell_how_busy_it_is_says_what_is_missing() -> None:
    held = {"cpu": series(1), "gpu_memory": series(2e9)}
    lines = texts(system_lines(Course(RunDirectory(Path("x")), RunStatus("running"), held), MACHINE, 78))
    assert lines[2] == "GPU         not recorded; for an NVIDIA GPU: pip install 'nanoshell[gpu]'"
    assert len(lines[2]) <= 80
    extras = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text("utf-8"))["project"]
    assert any(need.startswith("nvidia-ml-py") for need in extras["optional-dependencies"]["gpu"])


def test_few_values_leave_no_gaps() -> None:
    assert bars(series(1.0, 2.0), 6) == BLOCKS[3] * 5 + BLOCKS[-1]


def test_little_room_on_the_disk_is_a_warning_and_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    course = Course(RunDirectory(tmp_path), RunStatus("running"))
    lines = system_lines(course, replace(MACHINE, free=1e9), 78)
    assert ("1.0 GB free of 1.0 TB", "warning") in lines[-1]
    reader = MachineReader()
    assert "the folder is gone" in texts(system_lines(course, reader.read(tmp_path / "none"), 78))[-1]
    assert reader.read(tmp_path).host == socket.gethostname()


def test_how_busy_the_machine_is_shows_between_two_readings_or_is_not_known(tmp_path: Path) -> None:
    assert share_of((10.0, 100.0), (13.0, 104.0)) == 0.75
    assert share_of((10.0, 100.0), (10.0, 104.0)) is None  # whoever reads was at work
    assert share_of((0.0, 0.0), (0.0, 0.0)) is None
    course = Course(RunDirectory(tmp_path), RunStatus("running", host="here"))
    told = texts(system_lines(course, replace(MACHINE, busy=None), 78))
    assert any("8 cores, how busy is not known, 4.0 GB of 16.0 GB in use" in line for line in told)


def test_no_spike_is_lost_among_many_values() -> None:
    values = [1.0] * 5000
    values[2500] = 100.0
    row = bars(series(*values), 40)
    assert row.count(BLOCKS[-1]) == 1
    assert row[20] == BLOCKS[-1]
    assert len(row) == 40


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=60), st.integers(1, 30), st.booleans()
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_bars_take_any_values(values: list[float], width: int, ascii_only: bool) -> None:
    row = bars(series(*values), width, ascii=ascii_only)
    assert len(row) <= width
    assert set(row) <= set((ASCII if ascii_only else BLOCKS) + " ")
    assert bool(row) is any(map(math.isfinite, values))


def test_the_panel_draws_what_heartbeats_tell(tmp_path: Path) -> None:
    fake = FakeRun(tmp_path)
    fake.step(1)

    async def scene() -> None:
        async with shown(tmp_path, [SystemPanel], [fake]) as desk:
            await desk.sees("not recorded", "free of")
            fake.step(1)
            fake.beat(memory=1.5e9, cpu=1.25)
            desk.feed.read()
            await desk.sees("1.2 of", "1.5 GB of")
            fake.vanish()
            desk.app.query_one(SystemPanel)._read()
            await desk.sees("the folder is gone")

    run(scene)
