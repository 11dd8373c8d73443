"""Where the time of training goes: the share outside forward, backward and optimizer (goal: under 2%).

The real worker trains nano-start in this process, with a run directory, event log, heartbeat and control
file; timers stand around what it calls. Clipping, moving rows of a sampled vocabulary and clearing gradients
count as the optimizer's. ``update`` is what an update does besides: routing figures, scaling the loss,
freeing memory. Saving and evaluating are left out of the whole: they are asked for by the config.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from nanoshell.data.loader import TokenLoader
from nanoshell.plugin.manager import load_plugins
from nanoshell.runs.control import ControlInbox
from nanoshell.runs.events import EventLog
from nanoshell.training import launch
from nanoshell.training.launch import TrainRequest, start_run
from nanoshell.training.loop import Loop
from nanoshell.training.objective import Objective
from nanoshell.training.plain_optimizer import AdamW
from nanoshell.training.presets import load_config
from nanoshell.training.sampled_softmax import CompactVocabulary
from nanoshell.training.saving import Saver
from nanoshell.training.trainer import Trainer
from nanoshell.training.worker import run_worker

COMPUTING = ("forward", "backward", "optimizer")
LEFT_OUT = ("saving", "evaluation")
TIMED: tuple[tuple[Any, str, str], ...] = (
    (Objective, "forward", "forward"),
    (torch.Tensor, "backward", "backward"),
    (torch.nn.utils, "clip_grad_norm_", "optimizer"),
    (AdamW, "step", "optimizer"),
    (AdamW, "zero_grad", "optimizer"),
    (CompactVocabulary, "draw", "optimizer"),
    (TokenLoader, "next_batch", "data"),
    (EventLog, "write", "logging"),
    (ControlInbox, "poll", "control"),
    (Saver, "save", "saving"),
    (Trainer, "evaluate", "evaluation"),
    (Trainer, "update", "update"),
    (Loop, "run_to_end", "loop"),
)


class Clock:
    """Adds up the time of each part, without that of the parts that it calls."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self._since = 0.0
        self._stack: list[str] = []

    def timed(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        """Return ``function`` with a timer around it. Outside of the loop, time is nobody's."""

        def call(*arguments: Any, **options: Any) -> Any:
            self._turn(part)
            self.calls[part] += 1
            try:
                return function(*arguments, **options)
            finally:
                self._turn(None)

        return call

    def _turn(self, part: str | None) -> None:
        now = time.perf_counter()
        if self._stack:
            self.seconds[self._stack[-1]] += now - self._since
        self._since = now
        if part is None:
            self._stack.pop()
        else:
            self._stack.append(part)


def train(steps: int) -> Clock:
    """Train nano-start for ``steps`` and return the clock."""
    clock = Clock()
    main = threading.get_ident()
    for owner, name, part in TIMED:
        plain = getattr(owner, name)
        timed = clock.timed(plain, part)

        def call(*arguments: Any, _plain: Any = plain, _timed: Any = timed, **options: Any) -> Any:
            own = threading.get_ident() == main  # the heartbeat writes events, too
            return (_timed if own else _plain)(*arguments, **options)

        setattr(owner, name, call)
    plugins = load_plugins(safe=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NANOSHELL_HOME"] = folder
        vars(launch)["start_worker"] = lambda *arguments, **options: 0
        config = load_config("nano-start", {"trainer.num_epochs": 1000})
        run = start_run(TrainRequest(config, "nano-start", Path(folder), max_steps=steps), plugins)
        if run_worker(run, plugins):
            raise RuntimeError(run.status().reason)
    return clock


def main(arguments: list[str]) -> None:
    """Train and print the share of each part."""
    parser = argparse.ArgumentParser(prog="train.py loop", description=__doc__)
    parser.add_argument("--steps", type=int, default=150)
    clock = train(parser.parse_args(arguments).steps)
    steps = clock.calls["forward"]
    whole = sum(seconds for part, seconds in clock.seconds.items() if part not in LEFT_OUT)
    print(
        f"nano-start, {steps} steps, {whole / steps * 1e3:.1f} ms a step, {torch.get_num_threads()} threads"
    )
    for part, seconds in sorted(clock.seconds.items(), key=lambda item: -item[1]):
        if part not in LEFT_OUT:
            print(f"  {part:10} {seconds / steps * 1e3:9.3f} ms  {seconds / whole:7.2%}")
    outside = sum(s for part, s in clock.seconds.items() if part not in (*COMPUTING, *LEFT_OUT))
    print(f"outside forward, backward and optimizer: {outside / whole:.2%} (goal: under 2%)")
