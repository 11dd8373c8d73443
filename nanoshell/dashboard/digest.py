"""From a piece of an event log to figures: lines to events, events to rows, marks and texts."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nanoshell.dashboard.columns import MICROSECONDS, Rows
from nanoshell.runs.events import FORMAT, Event, is_of_a_course, number, parse_line

if TYPE_CHECKING:
    from nanoshell.dashboard.columns import Numbers

STEP_FIGURES = ("loss", "learning_rate", "grad_norm", "tokens/s", "it/s", "balance_loss")
EVAL_FIGURES = ("val_loss", "bits_per_byte")
OF_TRAINING = "train_"
"""Begins the names of what was evaluated on the text that is trained on, where none is held back."""

SYSTEM_FIGURES = ("memory", "cpu", "gpu", "gpu_memory")

SILENCE_SECONDS = 60.0
"""A worker says something every few seconds. A longer silence between two events means that none was there,
that the machine slept, or that its clock was set. It counts as so much: no chart along time is all gap.
"""

_NOTED = ("control", "checkpoint", "alert", "resume", "sample")
_UNMARKED = ("snapshot", "sample")
_PLAIN = frozenset({float, int})
_LATEST = 2.0**52
_SILENCE = int(SILENCE_SECONDS * MICROSECONDS)


@dataclass(frozen=True)
class Noted:
    """A mark, as far as the log tells it. ``time`` is in microseconds since the piece of log began."""

    kind: Literal["control", "checkpoint", "alert", "resume"]
    step: float
    time: int
    text: str
    of_course: bool


@dataclass(frozen=True)
class Written:
    """A sample, as far as the log tells it."""

    step: int
    index: int
    prompt: str
    text: str
    tokens: int
    stop: str
    time: int


@dataclass
class Part:
    """What a piece of a log holds that no later resume made void.

    ``first`` and ``last`` are the times of its first and its last event, in microseconds since the epoch;
    None where it has none. All other times are since ``first``; ``length`` is that of the last one.
    ``limit`` is the lowest step that a resume in it, or after it, went back to.
    """

    limit: float = math.inf
    first: int | None = None
    last: int | None = None
    length: int = 0
    steps: Rows = field(default_factory=lambda: _no_rows())
    evals: Rows = field(default_factory=lambda: _no_rows())
    beats: Rows = field(default_factory=lambda: _no_rows())
    marks: list[Noted] = field(default_factory=list)
    samples: list[Written] = field(default_factory=list)
    alerts: list[Event] = field(default_factory=list)


def parse_lines(block: bytes) -> list[Event]:
    """Return the events on the whole lines of ``block``; damaged lines are left out.

    Lines of an undamaged log are read as one JSON array, in less than half the time.
    """
    count = block.count(b"\n")
    if block.startswith(b"{") and block.endswith(b"}\n") and block.count(b"}\n{") == count - 1:
        try:
            found: list[Event] = json.loads(b"[" + block[:-1].replace(b"\n", b",") + b"]")
        except (ValueError, RecursionError):
            pass
        else:
            if len(found) == count and set(map(type, found)) == {dict}:
                return found
    return [event for line in block.split(b"\n") if line and (event := parse_line(line)) is not None]


def newer_format(first: Event) -> int | None:
    """Return the format of the log that ``first`` opens, where it is newer than what is read here."""
    found = first.get("format")
    return found if isinstance(found, int) and found > FORMAT else None


def digest(events: Sequence[Event], limit: float = math.inf) -> Part:
    """Return what ``events`` hold that counts; resumes after them went back to ``limit`` at the lowest.

    Events without a time are left out, but for resumes, and so are measurements without a step.
    """
    kinds = np.array([kind if isinstance(kind := event.get("type"), str) else "" for event in events], str)
    limits, lowest = _limits(events, kinds, limit)
    times, there = _numbers(events, "t")
    timed = there & (np.abs(times) < _LATEST / MICROSECONDS)
    if not timed.all():
        events = _where(events, timed)
        kinds, times, limits = kinds[timed], times[timed], limits[timed]
    part = Part(limit=lowest)
    if not events:
        return part
    absolute = np.rint(times * MICROSECONDS).astype(np.int64)
    since = np.concatenate(([0], np.cumsum(counted(np.diff(absolute)))))
    part.first, part.last, part.length = int(absolute[0]), int(absolute[-1]), int(since[-1])
    measured = _Measured(events, kinds, since, limits)
    part.steps = measured.rows("step", STEP_FIGURES)
    part.evals = measured.rows("eval", EVAL_FIGURES)
    part.beats = measured.rows("heartbeat", SYSTEM_FIGURES)
    for index in np.flatnonzero(np.isin(kinds, _NOTED)).tolist():
        _note(part, events[index], str(kinds[index]), int(since[index]), float(limits[index]))
    return part


def counted(differences: Numbers) -> Numbers:
    """Return how much of the ``differences`` (n,) between times counts, both in microseconds.

    None does where the clock was set back.
    """
    return np.clip(differences, 0, _SILENCE)


def between(earlier: int, later: int) -> int:
    """Return how much of the time between two moments counts, in microseconds."""
    return max(0, min(later - earlier, _SILENCE))


def _limits(events: Sequence[Event], kinds: Numbers, limit: float) -> tuple[Numbers, float]:
    """Return for each event (n,) the lowest step that a later resume went back to, and the lowest of all."""
    limits = np.full(len(events), limit)
    for index in np.flatnonzero(kinds == "resume")[::-1].tolist():
        limit = min(limit, number(events[index], "from_step") or 0.0)
        limits[:index] = np.minimum(limits[:index], limit)
    return limits, limit


class _Measured:
    """The events of a piece of log, of which rows are made kind by kind."""

    def __init__(self, events: Sequence[Event], kinds: Numbers, since: Numbers, limits: Numbers) -> None:
        self._events = events
        self._kinds = kinds
        self._since = since
        self._limits = limits

    def rows(self, kind: str, names: Sequence[str]) -> Rows:
        """Return the events of ``kind`` that count as rows, with those of ``names`` that they have."""
        chosen = self._kinds == kind
        if not chosen.any():
            return _no_rows()
        events = _where(self._events, chosen)
        since, limits = self._since[chosen], self._limits[chosen]
        step, there = _numbers(events, "step")
        counts = there & np.isfinite(step) & (step <= limits)
        if not counts.all():
            events, step, since = _where(events, counts), step[counts], since[counts]
        rows = Rows(step, since, np.full(len(events), np.nan))
        if not events:
            return rows
        if kind == "step":
            tokens, there = _numbers(events, "tokens")
            rows.tokens = np.where(there & np.isfinite(tokens), tokens, np.nan)
            _add_loads(rows, events)
        trained = _of_training(events) if kind == "eval" else np.zeros(len(events), bool)
        for name in names:
            values, present = _numbers(events, name)
            if trained.any():
                _add(rows, OF_TRAINING + name, values, present & trained)
                present = present & ~trained
            _add(rows, name, values, present)
        # Steps without a figure still tell the tokens; other rows would only be new and show nothing.
        return rows if rows.values or kind == "step" else _no_rows()


def _where(events: Sequence[Event], chosen: Numbers) -> Sequence[Event]:
    return events if chosen.all() else [events[index] for index in np.flatnonzero(chosen).tolist()]


def _of_training(events: Sequence[Event]) -> Numbers:
    """Return which evaluations (n,) were of the text that is trained on."""
    return np.array([event.get("split") == "train" for event in events], bool)


def _add(rows: Rows, name: str, values: Numbers, present: Numbers) -> None:
    if present.any():
        rows.values[name] = values
        if not present.all():
            rows.present[name] = present


def _numbers(events: Sequence[Event], name: str) -> tuple[Numbers, Numbers]:
    """Return the number ``name`` of each event (n,), NaN and infinities restored, and whether it has one."""
    try:
        found: list[Any] = list(map(itemgetter(name), events))
    except KeyError:
        found = [event.get(name) for event in events]
    types = set(map(type, found))
    if types <= _PLAIN:
        with contextlib.suppress(OverflowError):
            return np.array(found, float), np.ones(len(found), bool)
    if types == {type(None)} and not any("not_finite" in event for event in events):
        return np.full(len(found), np.nan), np.zeros(len(found), bool)
    values = [number(event, name) for event in events]
    present = np.fromiter((value is not None for value in values), bool, len(values))
    return np.array([np.nan if value is None else value for value in values], float), present


def _add_loads(rows: Rows, events: Sequence[Event]) -> None:
    """Add ``expert_load.LAYER.EXPERT``: the share of the choices that fell on each expert."""
    if not any("expert_load" in event for event in events):
        return
    try:  # every event has the same layers and experts, as a rule
        for layer in events[0]["expert_load"]:
            shares = np.array([event["expert_load"][layer] for event in events], float)
            for expert in range(shares.shape[1]):
                rows.values[f"expert_load.{layer}.{expert}"] = shares[:, expert]
        if not any("expert_load" in event.get("not_finite", ()) for event in events):
            return
    except (ValueError, TypeError, KeyError, IndexError, OverflowError):
        pass
    flat = [_flat_loads(event) for event in events]
    for name in sorted({name for loads in flat for name in loads if name != "not_finite"}):
        _add(rows, name, *_numbers(flat, name))


def _flat_loads(event: Event) -> Event:
    found: Event = {}
    loads = event.get("expert_load")
    for layer, shares in loads.items() if isinstance(loads, dict) else ():
        for expert, share in enumerate(shares if isinstance(shares, list) else ()):
            found[f"expert_load.{layer}.{expert}"] = share
    return {**found, "not_finite": event.get("not_finite")}


def _note(part: Part, event: Event, kind: str, time: int, highest: float) -> None:
    """Note what is no row: a mark, a sample, an alert."""
    bound = is_of_a_course(event)
    step = number(event, "from_step" if kind == "resume" else "step")
    if kind == "alert":
        part.alerts.append(event)
    if step is None or not math.isfinite(step) or (bound and step > highest):
        return
    if kind == "sample":
        part.samples.append(
            Written(
                int(step),
                _whole(event, "index"),
                str(event.get("prompt") or ""),
                str(event.get("text") or ""),
                _whole(event, "tokens"),
                str(event.get("stop") or ""),
                time,
            )
        )
    elif kind == "checkpoint":
        part.marks.append(Noted("checkpoint", step, time, f"checkpoint of step {step:,.0f}", bound))
    elif kind == "alert":
        part.marks.append(Noted("alert", step, time, str(event.get("message") or event.get("kind")), bound))
    elif kind == "resume":
        part.marks.append(Noted("resume", step, time, f"resumed from step {step:,.0f}", bound))
    elif event.get("ok") is True and event.get("action") not in _UNMARKED:
        said = str(event.get("message") or event.get("action"))
        part.marks.append(Noted("control", step, time, said, bound))


def _whole(event: Event, name: str) -> int:
    found = number(event, name)
    return int(found) if found is not None and math.isfinite(found) else 0


def _no_rows() -> Rows:
    return Rows(np.empty(0), np.empty(0, np.int64), np.empty(0))
