"""Record the pictures of the README: real sessions in a real terminal, saved as SVG.

Run it from a checkout with tmux at hand: ``.venv/bin/python docs/record.py``. Each picture is the screen of a
terminal in which the lines below were typed; nothing is drawn by hand. Training runs take a minute or two.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

PICTURES = Path(__file__).parent / "pictures"
PROMPT = "nanoshell> "
WAIT_SECONDS = 300.0


class Terminal:
    """One tmux pane of a given size that runs one program."""

    def __init__(self, socket: str, columns: int, rows: int, folder: Path, command: str) -> None:
        self._tmux = ["tmux", "-L", socket, "-f", os.devnull]
        home = f"NANOSHELL_HOME={folder / 'home'}"
        size = ["-x", str(columns), "-y", str(rows)]
        self.run(
            "new-session", "-d", *size, "-c", str(folder), "-e", home, "-e", "TERM=tmux-256color", command
        )

    def run(self, *arguments: str) -> str:
        """Give tmux a command and return what it printed."""
        done = subprocess.run([*self._tmux, *arguments], check=True, capture_output=True, text=True)
        return done.stdout

    def type(self, line: str) -> None:
        """Type ``line`` and press Enter."""
        self.run("send-keys", "-l", line)
        self.run("send-keys", "Enter")

    def text(self) -> str:
        """Return the screen without colours."""
        return self.run("capture-pane", "-p")

    def wait_for_prompt(self, number: int = 1) -> None:
        """Wait until the prompt stands there for the ``number``-th time, with nothing typed."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            typed = [line for line in self.text().splitlines() if line.startswith(PROMPT.strip())]
            if len(typed) == number and typed[-1].strip() == PROMPT.strip():
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"no prompt on the screen:\n{self.text()}")
            time.sleep(0.1)

    def save(self, name: str, title: str) -> None:
        """Save the screen, in its colours, as a picture."""
        screen = Text.from_ansi(self.run("capture-pane", "-p", "-e", "-N").rstrip("\n"), no_wrap=True)
        columns = int(self.run("display-message", "-p", "#{pane_width}"))
        console = Console(record=True, width=columns, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
        console.print(screen, soft_wrap=True)
        PICTURES.mkdir(exist_ok=True)
        path = PICTURES / f"{name}.svg"
        console.save_svg(str(path), title=title, theme=MONOKAI, unique_id=name)
        print(path)


@contextmanager
def terminal(columns: int, rows: int, folder: Path, command: str) -> Iterator[Terminal]:
    """Yield a terminal that is closed at the end."""
    socket = f"nanoshell-record-{os.getpid()}-{rows}"  # the last server may not have gone yet
    opened = Terminal(socket, columns, rows, folder, command)
    try:
        yield opened
    finally:
        opened.run("kill-server")


def record_demo(program: str, folder: Path) -> None:
    """The demo from nothing, then a tour at the prompt that it leaves open."""
    with terminal(100, 46, folder, f"{program} demo") as screen:
        screen.wait_for_prompt()
        screen.save("demo", "make demo")
    with terminal(100, 42, folder, program) as screen:
        screen.wait_for_prompt()
        tour = (
            ":tokens Hello world, naïve café!",
            ":sample The capital of France is",
            "What is the capital of France?",
            ":model info",
        )
        for number, line in enumerate(tour, 2):
            screen.type(line)
            screen.wait_for_prompt(number)
        screen.save("prompt", "nanoshell")


def main() -> None:
    """Record every picture into ``docs/pictures``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", default=str(Path(sys.executable).with_name("nanoshell")))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        record_demo(options.program, Path(folder))


if __name__ == "__main__":
    main()
