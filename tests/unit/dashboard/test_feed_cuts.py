"""The feed: however a log is cut, what is read of it is what it says as a whole."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nanoshell.dashboard.course import Course, Series
from nanoshell.dashboard.digest import SILENCE_SECONDS
from nanoshell.dashboard.feed import RunFeed
from nanoshell.runs.directory import RunDirectory
from nanoshell.runs.events import Event, effective_events, number, parse_line
from nanoshell.runs.status import RunStatus

RUNNING = RunStatus("running")


def whole(feed: RunFeed) -> Course:
    """Read all that there is."""
    while feed.poll():
        pass
    while feed.read_older(0.0):
        pass
    return feed.course(RUNNING)


def spent(events: list[Event]) -> dict[int, float]:
    """Return the seconds of each event, by its identity: no silence and no clock makes them absurd."""
    total, before, found = 0, None, {}
    for event in events:
        now = round(event["t"] * 1_000_000)
        if before is not None:
            total += max(0, min(now - before, round(SILENCE_SECONDS * 1_000_000)))
        before = now
        found[id(event)] = total / 1_000_000
    return found


def expected(events: list[Event]) -> dict[str, list[tuple[Any, ...]]]:
    """Return (step, tokens, time, value) of each series, and what else a course holds, of all ``events``."""
    times = spent(events)
    kept = effective_events(events)
    later = math.inf
    beats = []
    for event in reversed(kept):  # heartbeats are no measurements, but what they tell belongs to a course
        if event["type"] == "resume":
            later = min(later, event["from_step"])
        if event["type"] == "heartbeat" and event.get("step", math.inf) <= later:
            beats.append(event)
    steps = [event for event in kept if event["type"] == "step"]
    known = [0.0, *(event["step"] for event in steps)]
    tokens = [0.0, *(event["tokens"] for event in steps)]
    found: dict[str, list[tuple[Any, ...]]] = {}

    def take(name: str, event: Event, value: float | None) -> None:
        if value is not None:
            trained = float(np.interp(event["step"], known, tokens))
            found.setdefault(name, []).append((event["step"], trained, times[id(event)], value))

    for event in steps:
        for name in ("loss", "grad_norm", "learning_rate", "it/s", "tokens/s", "balance_loss"):
            take(name, event, number(event, name))
        for layer, shares in event.get("expert_load", {}).items():
            for expert, share in enumerate(shares):
                take(f"expert_load.{layer}.{expert}", event, share)
    for event in [event for event in kept if event["type"] == "eval"]:
        take("val_loss", event, number(event, "val_loss"))
    for event in reversed(beats):
        take("memory", event, number(event, "memory"))
    for event in kept:
        trained = float(np.interp(event.get("step", 0), known, tokens))
        if event["type"] == "sample":
            found.setdefault("samples", []).append((event["step"], event["text"], times[id(event)]))
        elif event["type"] == "control" and event["ok"]:
            mark = ("control", event["step"], trained, times[id(event)], event["message"])
            found.setdefault("marks", []).append(mark)
        elif event["type"] == "checkpoint":
            text = f"checkpoint of step {event['step']}"
            mark = ("checkpoint", event["step"], trained, times[id(event)], text)
            found.setdefault("marks", []).append(mark)
        elif event["type"] == "alert":
            mark = ("alert", event["step"], trained, times[id(event)], event["message"])
            found.setdefault("marks", []).append(mark)
    return found


def told(course: Course) -> dict[str, list[tuple[Any, ...]]]:
    """Return ``course`` in the shape of `expected`."""
    found: dict[str, list[tuple[Any, ...]]] = {
        name: list(zip(*(column.tolist() for column in columns(series)), strict=True))
        for name, series in course.series.items()
    }
    if course.samples:
        found["samples"] = [(sample.step, sample.text, sample.time) for sample in course.samples]
    marks = [
        (mark.kind, mark.step, mark.tokens, mark.time, mark.text)
        for mark in course.marks
        if mark.kind != "resume"
    ]
    if marks:
        found["marks"] = marks
    return found


def columns(series: Series) -> tuple[Any, ...]:
    return series.step, series.tokens, series.time, series.value


def check(course: Course, events: list[Event]) -> None:
    wanted, found = expected(events), told(course)
    assert found.keys() == wanted.keys()
    for name, rows in wanted.items():
        assert len(found[name]) == len(rows), name
        for one, other in zip(found[name], rows, strict=True):
            for a, b in zip(one, other, strict=True):
                assert a == b or a == pytest.approx(b, rel=1e-12, nan_ok=True), (name, one, other)


@st.composite
def courses(draw: st.DrawFn) -> list[Event]:
    """Events as workers write them: steps that go on, resumes that go back, clocks that jump."""
    events: list[Event] = [{"t": 1000.0, "type": "state", "format": 1, "state": "starting"}]
    clock, step = 1000.0, 0
    kinds = st.sampled_from(
        [
            "step",
            "step",
            "step",
            "step",
            "eval",
            "sample",
            "checkpoint",
            "alert",
            "beat",
            "set",
            "pause",
            "fail",
            "resume",
            "resume",
        ]
    )
    for kind in draw(st.lists(kinds, min_size=draw(st.sampled_from([0, 20])), max_size=40)):
        clock += draw(st.sampled_from([0.0, 0.001, 0.25, 3.0, 7200.0, -3600.0, -0.5]))
        event: Event = {"t": round(clock, 3)}
        if kind == "step":
            step += 1
            loss = draw(st.sampled_from([1.5, 2, None, math.nan]))
            event |= {"type": "step", "step": step, "loss": 0.1 * step, "tokens": 512 * step}
            if loss is None:
                del event["loss"]
            elif math.isnan(loss):
                event |= {"loss": None, "not_finite": {"loss": "nan"}}
            if draw(st.booleans()):
                event["expert_load"] = {"3": [0.25, 0.75]}
        elif kind == "resume":
            step = draw(st.integers(0, step))
            event |= {"type": "resume", "from_step": step}
        elif kind == "eval":
            event |= {"type": "eval", "step": step, "val_loss": 1.0 + step, "tokens": 7}
        elif kind == "beat":
            event |= {"type": "heartbeat", "step": step, "memory": 100 + step}
        elif kind == "set":
            event |= {"type": "control", "action": "set", "step": step, "ok": True, "message": "the räte"}
        elif kind == "pause":
            event |= {"type": "control", "action": "pause", "step": step, "ok": True, "message": "paused"}
        elif kind == "alert":
            event |= {"type": "alert", "step": step, "kind": "spike", "message": f"a spike at {step}"}
        elif kind == "fail":
            event |= {"type": "control", "action": "set", "step": step, "ok": False, "message": "no"}
        else:
            event |= {"type": kind, "step": step, "text": f"text {step}"}
        events.append(event)
    return events


def written(events: list[Event], damaged: dict[int, bytes]) -> bytes:
    """Return ``events`` as lines; of those in ``damaged`` only what stands there, but for resumes."""
    damaged = {
        index: damage
        for index, damage in damaged.items()
        if events[index:][:1] and events[index]["type"] != "resume"
    }
    lines = [json.dumps(event, ensure_ascii=False).encode() for event in events]
    return b"".join(damaged.get(index, line) + b"\n" for index, line in enumerate(lines))


DAMAGES = st.sampled_from(
    [b"", b'{"t": 10', b"\xff\xfe", b"[1, 2]", b'{"a": [{"b": 1}', b"null", b"[" * 5000]
)


@settings(max_examples=150, deadline=None)
@given(
    courses(),
    st.dictionaries(st.integers(1, 40), DAMAGES, max_size=2),
    st.lists(st.integers(0, 6000), max_size=4),
    st.integers(1, 2000),
    st.sampled_from([1, 50, 300, 1000, 10_000]),
    st.booleans(),
)
def test_any_cut_reads_what_the_whole_log_says(
    tmp_path_factory: pytest.TempPathFactory,
    events: list[Event],
    damaged: dict[int, bytes],
    cuts: list[int],
    newest: int,
    block: int,
    eager: bool,
) -> None:
    """Written in pieces cut at any byte, read from any byte on in blocks of any size, older ones between."""
    path = tmp_path_factory.mktemp("run")
    data = written(events, damaged)
    kept = [event for line in data.split(b"\n") if (event := parse_line(line)) is not None]
    feed = RunFeed(RunDirectory(path), newest_bytes=newest, block_bytes=block)
    begun = 0
    handed: list[tuple[Course, dict[str, list[tuple[Any, ...]]]]] = []
    for cut in [*sorted(min(cut, len(data)) for cut in cuts), len(data)]:
        with (path / "events.jsonl").open("ab") as file:
            file.write(data[begun:cut])
        begun = cut
        feed.poll(0.0)
        if eager:
            feed.read_older(0.0)
        course = feed.course(RUNNING)
        handed.append((course, told(course)))
    course = whole(feed)
    assert course.complete
    check(course, kept)
    for before, what in handed:  # what was handed out is as it was
        assert repr(told(before)) == repr(what)
