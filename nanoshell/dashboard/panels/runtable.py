"""The table of runs: its columns, which of them have room, and in what order the runs stand."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len

from nanoshell.dashboard.panels.lines import STATE_ROLES, Line, Span, run_role, span
from nanoshell.dashboard.panels.plain import plain
from nanoshell.dashboard.panels.runlist import RunRow
from nanoshell.dashboard.panels.words import ago, count, cut_end, cut_middle, figure, figure_within
from nanoshell.runs.status import RunStatus
from nanoshell.wording import about_seconds, human_bytes, human_time

_MARKS = 3
_GAP = 1
_NAME_LEAST, _NAME_MOST = 14, 40
_WHY_LEAST = 24
_DATA_LEAST, _DATA_MOST = 14, 24
_STEP_WIDTH, _LOSS_WIDTH = 12, 6


@dataclass(frozen=True)
class Column:
    """A column: its heading, its width, what it shows of a row at a time, and by what it sorts.

    A run of which ``order`` knows nothing (None) is last. Where there is no room, the columns of the highest
    ``rank`` go first. ``falls`` says that ``order`` puts the greatest value first, and not the smallest.
    """

    title: str
    width: int
    show: Callable[[RunRow, float], str]
    order: Callable[[RunRow], Any]
    rank: int = 0
    right: bool = True
    falls: bool = False


def _falling(value: float | None) -> float | None:
    """Return what sorts the highest ``value`` first."""
    return None if value is None or math.isnan(value) else -value


def _loss(title: str, of: Callable[[RunStatus], float | None], rank: int) -> Column:
    """Return the column of a loss: the lowest first, and after all numbers what is none."""

    def order(row: RunRow) -> float | None:
        value = of(row.status)
        return None if value is None or math.isnan(value) else value

    return Column(
        title, _LOSS_WIDTH, lambda row, now: figure_within(of(row.status), _LOSS_WIDTH), order, rank
    )


def _steps(row: RunRow, now: float) -> str:
    status = row.status
    if status.step is None:
        return ""
    whole = f"{status.step:,}/{status.total_steps:,}" if status.total_steps else f"{status.step:,}"
    if len(whole) <= _STEP_WIDTH:
        return whole
    return f"{figure(status.step, 3)}/{figure(status.total_steps, 3)}"


NAME = Column("run", _NAME_LEAST, lambda row, now: row.run.name, lambda row: row.run.name, right=False)


def _asked(row: RunRow, key: str) -> float | None:
    """Return the number that the config of ``row`` has as ``key``, None where there is none."""
    value = (row.config or {}).get(key)
    return float(value) if isinstance(value, (int, float)) else None


def _data(row: RunRow) -> str:
    source = (row.config or {}).get("source")
    return " ".join(str(source).split()) if source else ""


STARTED = Column(
    "started",
    8,
    lambda row, now: ago(row.created or row.status.started, now),
    lambda row: _falling(row.created),
    3,
    falls=True,
)
RATE = Column(
    "lr",
    7,
    lambda row, now: figure(_asked(row, "trainer.learning_rate"), 3),
    lambda row: _falling(_asked(row, "trainer.learning_rate")),
    4,
    falls=True,
)
BATCH = Column(
    "batch",
    5,
    lambda row, now: figure(_asked(row, "trainer.batch_size"), 3),
    lambda row: _falling(_asked(row, "trainer.batch_size")),
    8,
    falls=True,
)
DATA = Column(
    "data", _DATA_LEAST, lambda row, now: _data(row), lambda row: _data(row) or None, 7, right=False
)
WHY = Column(
    "why",
    _WHY_LEAST,
    lambda row, now: " ".join(row.status.reason.split()),
    lambda row: row.status.reason or None,
    10,
    right=False,
)
COLUMNS = (
    NAME,
    Column("state", 8, lambda row, now: row.status.state, lambda row: row.status.state, right=False),
    Column("step/total", _STEP_WIDTH, _steps, lambda row: _falling(row.status.step), 5, falls=True),
    _loss("loss", lambda status: status.loss, 0),
    _loss("val", lambda status: status.val_loss, 1),
    _loss("best", lambda status: status.best_val_loss, 2),
    Column(
        "tok/s",
        6,
        lambda row, now: figure(row.status.tokens_per_second, 3),
        lambda row: _falling(row.status.tokens_per_second),
        6,
        falls=True,
    ),
    STARTED,
    Column(
        "size",
        7,
        lambda row, now: human_bytes(row.num_bytes),
        lambda row: _falling(row.num_bytes),
        9,
        falls=True,
    ),
    RATE,
    BATCH,
    DATA,
    WHY,
)
"""The columns in their order; figures sort from good to bad: the lowest loss, the highest speed first."""


OF_CONFIG = frozenset({RATE, BATCH, DATA})
"""Columns of what a run was asked for: they need its config."""


def fitting(width: int) -> list[Column]:
    """Return the columns that have room in ``width`` where each is as narrow as it may be."""
    kept = list(COLUMNS)
    while len(kept) > 2 and _used(kept) > width:
        kept.remove(max(kept, key=lambda column: column.rank))
    return kept


def _used(columns: Sequence[Column]) -> int:
    return _MARKS + sum(column.width + _GAP for column in columns)


@dataclass(frozen=True)
class Look:
    """How the table is to look: the shown runs' numbers of colour, who has the focus, who are marked."""

    colours: Mapping[str, int]
    focus: str
    marked: Collection[str]
    sort: Column
    backwards: bool
    ascii: bool
    now: float
    longest: int = _NAME_MOST
    """Cells of the longest name in the table."""


