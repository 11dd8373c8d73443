"""The prompt in a pseudo-terminal: from the start to a key that echoes, and from any key to its echo.

The start is compared, in turns, with ``python -c "import prompt_toolkit"``, the library that reads the keys:
the limit is twice its time, by the clock, in the medians of all runs. Keys are typed at uneven intervals; the
limit for their echo is 30 ms at the 99th percentile, while a run trains on all cores that this process may
use, and the same is measured without it. ``--only start`` or ``--only keys`` does one of the two.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import pty
import random
import re
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

START_LIMIT = 2.0
"""Times what importing prompt_toolkit takes."""

ECHO_LIMIT_MS = 30.0

PATIENCE_SECONDS = 60.0

_ASKS_FOR_CURSOR = b"\x1b[6n"
_CONTROLS = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>78]|[\r\n\x07\x08]")

TRAINING = """
model: {hidden_size: 64, num_layers: 2, num_heads: 4, intermediate_size: 128, max_seq_len: 64}
trainer: {batch_size: 16, num_epochs: 100000, softmax: sampled, learning_rate: 0.001, eval_interval: 0}
"""


class Terminal:
    """A program in a pseudo-terminal, of 80 × 24. It answers what a terminal is asked, as one does."""

    def __init__(
        self,
        arguments: list[str],
        folder: Path,
        env: Mapping[str, str],
        *,
        columns: int = 80,
        rows: int = 24,
    ) -> None:
        self.started = time.perf_counter()
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execve(sys.executable, [sys.executable, *arguments], dict(env))
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._drawn = b""

    def type(self, text: str) -> None:
        """Type ``text``."""
        os.write(self._fd, text.encode())

    def forget(self) -> None:
        """Take what has been drawn as seen."""
        while self._read(0.0):
            pass
        self._drawn = b""

    def draw(self, seconds: float) -> None:
        """Take what is drawn for so many seconds, as a terminal does: unread, a program halts."""
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            self._read(left)
            self._drawn = b""

    def wait_for(self, shown: str) -> float:
        """Return the clock's time at which ``shown`` was drawn, as letters without their styles."""
        wanted = shown.encode()
        end = time.perf_counter() + PATIENCE_SECONDS
        while wanted not in _CONTROLS.sub(b"", self._drawn):
            self._read(1.0)
            if time.perf_counter() > end:
                raise SystemExit(f"never drawn: {shown!r}; this was: {self._drawn[-2000:]!r}")
        return time.perf_counter()

    def _read(self, seconds: float) -> bool:
        if not select.select([self._fd], [], [], seconds)[0]:
            return False
        try:
            came = os.read(self._fd, 65536)
        except OSError:
            raise SystemExit(f"the program has ended: {self._drawn[-2000:]!r}") from None
        self._drawn += came
        for _ in range(came.count(_ASKS_FOR_CURSOR)):
            self.type("\x1b[1;1R")
        return True

    def close(self) -> None:
        """End the program and what it has started in its terminal."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.close(self._fd)
        os.waitpid(self.pid, 0)


def environment() -> dict[str, str]:
    """Return this process's environment, in which Python keeps compiled modules, as installing does."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@contextlib.contextmanager
def prompt(folder: Path) -> Iterator[Terminal]:
    """Start the prompt in ``folder``, with a home of its own there."""
    env = {**environment(), "TERM": "xterm-256color", "NANOSHELL_HOME": str(folder / "home")}
    terminal = Terminal(["-m", "nanoshell"], folder, env)
    try:
        yield terminal
    finally:
        terminal.close()


def start_seconds(folder: Path) -> float:
    """Return the seconds from the start of the program until a key that was typed at its prompt is drawn."""
    with prompt(folder) as terminal:
        terminal.wait_for("nanoshell> ")
        terminal.forget()
        terminal.type("q")
        return terminal.wait_for("q") - terminal.started


def import_seconds(folder: Path) -> float:
    """Return the seconds that Python takes to import prompt_toolkit."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import prompt_toolkit"], check=True, cwd=folder, env=environment())
    return time.perf_counter() - started


def echo_milliseconds(terminal: Terminal, keys: int) -> list[float]:
    """Return for each of ``keys`` letters the milliseconds until it was drawn."""
    draw = random.Random(1)
    found = []
    for number in range(keys):
        letter = "abcdefghijklmnopqrstuvwxyz"[number % 26]
        terminal.forget()
        before = time.perf_counter()
        terminal.type(letter)
        found.append(1000 * (terminal.wait_for(letter) - before))
        time.sleep(draw.uniform(0.02, 0.12))
        if number % 26 == 25:
            terminal.type("\x15")
            time.sleep(0.1)
    return found


def percentile(values: list[float], share: float) -> float:
    """Return the value that ``share`` of ``values`` do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def measure_start(folder: Path, runs: int) -> bool:
    """Print what a start takes beside the library's import, and return whether it keeps the limit."""
    start_seconds(folder)  # the first one fills the caches of Python and of the disk
    ours, theirs = [], []
    for _ in range(runs):
        theirs.append(import_seconds(folder))
        ours.append(start_seconds(folder))
    ratio = statistics.median(ours) / statistics.median(theirs)
    print(f"{'start, seconds':28} median    best   ratio (limit {START_LIMIT})")
    for name, values in (("import prompt_toolkit", theirs), ("prompt that echoes a key", ours)):
        of = statistics.median(values) / statistics.median(theirs)
        print(f"{name:28} {statistics.median(values):6.3f}  {min(values):6.3f}  {of:6.2f}")
    return ratio <= START_LIMIT


def measure_keys(folder: Path, keys: int) -> bool:
    """Print how long keys take to their echo, alone and beside a run; return whether the limit is kept."""
    (folder / "busy.yaml").write_text(TRAINING)
    print(f"{'key to echo, milliseconds':28} median    95 %    99 %    most (limit {ECHO_LIMIT_MS} at 99 %)")
    kept = True
    with prompt(folder) as terminal:
        terminal.wait_for("nanoshell> ")
        for name in ("nothing trains", "a run trains"):
            if name == "a run trains":
                terminal.type("\x15:train --config busy.yaml --data nano-start --name busy\r")
                terminal.wait_for("tokens/s")
            figures = echo_milliseconds(terminal, keys)
            row = (*(percentile(figures, share) for share in (0.5, 0.95, 0.99)), max(figures))
            print(f"{name:28} " + "  ".join(f"{value:6.1f}" for value in row))
            kept = kept and row[2] <= ECHO_LIMIT_MS
        terminal.type("\x15:run stop\r")
        terminal.wait_for("stopped")
    return kept


def main() -> int:
    """Measure, print the tables, and return 1 where a limit is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15, help="starts of each")
    parser.add_argument("--keys", type=int, default=400, help="keys that are typed, with a run and without")
    parser.add_argument("--only", choices=["start", "keys"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kept = [True]
        if options.only != "keys":
            kept.append(measure_start(Path(folder), options.runs))
        if options.only != "start":
            kept.append(measure_keys(Path(folder), options.keys))
    return int(not all(kept))


if __name__ == "__main__":
    sys.exit(main())
