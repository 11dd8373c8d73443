"""How trouble with a plugin is told: one line that names the plugin, the reason, and what to do."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from nanoshell.errors import NanoshellError, PluginError
from nanoshell.plugin.discovery import PluginInfo
from nanoshell.spelling import typed

Report = Callable[[str], None]

_REASON_LENGTH = 300


@dataclass(frozen=True)
class Policy:
    """How trouble is told: by one line through ``report``, or, when ``strict``, by raising it.

    ``lines`` keeps what was told.
    """

    report: Report
    strict: bool
    lines: list[str]

    def tell(
        self, plugin: PluginInfo, what: str, cause: BaseException | None = None, *, advice: str = ""
    ) -> None:
        """Say ``what`` of ``plugin``, and what to do. Raises `PluginError` when strict."""
        self.say(f"plugin {plugin.label} {what}; {advice or how_to_disable(plugin)}", cause)

    def mention(self, plugin: PluginInfo, what: str) -> None:
        """Say ``what`` of ``plugin``, which is no mistake: it is never raised."""
        self._report(f"plugin {plugin.label} {what}")

    def say(self, text: str, cause: BaseException | None = None) -> None:
        """Say ``text``. Raises `PluginError` when strict."""
        if self.strict:
            raise PluginError(self._line(text).removeprefix("nanoshell: ")) from cause
        self._report(text)

    def _report(self, text: str) -> None:
        self.lines.append(self._line(text))
        self.report(self.lines[-1])

    def _line(self, text: str) -> str:
        return f"nanoshell: {one_line(text, 3 * _REASON_LENGTH)}"


def how_to_disable(plugin: PluginInfo) -> str:
    """Return the advice for who would rather do without ``plugin``."""
    if (plugin.origin, plugin.name) == ("built-in", "commands"):  # it brings the command that disables
        return "it is a part of nanoshell: install nanoshell anew"
    return f"to do without it: {typed(f'plugin disable {plugin.name}')}"


def how_to_rename(plugin: PluginInfo) -> str:
    """Return the advice for a name that is taken: disabling by that name would disable both plugins."""
    return f"rename {'the file' if plugin.origin == 'file' else 'its entry point'} to have both"


def remark(plugin: PluginInfo, text: str) -> None:
    """Keep ``text`` with what else does not work in ``plugin``."""
    plugin.reason = f"{plugin.reason}; {text}" if plugin.reason else text


def why(error: BaseException) -> str:
    """Return one line for ``error``: type and words, and where in the plugin it happened."""
    text = words_of(error)
    if isinstance(error, NanoshellError):
        return one_line(text, _REASON_LENGTH)
    text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and f"{os.sep}nanoshell{os.sep}" not in frame.filename
    ]
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return one_line(text, _REASON_LENGTH) + where


def words_of(error: BaseException) -> str:
    """Return the text of ``error``, empty where its own ``__str__`` fails."""
    try:
        return str(error)
    except Exception:  # an exception that cannot be told is still only a plugin's failure
        return ""


def one_line(text: str, length: int) -> str:
    """Return ``text`` on one line of at most ``length`` characters, without what could steer a terminal."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= length else line[: length - 2] + " …"


def fresh_line(stream: IO[str]) -> str:
    """Return what puts the cursor of a terminal to the start of a line, wherever it is; "" elsewhere.

    It is as many spaces as a line has but one, and a return: only behind something do they reach the next
    line. (zsh does this before its prompt.)
    """
    if not stream.isatty() or os.environ.get("TERM") == "dumb":
        return ""
    import shutil

    return " " * (shutil.get_terminal_size().columns - 1) + "\r"