def ordered(rows: Sequence[RunRow], sort: Column, backwards: bool) -> list[RunRow]:
    """Return ``rows`` by the column ``sort``; runs that are equal there stay newest first.

    Those of which that is not known are last in both directions.
    """
    newest = sorted(rows, key=lambda row: -(row.created or 0))
    known = [row for row in newest if sort.order(row) is not None]
    unknown = [row for row in newest if sort.order(row) is None]
    return sorted(known, key=sort.order, reverse=backwards) + unknown


def sort_mark(column: Column, backwards: bool, ascii: bool) -> str:  # noqa: A002 - as in `Look`
    """Return an arrow down where the greatest or newest of ``column`` come first, up for the smallest."""
    return ("^v" if ascii else "▴▾")[column.falls != backwards]


def head_line(columns: Sequence[Column], width: int, look: Look) -> Line:
    """Return the headings; that of the column by which the runs are sorted has an arrow, see `sort_mark`.

    A mark at the end says that a wider window has more columns.
    """
    mark, more = sort_mark(look.sort, look.backwards, look.ascii), ">" if look.ascii else "›"
    cells = [" " * _MARKS]
    for column, room in zip(columns, widths(columns, width, look.longest), strict=True):
        cells.append(_cell(column.title + (mark if column is look.sort else ""), room, column.right))
    head = " ".join([cells[0] + cells[1], *cells[2:]])
    if len(columns) < len(COLUMNS):
        head = (head + " ")[: width - 1] + more
    return ((head, "head"),)


def row_line(row: RunRow, columns: Sequence[Column], width: int, look: Look) -> Line:
    """Return the line of ``row``, with its colour where it is shown in the charts."""
    name = row.run.name
    number = look.colours.get(name)
    dot = (("o" if look.ascii else "●"), run_role(number)) if number is not None else (" ", "")
    mark = "=" if name in look.marked else ">" if name == look.focus else " "
    line = [dot, (f"{mark} ", "accent")]
    for index, (column, room) in enumerate(zip(columns, widths(columns, width, look.longest), strict=True)):
        role = STATE_ROLES.get(row.status.state, "") if column.title == "state" else ""
        if column is NAME and name == look.focus:
            role = "heading"
        if column is WHY:
            role = "quiet"
        if column.title == "loss" and row.status.loss is not None and not math.isfinite(row.status.loss):
            role = "error"
        line.append((" " * bool(index) + _shown(column, column.show(row, look.now), room, look.ascii), role))
    return tuple(line)


def widths(columns: Sequence[Column], width: int, longest: int = _NAME_MOST) -> list[int]:
    """Return how wide each of ``columns`` is where the ``longest`` name has so many cells.

    What is left goes to the name, as far as it needs it, then to the data, then to the reason.
    """
    free = max(0, width - _used(columns))
    found: dict[Column, int] = {}
    for column, most in ((NAME, min(longest, _NAME_MOST)), (DATA, _DATA_MOST), (WHY, width)):
        if column in columns:
            more = min(free, max(0, most - column.width))
            found[column] = column.width + more
            free -= more
    return [found.get(column, column.width) for column in columns]


def column_at(x: int, columns: Sequence[Column], width: int, longest: int = _NAME_MOST) -> Column | None:
    """Return the column whose heading stands at ``x``."""
    end = _MARKS
    for column, room in zip(columns, widths(columns, width, longest), strict=True):
        end += room + _GAP
        if x < end:
            return column
    return None


def _shown(column: Column, text: str, width: int, ascii: bool) -> str:  # noqa: A002 - as in `Look`
    """Return the cell of ``text``: names are told apart by their ends, sentences begin with what matters."""
    cut = cut_end if column is WHY else cut_middle
    return _cell(cut(plain(text, ascii=ascii), width, "~" if ascii else "…"), width, column.right)


def _cell(text: str, width: int, right: bool) -> str:
    space = " " * (width - cell_len(text))
    return space + text if right else text + space


def about_run(row: RunRow, width: int) -> list[Line]:
    """Return what the table has no room for: the reason of the state first. No value leaves its name."""
    status = row.status
    lines = [standing(row.run.name, status)]
    if status.hint:
        lines.append(span(status.hint, "accent"))
    best = figure(status.best_val_loss)
    at = f" at step {count(status.best_step)}" if status.best_step is not None else ""
    parts = [
        ("best", best + at if best else ""),
        ("epoch", figure(status.epoch, 3)),
        ("learning rate", figure(status.learning_rate, 3)),
        ("left", about_seconds(status.eta_seconds)),
        ("started", human_time(row.created or status.started)),
        ("size", human_bytes(row.num_bytes)),
        ("process", f"{status.pid} on {status.host}" if status.pid is not None else ""),
    ]
    figures: list[Span] = []
    used = 0
    for name, text in parts:
        wanted = cell_len(f"{name} {text}")
        if text and figures and used + wanted > width:
            lines.append(tuple(figures))
            figures, used = [], 0
        if text:
            figures += [(f"{name} ", "quiet"), (f"{text}  ", "")]
            used += wanted + 2
    lines.append(tuple(figures))
    lines.append((("folder ", "quiet"), (str(row.run.path), "")))
    return lines


def standing(name: str, status: RunStatus, problem: str = "") -> Line:
    """Return the line that says how the run ``name`` stands, and why: ``problem`` or the reason."""
    role = STATE_ROLES.get(status.state, "")
    why = problem or status.reason.removeprefix(f"{status.state} ")
    because: Line = ((": ", ""), (why, role)) if why else ()
    return ((name, "heading"), ("  ", ""), (status.state, role), *because)
