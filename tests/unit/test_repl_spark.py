"""The course of a loss in a few letters, from logs of any length and in any state."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from nanoshell.repl import spark
from nanoshell.repl.spark import BLOCK_BYTES, BLOCKS, POINTS, course, sparkline


def write(path: Path, losses: list[float | None], *, first: int = 1) -> None:
    with path.open("a") as file:
        for step, loss in enumerate(losses, first):
            event = {"t": 1.0, "type": "step", "step": step, "loss": loss, "tokens/s": 1.0}
            file.write(json.dumps(event | ({"not_finite": {"loss": "nan"}} if loss is None else {})) + "\n")
            file.write('{"t": 1.0, "type": "heartbeat", "state": "running"}\n')


@given(st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=30))
def test_each_letter_is_as_high_as_the_logarithm(losses: list[float]) -> None:
    letters = sparkline(losses)
    low, high = math.log(min(losses)), math.log(max(losses))
    if high - low > 1e-6:
        shares = [(math.log(loss) - low) / (high - low) for loss in losses]
        pairs = zip(letters, shares, strict=True)
        assert all(abs(BLOCKS.index(letter) - share * 7.5) < 1 for letter, share in pairs)
        assert {letters[losses.index(min(losses))], letters[losses.index(max(losses))]} == {"▁", "█"}
    else:
        assert letters == "▁" * len(losses)


@pytest.mark.parametrize(
    ("losses", "letters"),
    [([], ""), ([1.0], ""), ([1.0, 1.0], "▁▁"), ([math.nan] * 2, "!!"), ([2.0, math.nan, 1.0, 0.0], "█!▁▁")],
)
def test_losses_without_a_height(losses: list[float], letters: str) -> None:
    assert sparkline(losses) == letters


def test_a_short_log_is_told_whole(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    assert course(path) == []
    write(path, [4.0, 3.0, 2.0])
    assert course(path) == [4.0, 3.0, 2.0]
    write(path, [1.0] * 17, first=4)
    assert course(path) == [3.5, 1.5, *[1.0] * 8]


def test_a_log_of_any_length_is_read_in_a_few_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    write(path, [1000.0 / step for step in range(1, 5001)])
    read = []
    steps = spark._steps
    monkeypatch.setattr(spark, "_steps", lambda block: read.append(len(block)) or steps(block))
    losses = course(path)
    assert sum(read) <= POINTS * BLOCK_BYTES < path.stat().st_size / 10
    assert losses == sorted(losses, reverse=True)
    assert [round(500 / loss) for loss in losses] == pytest.approx([250 * n for n in range(1, 11)], abs=12)


def test_what_a_resume_made_void_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write(path, [5.0, 4.0, 90.0, 91.0])
    write(path, [3.0, 2.0], first=3)
    assert course(path) == [5.0, 4.0, 3.0, 2.0]


def test_half_lines_damage_and_losses_that_are_no_numbers(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write(path, [2.0, None])
    with path.open("ab") as file:
        file.write(b'\xff\x00 "type": "step" {\n{"type": "step", "step": 3, "lo')
    assert course(path)[:1] == [2.0]
    assert math.isnan(course(path)[1])
    assert len(course(path)) == 2
    path.unlink()
    path.mkdir()
    assert course(path) == []
