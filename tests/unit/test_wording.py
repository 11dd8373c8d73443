"""How sizes, counts and spans of time are written for people."""

from __future__ import annotations

import time

import pytest

from nanoshell.wording import (
    about_seconds,
    exact_seconds,
    human_bytes,
    human_count,
    human_seconds,
    human_time,
)


@pytest.mark.parametrize(
    ("amount", "written"),
    [(None, ""), (0, "0 B"), (999, "999 B"), (25_516, "25.5 kB"), (51_400_000, "51.4 MB"), (1e13, "10.0 TB")],
)
def test_sizes(amount: float | None, written: str) -> None:
    assert human_bytes(amount) == written


@pytest.mark.parametrize(
    ("amount", "written"),
    [(None, ""), (7, "7"), (999.6, "1.0k"), (590_080, "590k"), (12_940_000, "12.9M"), (7e9, "7.0B")],
)
def test_counts(amount: float | None, written: str) -> None:
    assert human_count(amount) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (None, ""),
        (-3, "0s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (125, "2m05s"),
        (3599, "59m59s"),
        (3600, "1h00m"),
        (7500, "2h05m"),
        (200_000, "2d07h"),
        (float("inf"), ""),
    ],
)
def test_spans(seconds: float | None, written: str) -> None:
    assert human_seconds(seconds) == written


@pytest.mark.parametrize(
    ("seconds", "step", "written"),
    [
        (7200, 3600, "2h"),
        (7200, 60, "2h00m"),
        (7510, 10, "2h05m10s"),
        (7500, 10, "2h05m"),
        (172_800, 86_400, "2d"),
        (176_700, 300, "2d01h05m"),
        (120, 60, "2m"),
        (0.25, 0.05, "0.25s"),
        (-90, 30, "-1m30s"),
    ],
)
def test_spans_that_must_be_told_apart(seconds: float, step: float, written: str) -> None:
    assert exact_seconds(seconds, step) == written


def test_times_are_those_of_this_place() -> None:
    assert human_time(None) == ""
    assert human_time(time.mktime((2026, 3, 4, 5, 6, 7, 0, 0, -1))) == "2026-03-04 05:06:07"


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (None, ""),
        (float("inf"), ""),
        (42.4, "42s"),
        (223, "3m40s"),
        (1571, "26m"),
        (3599, "1h00m"),
        (4000, "1h05m"),
        (43_000, "12h00m"),
    ],
)
def test_what_is_expected_is_told_no_finer_than_it_is_known(seconds: float | None, written: str) -> None:
    assert about_seconds(seconds) == written
