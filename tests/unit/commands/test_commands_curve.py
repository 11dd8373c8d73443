"""The loss curve: nothing is lost, everything fits, and it needs no more than ASCII."""

from __future__ import annotations

import math

from hypothesis import given, strategies as st
from rich.cells import cell_len

from nanoshell_commands.curve import ROWS, WIDTH, draw

NUMBERS = st.floats(-1e6, 1e6) | st.just(math.nan) | st.just(math.inf)


@given(st.lists(NUMBERS, max_size=300), st.integers(20, 100), st.booleans())
def test_it_has_the_size_that_was_asked_for(losses: list[float], width: int, plain: bool) -> None:
    lines = draw(list(enumerate(losses, 1)), x_label="steps", width=width, plain=plain)
    if sum(map(math.isfinite, losses)) < 2:
        assert lines == []
        return
    assert len(lines) == ROWS + 2
    assert all(cell_len(line) <= width for line in lines)
    assert not plain or all(line.isascii() for line in lines)


def test_a_spike_of_one_step_in_ten_thousand_is_seen() -> None:
    calm = [(step, 1.0) for step in range(10_000)]
    spiked = [*calm[:5000], (5000, 9.0), *calm[5001:]]
    top = draw(spiked, plain=True)[0]
    assert "*" in top
    assert top.index("*") in range(WIDTH // 2, WIDTH // 2 + 6)


def test_a_falling_loss_falls_and_its_line_has_no_gap() -> None:
    lines = draw([(step, 10 * math.exp(-step / 40)) for step in range(1, 200)], plain=True)
    plot = [line[line.index("+" if "+" in line else "|") + 1 :] for line in lines[:ROWS]]
    columns = [
        [row for row in range(ROWS) if column < len(plot[row]) and plot[row][column] == "*"]
        for column in range(max(map(len, plot)))
    ]
    assert all(columns)
    assert columns[0][0] == 0
    assert columns[-1][-1] == ROWS - 1
    tops = [min(rows) for rows in columns]
    assert tops == sorted(tops)


def test_the_axes_name_the_extremes() -> None:
    lines = draw([(1, 11.5), (400, 0.05)], x_label="steps")
    assert lines[0].startswith("11.5 ")
    assert lines[ROWS - 1].lstrip().startswith("0.05 ")
    assert lines[-1].split() == ["1", "400", "steps"]
