"""The feed: whatever a log holds and however it is cut, what is read of it is what it says as a whole."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
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
from nanoshell.testing import FakeRun

Begin = Callable[..., FakeRun]
RUNNING = RunStatus("running")


def whole(feed: RunFeed) -> Course:
    """Read all that there is."""
    while feed.poll():
        pass
    while feed.read_older(0.0):
        pass
    return feed.course(RUNNING)


# What the log says, read at once and word by word


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
        if mark.kind in ("control", "checkpoint")
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


def steps(course: Course, name: str = "loss") -> list[float]:
    return course.series[name].step.tolist() if name in course.series else []


def test_a_resume_that_arrives_live_takes_back_what_was_above_it(nanoshell_fake_run: Begin) -> None:
    fake = nanoshell_fake_run()
    feed = RunFeed(fake.run, newest_bytes=500, block_bytes=400)
    fake.step(20)
    fake.sample("old", step=15)
    fake.checkpoint()
    feed.poll()
    before = feed.course(RUNNING)
    assert steps(before)[-1] == 20
    fake.crash()
    fake.resume(12)
    fake.step(2, loss=7.0)
    feed.poll()
    course = feed.course(RUNNING)
    assert steps(course)[-2:] == [13, 14]
    assert course.series["loss"].value[-1] == 7.0
    assert [mark.kind for mark in course.marks] == ["resume"]
    assert not course.samples
    assert steps(before)[-1] == 20  # what was handed out stays
    course = whole(feed)  # what is older was void when it was written, and is so when it is read
    assert steps(course) == [*range(1, 15)]


def test_a_log_that_is_another_one_is_read_anew(nanoshell_fake_run: Begin) -> None:
    fake = nanoshell_fake_run()
    path = fake.run.events_path
    feed = RunFeed(fake.run)
    fake.step(5)
    assert len(steps(whole(feed))) == 5
    data = path.read_bytes()
    with path.open("r+b") as file:  # cut in place
        file.truncate(data.index(b'"step": 3'))
    assert steps(whole(feed)) == [1, 2]
    path.unlink()  # replaced by a longer one
    path.write_bytes(data + data)
    assert len(steps(whole(feed))) == 5
    with path.open("r+b") as file:  # written over, with more
        file.write(data.replace(b"512", b"999") * 3)
    assert whole(feed).series["loss"].tokens[0] == 999


def test_a_log_that_vanishes_is_told_and_what_was_read_stays(nanoshell_fake_run: Begin) -> None:
    fake = nanoshell_fake_run(start=False)
    feed = RunFeed(fake.run)
    assert (whole(feed).problem, whole(feed).complete) == ("", True)  # it has not begun
    fake.start()
    fake.step(4)
    assert len(steps(whole(feed))) == 4
    hidden = fake.run.events_path.rename(fake.run.path / "hidden")
    course = whole(feed)
    assert "events.jsonl is gone" in course.problem
    assert len(steps(course)) == 4
    hidden.rename(fake.run.events_path)
    fake.step()
    assert (whole(feed).problem, len(steps(whole(feed)))) == ("", 5)
    fake.vanish()
    assert whole(feed).problem == f"{fake.run.path} is gone; what had been read is shown"


def test_what_cannot_be_read_is_told(nanoshell_fake_run: Begin) -> None:
    fake = nanoshell_fake_run(start=False)
    fake.run.events_path.mkdir()
    assert "cannot read" in whole(RunFeed(fake.run)).problem


def test_of_a_newer_format_what_can_be_shown_is_shown(nanoshell_fake_run: Begin) -> None:
    fake = nanoshell_fake_run(start=False)
    fake.raw(b'{"t": 1, "type": "state", "format": 99, "state": "running"}\n')
    fake.step(3, news={"a": [1]})
    fake.event("quantum", step=3, loss="high")
    fake.event("alert", step=None)
    course = whole(RunFeed(fake.run))
    assert "is in format 99" in course.problem
    assert steps(course) == [1, 2, 3]
    assert len(course.alerts) == 1


@pytest.mark.parametrize(
    "line",
    [
        {"type": "step", "loss": 1.0, "step": "7"},
        {"type": "step", "loss": [1], "step": 7},
        {"type": "step", "loss": 10**400, "step": 7},
        {"type": "step", "step": 10**400},
        {"type": "step", "step": 7, "expert_load": {"3": [0.5], "4": 1, "5": ["a", None]}},
        {"type": "step", "step": 7, "expert_load": 3, "not_finite": 4},
        {"type": ["step"], "step": 7},
        {"type": "resume"},
        {"type": "resume", "from_step": None, "t": None},
        {"type": "sample", "step": 7, "text": None, "tokens": "many", "index": 1e400},
        {"type": "control", "ok": True, "action": {"a": 1}, "step": 7},
        {"type": "eval", "step": 7, "val_loss": True},
        {"type": "heartbeat", "memory": 5},
        {"type": "step", "step": 7, "loss": 1.0, "t": "now"},
        {"type": "step", "step": 7, "loss": 1.0, "t": 1e300},
    ],
)
def test_nothing_that_stands_in_a_log_makes_it_raise(nanoshell_fake_run: Begin, line: Event) -> None:
    fake = nanoshell_fake_run()
    fake.step(6)
    fake.raw(json.dumps({"t": fake.now, **line}).encode() + b"\n")
    course = whole(RunFeed(fake.run))
    assert steps(course)[:6] == ([] if line["type"] == "resume" else [1, 2, 3, 4, 5, 6])
    whole(RunFeed(fake.run, newest_bytes=50, block_bytes=60))


def test_numbers_that_are_none_come_back(nanoshell_fake_run: Begin) -> None:
    fake = nanoshell_fake_run()
    fake.step(2)
    fake.step(loss=math.nan, grad_norm=math.inf, expert_load={"3": [math.nan, 0.5]})
    fake.step(balance_loss=1.5)
    series = whole(RunFeed(fake.run)).series
    assert np.isnan(series["loss"].value[2])
    assert series["grad_norm"].value[2] == math.inf
    assert np.isnan(series["expert_load.3.0"].value).tolist() == [True]
    assert (series["expert_load.3.1"].step.tolist(), series["expert_load.3.1"].value.tolist()) == ([3], [0.5])
    assert series["balance_loss"].step.tolist() == [4]
    assert series["balance_loss"].tokens.tolist() == [4 * 512]


def test_steps_without_tokens_are_told_between_those_with(nanoshell_fake_run: Begin) -> None:
    fake = nanoshell_fake_run()
    fake.step(3, tokens=lambda step: None if step == 2 else 100 * step)
    fake.step(tokens=lambda step: None)
    assert whole(RunFeed(fake.run)).series["loss"].tokens.tolist() == [100, 200, 300, 300]


def test_a_log_that_lost_a_resume_still_rises(nanoshell_fake_run: Begin) -> None:
    fake = nanoshell_fake_run()
    fake.step(6)
    fake.at = 3
    fake.step(2)
    for size in (100, 10_000):
        feed = RunFeed(fake.run, newest_bytes=size, block_bytes=size)
        assert steps(whole(feed)) == [1, 2, 3, 4, 5]


def test_clocks_that_jump_make_no_chart_absurd(nanoshell_fake_run: Begin) -> None:
    fake = nanoshell_fake_run(seconds=1.0)
    for jump in (0.0, 3e9 - fake.now, -86400.0, 9 * 3600.0):
        fake.now += jump
        fake.step(2)
    for size in (300, 10_000):
        feed = RunFeed(fake.run, newest_bytes=size, block_bytes=size)
        feed.poll()
        assert feed.course(RUNNING).series["loss"].time[0] >= 0
        time = whole(feed).series["loss"].time.tolist()
        assert time == [1, 2, 62, 63, 63, 64, 124, 125]


def test_an_unchanged_log_costs_nothing_and_changes_nothing(nanoshell_fake_run: Begin) -> None:
    fake = nanoshell_fake_run()
    fake.step(3)
    fake.sample()
    feed = RunFeed(fake.run)
    course = whole(feed)
    assert whole(feed) is course
    fake.beat()  # which tells nothing that is shown
    assert whole(feed) is course
    fake.step()
    after = whole(feed)
    assert after.revision > course.revision
    assert after.samples is course.samples
    with pytest.raises(ValueError, match="read-only"):
        after.series["loss"].value[0] = 0.0


def test_what_was_appended_shares_the_memory_of_what_was_there(nanoshell_fake_run: Begin) -> None:
    fake = nanoshell_fake_run()
    fake.step(50)
    feed = RunFeed(fake.run)
    before = whole(feed).series["loss"]
    fake.step(3)
    after = whole(feed).series["loss"]
    assert np.shares_memory(before.value, after.value)
    assert (len(before.value), len(after.value)) == (50, 53)


def test_a_fault_of_ours_is_told(nanoshell_fake_run: Begin) -> None:
    feed = RunFeed(nanoshell_fake_run().run)
    feed.fail(KeyError("loss"))
    assert "KeyError" in feed.course(RUNNING).problem
