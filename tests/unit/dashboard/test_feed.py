"""The feed: what happens to a log while it is followed, and what may stand in one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest

from nanoshell.dashboard.course import Course
from nanoshell.dashboard.feed import RunFeed
from nanoshell.runs.events import Event
from nanoshell.testing import FakeRun

from .test_feed_cuts import RUNNING, whole

Begin = Callable[..., FakeRun]


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


def test_the_newest_part_of_a_long_log_is_there_first(nanoshell_fake_run: Begin) -> None:
    fake = nanoshell_fake_run()
    fake.step(2000, said="a long word" * 150)
    assert fake.run.events_path.stat().st_size > 3_000_000
    feed = RunFeed(fake.run)
    while feed.poll():
        pass
    assert not feed.complete
    assert steps(feed.course(RUNNING))[-1] == 2000
    assert steps(whole(feed)) == [*range(1, 2001)]


def test_what_an_alert_says_is_a_mark_where_it_has_a_step(nanoshell_fake_run: Begin) -> None:
    fake = nanoshell_fake_run()
    fake.step(3)
    fake.alert()
    fake.event("alert", step=None, kind="silence", message="nothing is heard")
    course = whole(RunFeed(fake.run))
    assert [(mark.kind, mark.step) for mark in course.marks] == [("alert", 3)]
    assert [alert["kind"] for alert in course.alerts][1:] == ["silence"]


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
    with path.open("r+b") as file:  # written over up to where it was read, with more behind it
        file.write((data + data).replace(b"2560}", b"2561}"))
    fake.step()
    course = whole(feed)
    assert steps(course) == [*range(1, 7)]
    assert course.series["loss"].tokens[4] == 2561


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
