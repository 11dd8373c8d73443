"""Write the keys of docs/dashboard.md from the tables of actions of the dashboard and its panels.

Run it from a checkout after a change of a key: ``.venv/bin/python docs/keys.py``. What stands between two
marks of the page is written anew; the rest is by hand. A test fails where the page is stale.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from nanoshell.dashboard.actions import Action
from nanoshell.dashboard.keys import binding_id, written
from nanoshell.dashboard.panel import Panel
from nanoshell.dashboard.table import ACTIONS, DESK, RUN
from nanoshell.testing import plugins_with

PAGE = Path(__file__).parent / "dashboard.md"

_BLOCK = re.compile(r"(<!-- from the code: keys -->\n).*?(<!-- end -->)", re.DOTALL)
_EVERYWHERE = {DESK: "Everywhere", RUN: "Steering the run in focus"}


def main() -> None:
    """Write the page anew."""
    PAGE.write_text(renewed(PAGE.read_text("utf-8")), "utf-8")


def renewed(page: str) -> str:
    """Return ``page`` with the keys as the code has them now."""
    tables = "\n".join(_tables()).strip()
    return _BLOCK.sub(lambda block: f"{block[1]}{tables}\n{block[2]}", page)


def _tables() -> Iterator[str]:
    for group, heading in _EVERYWHERE.items():
        yield from _table(heading, "", [action for action in ACTIONS if action.group == group])
    told: set[Action] = set()
    for entry in plugins_with().panels:
        panel: Panel = entry.value()
        charts = panel.place == "charts" and not told & set(panel.actions)
        new = [action for action in panel.actions if panel.place != "charts" or action not in told]
        told |= set(new)
        if new:
            yield from _table("Charts" if charts else panel.title, panel.panel_id, new)


def _table(heading: str, owner: str, actions: Iterable[Action]) -> Iterator[str]:
    yield f"\n### {heading}\n"
    yield from ("| keys | | name |", "|---|---|---|")
    for action in actions:
        if action.keys:
            keys = " ".join(f"`{written(key)}`" for key in action.keys)
            asked = "; asks first" if action.question else ""
            yield f"| {keys.replace('|', '&#124;')} | {action.title}{asked} | `{binding_id(action, owner)}` |"


if __name__ == "__main__":
    main()
