"""A terminal to be photographed: one tmux pane of a given size that runs one program."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

PROMPT = "nanoshell>"
WORK_SECONDS = 300.0
"""How long a command at the prompt may take: the demo trains."""
DRAW_SECONDS = 60.0
"""How long a screen that is open may take to show something."""

_NUMBERS = count()
_DOTS = re.compile("[\u2801-\u28ff]")


class Terminal:
    """One tmux pane that runs one program."""

    def __init__(self, socket: str, columns: int, rows: int, folder: Path, command: str) -> None:
        self.columns, self.rows = columns, rows
        self._tmux = ["tmux", "-L", socket, "-f", os.devnull]
        variables = (f"NANOSHELL_HOME={folder / 'home'}", "TERM=tmux-256color", "COLORTERM=truecolor")
        given = [word for variable in variables for word in ("-e", variable)]
        size = ["-x", str(columns), "-y", str(rows)]
        self.run("new-session", "-d", *size, "-c", str(folder), *given, command)

    def run(self, *arguments: str) -> str:
        """Give tmux a command and return what it printed."""
        done = subprocess.run([*self._tmux, *arguments], check=True, capture_output=True, text=True)
        return done.stdout

    def press(self, *keys: str) -> None:
        """Press ``keys``, by tmux's names of them."""
        self.run("send-keys", *keys)

    def type(self, line: str) -> None:
        """Type ``line`` and press Enter."""
        self.run("send-keys", "-l", line)
        self.press("Enter")

    def text(self) -> str:
        """Return the screen without colours."""
        return self.run("capture-pane", "-p")

    def colours(self) -> str:
        """Return the screen with its colours, as ANSI writes them."""
        return self.run("capture-pane", "-p", "-e", "-N").rstrip("\n")

    def wait_for(self, pattern: str, absent: str = "") -> None:
        """Wait until something on the screen matches ``pattern``, and nothing ``absent``."""
        self._wait(
            lambda text: bool(re.search(pattern, text)) and not (absent and re.search(absent, text)), pattern
        )

    def wait_for_charts(self) -> None:
        """Wait until lines are drawn on the screen, and the footer below them."""
        self._wait(lambda text: len(_DOTS.findall(text)) > 60 and "cpu" in text, "charts")

    def wait_for_prompt(self, number: int = 1) -> None:
        """Wait until the prompt stands there for the ``number``-th time, with nothing typed."""

        def ready(text: str) -> bool:
            prompts = [line.strip() for line in text.splitlines() if line.startswith(PROMPT)]
            return len(prompts) == number and prompts[-1] == PROMPT

        self._wait(ready, "prompt", WORK_SECONDS)

    def _wait(self, ready: Callable[[str], bool], what: str, seconds: float = DRAW_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not ready(text := self.text()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {what} on the screen:\n{text}")
            time.sleep(0.1)


@contextmanager
def terminal(columns: int, rows: int, folder: Path, command: str) -> Iterator[Terminal]:
    """Yield a terminal that is closed at the end."""
    socket = f"nanoshell-record-{os.getpid()}-{next(_NUMBERS)}"  # the last server may not have gone yet
    opened = Terminal(socket, columns, rows, folder, command)
    try:
        yield opened
    finally:
        opened.run("kill-server")
