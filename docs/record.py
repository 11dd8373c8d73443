"""Record the pictures of the README: real sessions in a real terminal, saved as SVG.

Run it from a checkout with tmux at hand: ``.venv/bin/python docs/record.py``. Each picture is the screen of a
terminal in which the lines below were typed; nothing is drawn by hand. Training runs take a minute or two.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, MONOKAI, TerminalTheme
from rich.text import Text

PICTURES = Path(__file__).parent / "pictures"
PROMPT = "nanoshell> "
WAIT_SECONDS = 300.0
DRAWN = "(.*[\\u2801-\\u28ff]{2}.*\\n){2}(.*\\n)*.*cpu"
"""Lines of a chart, and the footer."""

PROMPTS = ["The capital of France is", "Water freezes at"]
DASHBOARD_KEYS = tuple(
    word
    for key in ("eval_interval=20", "sample_interval=25", "sample_tokens=24", f"sample_prompts={PROMPTS}")
    for word in ("--set", f"trainer.{key}")
)
"""What makes a run of some hundred steps worth looking at."""


class Terminal:
    """One tmux pane of a given size that runs one program."""

    def __init__(self, socket: str, columns: int, rows: int, folder: Path, command: str) -> None:
        self._tmux = ["tmux", "-L", socket, "-f", os.devnull]
        variables = (f"NANOSHELL_HOME={folder / 'home'}", "TERM=tmux-256color", "COLORTERM=truecolor")
        given = [word for variable in variables for word in ("-e", variable)]
        size = ["-x", str(columns), "-y", str(rows)]
        self.run("new-session", "-d", *size, "-c", str(folder), *given, command)

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

    def wait_for(self, pattern: str) -> None:
        """Wait until something on the screen matches ``pattern``."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not re.search(pattern, self.text()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {pattern} on the screen:\n{self.text()}")
            time.sleep(0.1)

    def press(self, *keys: str) -> None:
        """Press ``keys``, by tmux's names of them."""
        self.run("send-keys", *keys)

    def save(self, name: str, title: str, theme: TerminalTheme = MONOKAI) -> None:
        """Save the screen, in its colours, as a picture."""
        screen = Text.from_ansi(self.run("capture-pane", "-p", "-e", "-N").rstrip("\n"), no_wrap=True)
        columns = int(self.run("display-message", "-p", "#{pane_width}"))
        console = Console(record=True, width=columns, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
        console.print(screen, soft_wrap=True)
        PICTURES.mkdir(exist_ok=True)
        path = PICTURES / f"{name}.svg"
        console.save_svg(str(path), title=title, theme=theme, unique_id=name)
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


def start_training(program: str, folder: Path, name: str, *options: str) -> None:
    """Train on the built-in texts: in the background where ``options`` say so, else to the end."""
    given = ["--data", "nano-start", "--val-fraction", "0.1", "--name", name, *DASHBOARD_KEYS, *options]
    env = {**os.environ, "NANOSHELL_HOME": str(folder / "home")}
    subprocess.run([*program.split(), "train", *given], cwd=folder, env=env, check=True)


def record_dashboard(program: str, folder: Path) -> None:
    """Two runs, the second one while it trains: charts in two sizes, in dark and in light, and its texts."""
    start_training(program, folder, "slow", "--learning-rate", "0.003", "--max-steps", "150")
    start_training(program, folder, "quick", "--num-epochs", "40", "--background")
    show = f"{program} dashboard quick-1 slow-1"
    try:
        with terminal(160, 48, folder, show) as screen:
            screen.wait_for(r"  1[2-9][0-9]/")
            screen.save("dashboard-160x48", "nanoshell dashboard")
            screen.press("2")
            screen.wait_for("The capital of France is")
            screen.save("dashboard-samples", "nanoshell dashboard")
        with terminal(80, 24, folder, f"env COLORFGBG='15;0' {show}") as screen:
            screen.press("1")
            screen.wait_for(DRAWN)
            screen.save("dashboard-80x24", "nanoshell dashboard")
        with terminal(120, 34, folder, f"env COLORFGBG='0;15' {show}") as screen:
            screen.wait_for(DRAWN)
            screen.save("dashboard-light", "nanoshell dashboard", DEFAULT_TERMINAL_THEME)
    finally:
        stop_training(program, folder, "quick-1")


def stop_training(program: str, folder: Path, run: str) -> None:
    """Stop ``run``, which trains in the background."""
    env = {**os.environ, "NANOSHELL_HOME": str(folder / "home")}
    subprocess.run([*program.split(), "runs", "stop", run], cwd=folder, env=env, check=True)


def main() -> None:
    """Record every picture into ``docs/pictures``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["demo", "dashboard"])
    parser.add_argument("--program", default=str(Path(sys.executable).with_name("nanoshell")))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.only != "dashboard":
            record_demo(options.program, Path(folder))
        if options.only != "demo":
            record_dashboard(options.program, Path(folder))


if __name__ == "__main__":
    main()
