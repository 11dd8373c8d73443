"""What the dashboard remembers from one time to the next: its view, the maximised chart, how charts look."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nanoshell.dashboard.chart.palette import COLOURS
from nanoshell.dashboard.course import AXES, FITS, Sight
from nanoshell.errors import StorageError
from nanoshell.files import write_text

_MOST_COLOURS = 500
"""Of so many runs the colours are kept, those of the runs that were shown last."""


@dataclass(frozen=True)
class Layout:
    """The ``view`` by its name, the ``maximized`` panel by its id ('' for none), the options of charts.

    ``kept`` is what panels remember, ``colours`` are the numbers of those that runs had, by their names; the
    run that was shown last is the last.
    """

    view: str = "charts"
    maximized: str = ""
    sight: Sight = Sight()  # noqa: RUF009 - it is frozen
    kept: Mapping[str, Any] = field(default_factory=dict)
    colours: Mapping[str, int] = field(default_factory=dict)


def load_layout(path: Path | None) -> Layout:
    """Return what is kept at ``path``; whatever is not there, or makes no sense, is as at the first time."""
    try:
        kept = json.loads(path.read_text("utf-8")) if path is not None else {}
    except (OSError, ValueError):
        kept = {}
    if not isinstance(kept, dict):
        return Layout()
    words = {name: kept[name] for name in ("view", "maximized") if isinstance(kept.get(name), str)}
    panels = kept.get("panels")
    return Layout(
        **words,
        sight=_sight(kept.get("sight")),
        kept=panels if isinstance(panels, dict) else {},
        colours=_colours(kept.get("colours")),
    )


def keep_layout(path: Path | None, layout: Layout) -> None:
    """Keep ``layout`` at ``path``. Failing to is no reason to fail."""
    if path is None:
        return
    sight = layout.sight
    kept = {
        "view": layout.view,
        "maximized": layout.maximized,
        "sight": {
            "axis": sight.axis,
            "smoothing": sight.smoothing,
            "log_x": sight.log_x,
            "log_y": sight.log_y,
            "fit": sight.fit,
        },
        "panels": dict(layout.kept),
        "colours": dict(list(layout.colours.items())[-_MOST_COLOURS:]),
    }
    with contextlib.suppress(StorageError, OSError):
        write_text(path, json.dumps(kept) + "\n", private=True)


def _colours(kept: Any) -> dict[str, int]:
    found = kept.items() if isinstance(kept, dict) else ()
    return {name: number for name, number in found if type(number) is int and 0 <= number < COLOURS}


def _sight(kept: Any) -> Sight:
    """Return how charts looked; where in the data they did is not kept: it was another run's."""
    sight = Sight()
    if not isinstance(kept, dict):
        return sight
    if kept.get("axis") in AXES:
        sight = replace(sight, axis=kept["axis"])
    if kept.get("fit") in FITS:
        sight = replace(sight, fit=kept["fit"])
    smoothing = kept.get("smoothing")
    if isinstance(smoothing, (int, float)) and not isinstance(smoothing, bool) and 0 <= smoothing < 1:
        sight = replace(sight, smoothing=float(smoothing))
    flags = {name: kept[name] for name in ("log_x", "log_y") if isinstance(kept.get(name), bool)}
    return replace(sight, **flags)
