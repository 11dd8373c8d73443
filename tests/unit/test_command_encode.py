"""Results as JSON: whatever a command returns becomes one valid document."""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, strategies as st

from nanoshell.command.encode import dump, encode


class Colour(enum.Enum):
    RED = "red"


@dataclass(frozen=True)
class Point:
    x: float
    where: Path
    _hidden: int = 3


@dataclass(frozen=True)
class Renamed:
    speed: float

    def to_json(self) -> dict[str, Any]:
        return {"it/s": self.speed}


@dataclass
class Nest:
    points: list[Point] = field(default_factory=list)
    by_name: dict[int, Renamed] = field(default_factory=dict)


def test_dataclasses_become_their_public_fields() -> None:
    nest = Nest([Point(1.5, Path("a/b"))], {7: Renamed(2.0)})
    assert encode(nest) == {"points": [{"x": 1.5, "where": "a/b"}], "by_name": {"7": {"it/s": 2.0}}}


def test_values_of_the_standard_library_and_numpy() -> None:
    moment = dt.datetime(2025, 1, 2, 3, 4, tzinfo=dt.UTC)
    values = [Colour.RED, moment, b"\xc3\xa9", {3}, np.float32(0.5), np.arange(2), (1, None)]
    assert encode(values) == ["red", "2025-01-02T03:04:00+00:00", "é", [3], 0.5, [0, 1], [1, None]]


def test_numbers_that_json_lacks_become_null() -> None:
    assert json.loads(dump([math.nan, math.inf, np.float64("nan")])) == [None, None, None]


def test_lone_surrogates_survive_as_escapes_and_other_letters_stay() -> None:
    text = dump("é\ud800")
    assert text == '"é\\ud800"'
    assert json.loads(text) == "é\ud800"


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False)
)


@given(
    st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)
)
def test_what_json_can_hold_comes_back_unchanged(value: Any) -> None:
    assert json.loads(dump(value)) == value
