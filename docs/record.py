"""Record the pictures of the README and of docs/: real runs in real terminals, none of it drawn by hand.

``.venv/bin/python docs/record.py`` renews all of them in about five minutes, ``--only dashboard`` those of
docs/dashboard.md alone. It needs tmux; the PNGs need Chromium or Chrome and are left as they are without one.

demo                  the demo from nothing                               demo.svg
prompt                a tour at the prompt that it leaves open            prompt.svg
dashboard-160x48      charts of two runs, one of which trains             also as .png
dashboard-80x24       the same at the least size that it takes          also as .png
dashboard-chart       one chart, smoothed over what was measured
dashboard-samples     the texts of two steps, differences marked
dashboard-runs        the runs of the folder, and where two configs differ
dashboard-palette     the palette of commands
dashboard-light       charts in a light terminal
the ASCII one         into docs/dashboard.md, as text
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.terminal_theme import DEFAULT_TERMINAL_THEME, MONOKAI, TerminalTheme

from recording.picture import draw
from recording.raster import rasterise
from recording.terminal import Terminal, terminal

DOCS = Path(__file__).parent
PICTURES = DOCS / "pictures"
PAGE = DOCS / "dashboard.md"
ALSO_AS_PNG = ("dashboard-80x24", "dashboard-160x48")

TOAST = "▌|learning.rate .*->"
PROMPTS = ["A run is", "The model "]
PROSE = ("chat", "configuration", "dashboard", "data", "inside", "plugins", "shell", "training")
"""What the runs learn: those of these documents that are no tables out of the code."""
EXPERTS = (
    "feed_forward=moe",
    "num_experts=4",
    "experts_per_tok=2",
    "intermediate_size=128",
    "max_seq_len=256",
)
OFTEN = (
    "eval_interval=40",
    "eval_tokens=6000",
    "save_interval=200",
    "sample_interval=40",
    "sample_tokens=230",
    "batch_size=4",
)
_SAMPLE = re.compile(r"(<!-- recorded: ascii -->\n).*?(<!-- end -->)", re.DOTALL)


class Studio:
    """Where pictures are taken: a folder with a home and texts of its own, and the program that is shown."""

    def __init__(self, program: str, folder: Path, look: Path | None) -> None:
        self.program, self.folder, self._look = program, folder, look
        # A core for each run: they train beside each other while their charts are drawn.
        self._environment = {**os.environ, "NANOSHELL_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}

    def ask(self, *arguments: str) -> None:
        """Let the program do something in the folder, outside of pictures."""
        subprocess.run(
            [*self.program.split(), *arguments], cwd=self.folder, env=self._environment, check=True
        )

    def take(self, screen: Terminal, name: str, title: str, theme: TerminalTheme = MONOKAI) -> None:
        """Save what ``screen`` shows as the picture ``name``."""
        PICTURES.mkdir(exist_ok=True)
        path = PICTURES / f"{name}.svg"
        path.write_text(draw(screen.colours(), screen.columns, screen.rows, title, theme), "utf-8")
        print(path)
        if name in ALSO_AS_PNG and not rasterise(path, path.with_suffix(".png")):
            print(f"no browser: {path.with_suffix('.png')} is left as it is", file=sys.stderr)
        if self._look:
            rasterise(path, self._look / f"{name}.png")


def record_demo(studio: Studio) -> None:
    """The demo from nothing, then a tour at the prompt that it leaves open."""
    with terminal(100, 47, studio.folder, f"{studio.program} demo") as screen:
        screen.wait_for_prompt()
        studio.take(screen, "demo", "make demo")
    with terminal(100, 58, studio.folder, studio.program) as screen:
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
        studio.take(screen, "prompt", "nanoshell")


def start_training(studio: Studio, name: str, learning_rate: float, *options: str, steps: int) -> None:
    """Train on these documents, by characters: in the background where ``options`` say so."""
    model = [word for key in EXPERTS for word in ("--set", f"model.{key}")]
    keys = (*OFTEN, f"sample_prompts={PROMPTS}", f"max_steps={steps}")
    trainer = [word for key in keys for word in ("--set", f"trainer.{key}")]
    given = ("--config", "tiny-shakespeare", "--data", "notes", "--val-fraction", "0.1", "--name", name)
    studio.ask("train", *given, "--learning-rate", str(learning_rate), *model, *trainer, *options)


def record_dashboard(studio: Studio) -> None:
    """Three runs, of which one trains and is steered: charts in two sizes, and what else there is to see."""
    (studio.folder / "notes").mkdir()
    for page in PROSE:
        shutil.copy(DOCS / f"{page}.md", studio.folder / "notes")
    start_training(studio, "bold", 0.008, "--background", steps=6000)
    try:
        start_training(studio, "hasty", 0.3, steps=40)
        start_training(studio, "careful", 0.001, steps=240)
        record_charts(studio)
        record_views(studio)
        record_colours(studio)
    finally:
        studio.ask("runs", "stop", "bold-1")


def shown(studio: Studio, *options: str, light: bool = False) -> str:
    """Return the command that shows the two runs in a terminal of dark or light ground."""
    ground = "0;15" if light else "15;0"
    words = (
        "env",
        f"COLORFGBG='{ground}'",
        studio.program,
        "--no-history",
        "dashboard",
        "bold-1",
        "careful-1",
    )
    return " ".join((*words, *options))


def pointed_at(screen: Terminal) -> int:
    """Return the step at the crosshair; 0 without one."""
    found = re.search(r"at step ([\d,]+)", screen.text())
    return int(found[1].replace(",", "")) if found else 0


def progress(screen: Terminal) -> int:
    """Return the step that the header tells of the run in focus."""
    found = re.search(r"([\d,]+)/6,000", screen.text())
    return int(found[1].replace(",", "")) if found else 0


def record_charts(studio: Studio) -> None:
    """Steer the run that trains while its charts are on the screen, and point at a step."""
    with terminal(160, 48, studio.folder, shown(studio)) as screen:
        screen.wait_for_charts()
        for _ in range(4):
            screen.press("{")
            screen.wait_for(TOAST)
        steered = progress(screen)
        while progress(screen) < 1.15 * steered:
            time.sleep(1)
        screen.wait_for("cpu", absent=TOAST)
        while not 0 < pointed_at(screen) < 220:  # where the other run has values, too
            screen.press("S-Left")
            time.sleep(0.3)
        studio.take(screen, "dashboard-160x48", "nanoshell dashboard")
    with terminal(120, 32, studio.folder, shown(studio)) as screen:
        screen.wait_for_charts()
        screen.press("Enter", "s")
        screen.wait_for("smoothing")
        screen.wait_for("cpu", absent="smoothing 0.9")
        studio.take(screen, "dashboard-chart", "nanoshell dashboard: Enter on a chart, s for smoother")


def record_views(studio: Studio) -> None:
    """Texts, runs and the palette."""
    with terminal(110, 28, studio.folder, shown(studio)) as screen:
        screen.press("2")
        screen.wait_for("A run is")
        screen.press("Home", "m", "End")
        screen.wait_for(r"step 40 .*step [\d,]{3,} ", absent="stays on the left")
        studio.take(screen, "dashboard-samples", "nanoshell dashboard: 2, m on a step, then another")
    with terminal(110, 24, studio.folder, shown(studio)) as screen:
        screen.press("3")
        screen.wait_for("hasty-1")
        screen.press("m", "Up", "Up", "d")
        screen.wait_for("learning_rate")
        studio.take(screen, "dashboard-runs", "nanoshell dashboard: 3, m on two runs, d")
    with terminal(90, 24, studio.folder, shown(studio)) as screen:
        screen.wait_for_charts()
        screen.press("C-p")
        screen.wait_for("What is to be done")
        screen.press("-l", "learning")
        screen.wait_for("Set the learning", absent="Logarithmic")
        studio.take(screen, "dashboard-palette", "nanoshell dashboard: Ctrl-P")


def record_colours(studio: Studio) -> None:
    """The least size, a light terminal, and one that has nothing but ASCII."""
    with terminal(80, 24, studio.folder, shown(studio)) as screen:
        screen.wait_for_charts()
        studio.take(screen, "dashboard-80x24", "nanoshell dashboard")
    with terminal(120, 34, studio.folder, shown(studio, light=True)) as screen:
        screen.wait_for_charts()
        studio.take(screen, "dashboard-light", "nanoshell dashboard", DEFAULT_TERMINAL_THEME)
    with terminal(80, 24, studio.folder, shown(studio, "--ascii")) as screen:
        screen.wait_for("cpu")
        text = "\n".join(line.rstrip() for line in screen.text().splitlines())
        PAGE.write_text(
            _SAMPLE.sub(lambda at: f"{at[1]}```text\n{text}\n```\n{at[2]}", PAGE.read_text("utf-8")), "utf-8"
        )
        print(PAGE)


def main() -> None:
    """Record what was asked for into ``docs/pictures``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=["demo", "dashboard"])
    parser.add_argument("--program", default=str(Path(sys.executable).with_name("nanoshell")))
    parser.add_argument("--look", type=Path, metavar="FOLDER", help="rasterise each picture into FOLDER, too")
    options = parser.parse_args()
    if options.look:
        options.look.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="nanoshell-") as folder:
        studio = Studio(options.program, Path(folder), options.look)
        if options.only != "dashboard":
            record_demo(studio)
        if options.only != "demo":
            record_dashboard(studio)


if __name__ == "__main__":
    main()
