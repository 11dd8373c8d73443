"""Moving about: how zooming, panning and following change the view that charts share."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from nanoshell.dashboard.chart.scale import Scale, spread

if TYPE_CHECKING:
    from nanoshell.dashboard.course import Sight

_NARROWEST = 1e-9
"""What is seen is never less than this share of the data, or of the place where it stands."""

ROOM = 1 / 20
"""So much of what is seen is at most kept free for what a run that goes on will add: half of it at least."""

Span = tuple[float, float]


def with_room(span: Span, sight: Sight) -> Span:
    """Return ``span`` with its end moved on to the next of a few places, for data that goes on.

    What is seen then stays where it is for a while, and what was drawn of it stays as it is.
    """
    first, last = span
    if sight.log_x and not 0 < first < last:
        return span
    begin, end = (math.log(first), math.log(last)) if sight.log_x else (first, last)
    width = end - begin
    if not sight.log_x and sight.left is not None and sight.right is not None:
        width = min(width, sight.right - sight.left)
    if not 1e-9 * max(abs(begin), abs(end)) < width < math.inf:
        return span
    step = 2.0 ** math.floor(math.log2(width * ROOM))
    end = begin + math.ceil((end - begin) / step) * step
    return first, max(last, math.exp(end) if sight.log_x else end)


def seen(sight: Sight, span: Span) -> Scale:
    """Return the scale of the x axis: what ``sight`` shows of data that goes from ``span[0]`` to ``span[1]``.

    On a logarithmic axis ``span`` is that of the data above 0.
    """
    first, last = span
    left = first if sight.left is None else sight.left
    right = last if sight.right is None else sight.right
    if sight.follow and sight.left is not None and sight.right is not None:
        left, right = (max(first, last - (right - left)), last) if right > left else (first, last)
    elif sight.follow:
        right = max(last, left)
    if sight.log_x:
        left = left if left > 0 else min(first, right) if first > 0 else 1e-9
        right = right if right > left else max(last, left)
    return spread(left, right, sight.log_x) if right >= left else spread(first, last, sight.log_x)


def zoomed(sight: Sight, span: Span, factor: float, around: float | None = None) -> Sight:
    """Return ``sight`` with ``factor`` times as much seen; the place ``around`` (0 to 1) stays where it is.

    Without ``around`` that is the right edge while following, and the middle otherwise. Zooming out beyond
    all data shows all.
    """
    scale = seen(sight, span)
    if around is None:
        around = 1.0 if sight.follow else 0.5
    left, right = scale.at(around - around * factor), scale.at(around + (1 - around) * factor)
    least = max(_NARROWEST * (span[1] - span[0]), 1e-12 * max(abs(left), abs(right)))
    if right - left < least and factor < 1:
        return sight
    return _within(sight, span, left, right)


def panned(sight: Sight, span: Span, share: float) -> Sight:
    """Return ``sight`` moved right by ``share`` of what is seen (left where it is negative), within the data.

    Who moves off the newest point no longer follows; who comes back to it does.
    """
    scale = seen(sight, span)
    end = scale.place_of(span[1]) - 1
    begin = scale.place_of(span[0]) if span[0] > 0 or not scale.log else 0.0
    share = min(share, max(0.0, end)) if share > 0 else max(share, min(0.0, begin))
    if abs(share) < 1e-12:
        return sight
    return _within(sight, span, scale.at(share), scale.at(1 + share))


def _within(sight: Sight, span: Span, left: float, right: float) -> Sight:
    """Return ``sight`` looking from ``left`` to ``right``, as far as there is data."""
    first, last = span
    if left < first:
        left, right = first, right if sight.log_x else min(last, right + (first - left))
    if right > last:
        left, right = left if sight.log_x else max(first, left - (right - last)), last
    room = 1e-9 * (right - left)
    if left <= first + room and right >= last - room:
        return whole(sight)
    return replace(sight, left=left, right=right, follow=right >= last - room)


def whole(sight: Sight) -> Sight:
    """Return ``sight`` of all data, following."""
    return replace(sight, left=None, right=None, follow=True)


def following(sight: Sight, span: Span) -> Sight:
    """Return ``sight`` following the newest point with the width it has; if it did follow, no longer."""
    scale = seen(sight, span)
    if sight.follow:
        return replace(sight, left=scale.low, right=scale.high, follow=False)
    if sight.left is None or sight.right is None:
        return replace(sight, follow=True)
    return replace(sight, left=span[1] - (scale.high - scale.low), right=span[1], follow=True)


def showing(sight: Sight, span: Span, x: float) -> Sight:
    """Return ``sight`` with the crosshair at ``x``, moved as little as shows it."""
    scale = seen(sight, span)
    place = scale.place_of(x) if x > 0 or not scale.log else 0.0
    moved = sight
    if math.isfinite(place) and not -1e-9 <= place <= 1 + 1e-9:
        moved = panned(sight, span, place - 0.9 if place > 1 else place - 0.1)
    return replace(moved, cursor=x)
