"""What the charts draw of the runs: which figures, as which lines; and moments on another axis."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from nanoshell.dashboard.chart.curve import ChartSeries
from nanoshell.dashboard.chart.palette import part_colour
from nanoshell.dashboard.panels.plain import plain

if TYPE_CHECKING:
    from nanoshell.dashboard.course import Axis, Course, Series, Sight, Snapshot


@dataclass(frozen=True)
class Figure:
    """A series of a `Course` by its ``name``, and what its line is called; ``points`` draws markers."""

    name: str
    label: str
    points: bool = False


def has(snapshot: Snapshot, name: str) -> bool:
    """Return whether a run that is shown has values of the series ``name``."""
    return any(name in course.series and len(course.series[name].value) for course in snapshot.courses)


def lines(snapshot: Snapshot, figures: tuple[Figure, ...], axis: Axis) -> list[ChartSeries]:
    """Return ``figures`` of each run that has them, along ``axis`` in the colour of the run."""
    several = len(snapshot.courses) > 1
    found = []
    for index, course in enumerate(snapshot.courses):
        for figure in figures:
            series = course.series.get(figure.name)
            if series is None or not len(series.value):
                continue
            whose = plain(course.run.name)
            run = whose if several else ""
            name = run if several and len(figures) == 1 else f"{run} {figure.label}".strip()
            found.append(
                ChartSeries(
                    name,
                    series.along(axis),
                    series.value,
                    snapshot.colours.get(course.run.name, index),
                    figure.points,
                    index == snapshot.focus,
                    run,
                    series,
                    whose,
                    figure.label,
                    course.status.ended,
                )
            )
    return found


def whole_span(snapshot: Snapshot, axis: Axis) -> tuple[float, float] | None:
    """Return where the training losses of all runs begin and end on ``axis``; None where there are none."""
    columns = [course.series["loss"].along(axis) for course in snapshot.courses if "loss" in course.series]
    columns = [column for column in columns if len(column)]
    if not columns:
        return None
    return min(float(np.min(one)) for one in columns), max(float(np.max(one)) for one in columns)


def expert_layers(course: Course | None) -> list[int]:
    """Return the layers that route tokens to experts, by rising number."""
    names = (name.split(".") for name in (course.series if course else ()))
    return sorted({int(parts[1]) for parts in names if parts[0] == "expert_load" and parts[1].isdecimal()})


def with_experts(snapshot: Snapshot) -> Course | None:
    """Return the run whose experts are shown: the focused one, else the first that has some; None without."""
    focused = (snapshot.focused,) if snapshot.focused is not None else ()
    return next((course for course in (*focused, *snapshot.courses) if expert_layers(course)), None)


def expert_lines(course: Course, layer: int, axis: Axis) -> list[ChartSeries]:
    """Return the load of each expert of ``layer``, in a colour for each, none of them a run's."""
    found: list[tuple[int, Series]] = []
    for name, series in course.series.items():
        kind, _, place = name.partition(".")
        of_layer, _, expert = place.partition(".")
        if kind == "expert_load" and of_layer == str(layer) and expert.isdecimal():
            found.append((int(expert), series))
    return [
        ChartSeries(
            f"expert {expert}",
            series.along(axis),
            series.value,
            part_colour(expert),
            called=str(expert),
            rows=series,
            run=plain(course.run.name),
            figure=f"layer {layer}, expert {expert}",
        )
        for expert, series in sorted(found, key=lambda pair: pair[0])
    ]


def along(sight: Sight, axis: Axis, course: Course | None) -> Sight:
    """Return ``sight`` along ``axis``: its edges and its crosshair at the same moments of ``course``.

    By step the crosshair stands at a whole one. Where the run has no training loss to tell them by, all of it
    is seen.
    """
    loss = course.series.get("loss") if course else None
    if loss is None or not len(loss.value):
        return replace(sight, axis=axis, left=None, right=None, cursor=None, follow=True)
    before, after = loss.along(sight.axis), loss.along(axis)

    def moved(place: float | None) -> float | None:
        return None if place is None else float(np.interp(place, before, after))

    cursor = moved(sight.cursor)
    if cursor is not None and axis == "step":
        cursor = float(round(cursor))
    return replace(sight, axis=axis, left=moved(sight.left), right=moved(sight.right), cursor=cursor)
