"""What the dashboard remembers from one time to the next: its view, the maximised chart, how charts look."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nanoshell.dashboard.course import AXES, Sight
from nanoshell.errors import StorageError
from nanoshell.files import write_text


@dataclass(frozen=True)
class Layout:
    """The ``view`` by its name, the ``maximized`` panel by its id ('' for none), the options of charts.

    ``kept`` is what panels remember.
    """

    view: str = "charts"
    maximized: str = ""
    sight: Sight = Sight()  # noqa: RUF009 - it is frozen
    kept: Mapping[str, Any] = field(default_factory=dict)


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
    return Layout(**words, sight=_sight(kept.get("sight")), kept=panels if isinstance(panels, dict) else {})


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
        },
        "panels": dict(layout.kept),
    }
    with contextlib.suppress(StorageError, OSError):
        write_text(path, json.dumps(kept) + "\n", private=True)


def _sight(kept: Any) -> Sight:
    """Return how charts looked; where in the data they did is not kept: it was another run's."""
    sight = Sight()
    if not isinstance(kept, dict):
        return sight
    if kept.get("axis") in AXES:
        sight = replace(sight, axis=kept["axis"])
    smoothing = kept.get("smoothing")
    if isinstance(smoothing, (int, float)) and not isinstance(smoothing, bool) and 0 <= smoothing < 1:
        sight = replace(sight, smoothing=float(smoothing))
    flags = {name: kept[name] for name in ("log_x", "log_y") if isinstance(kept.get(name), bool)}
    return replace(sight, **flags)
