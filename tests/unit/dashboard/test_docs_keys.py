"""The keys in docs/dashboard.md are those of the code."""

from __future__ import annotations

from docs import keys
from nanoshell.dashboard.table import ACTIONS


def test_the_keys_in_the_page_are_those_of_the_code() -> None:
    page = keys.PAGE.read_text("utf-8")
    assert keys.renewed(page) == page, "write it anew: .venv/bin/python docs/keys.py"


def test_a_stale_page_is_seen_and_every_action_is_told() -> None:
    page = keys.PAGE.read_text("utf-8")
    assert keys.renewed(page.replace("Train longer", "Train shorter")) == page
    assert all(f"| {action.title}" in page for action in ACTIONS if action.keys)
