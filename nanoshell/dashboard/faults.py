"""What is told of a panel that has failed: a card in its place, and all of it in the dashboard's log."""

from __future__ import annotations

import io
import logging
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.css.stylesheet import StylesheetParseError
from textual.widgets import Static

from nanoshell import paths
from nanoshell.dashboard.handover import LOG_NAME
from nanoshell.dashboard.panels.plain import plain
from nanoshell.spelling import typed

if TYPE_CHECKING:
    from nanoshell.plugin.registry import Entry

OWN_PLUGIN = "panels"
"""The plugin that brings the panels of nanoshell itself: nobody is told to do without all of them."""

NO_AUTHORS = ("nanoshell", "textual")
"""Packages whose lines are not where an author looks first."""

_CARD_WIDTH = 70

_log = logging.getLogger(__name__)


class ErrorCard(VerticalScroll):
    """What stands in the place of a panel that has failed: its name, its plugin's, the error, what to do."""

    def __init__(self, panel: str, plugin: str, error: BaseException) -> None:
        super().__init__()
        told = "\n".join(map(plain, _words(error).splitlines()))  # it must not steer the terminal
        self.text = f"The panel '{panel}' of plugin '{plugin}' has failed\n\n{type(error).__name__}: {told}"
        if where := place_of(error):
            self.text += f"\n{where}"
        if error.__traceback__ is not None:
            self.text += f"\nThe traceback is in {paths.data_dir() / LOG_NAME}"
        self.text += "\n\nThe rest of the dashboard goes on; opened anew, it tries this panel again."
        if plugin != OWN_PLUGIN:
            self.text += f"\nTo do without the plugin: {typed(f'plugin disable {plugin}')}"

    def compose(self) -> ComposeResult:
        yield Static(Text(self.text))


def tell_author(entry: Entry[Callable[..., Any]], error: BaseException) -> None:
    """Write how ``error`` of a panel came about to the log of the dashboard: a card has no room for it."""
    if error.__traceback__ is not None:
        said = "the panel '%s' of plugin '%s' has failed"
        _log.error(said, entry.name, entry.provider, exc_info=(type(error), error, error.__traceback__))


def place_of(error: BaseException) -> str:
    """Return where ``error`` was raised: ``file.py:12``, of an author's code where some was on the way."""
    steps = list(traceback.walk_tb(error.__traceback__))[::-1]
    authors = (step for step in steps if package_of(step[0]) not in (*NO_AUTHORS, *sys.stdlib_module_names))
    found = next(authors, steps[0] if steps else None)
    return f"{found[0].f_code.co_filename}:{found[1]}" if found is not None else ""


def package_of(frame: FrameType) -> str:
    """Return the package whose code runs in ``frame``, '' where that is not known."""
    name: str = frame.f_globals.get("__name__", "")
    return name.partition(".")[0]


def _words(error: BaseException) -> str:
    """Return what ``error`` says; of styles that cannot be read it is something to be drawn."""
    if not isinstance(error, StylesheetParseError):
        return str(error)
    console = Console(file=io.StringIO(), width=_CARD_WIDTH, color_system=None)
    with console.capture() as said:
        console.print(error.errors)
    return said.get()
