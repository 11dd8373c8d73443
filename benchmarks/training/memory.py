"""The peak memory of a run: the real worker on a made-up corpus, a checkpoint and an evaluation included.

    python benchmarks/train.py memory [--preset nano] [--steps 3] [--set KEY=VALUE …] [--limit-gb 3.5]

Linux alone: it reads what the kernel keeps of the worker's largest resident set (VmHWM). GB are 10^9 bytes.
The preset is trained with the full softmax, then with the sampled one. The exit code is 1 where the full one
takes more than the limit.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from nanoshell import load_config
from nanoshell.model.parameters import parameter_split
from nanoshell.plugin.manager import Plugins, load_plugins
from nanoshell.runs.directory import RunDirectory
from nanoshell.runs.events import read_events
from nanoshell.runs.process import read_process, worker_alive
from nanoshell.training.config import RunConfig
from nanoshell.training.launch import TrainRequest, start_run

GIGABYTE = 1e9
POLL_SECONDS = 0.02
DISTINCT_IDS = 20_000
SOFTMAX = ("full", "sampled")


@dataclass
class Peak:
    """Largest resident bytes of a worker, in all and by the event before which they had been reached."""

    total: int = 0
    by_event: dict[str, int] = field(default_factory=dict)
    milliseconds: float = 0.0


def write_corpus(path: Path, tokens: int, end_of_text: int) -> None:
    """Write documents of 500 tokens whose ids are as unequally frequent as words are (Zipf)."""
    random = np.random.default_rng(0)
    ids = np.minimum(random.zipf(1.1, tokens), DISTINCT_IDS).astype("<u4")
    ids[499::500] = end_of_text
    ids.tofile(path)


def resident_peak(pid: int) -> int:
    """Return the largest resident set that process ``pid`` has had so far, in bytes; 0 where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    found = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(found[0]) * 1024 if found else 0


def watch(run: RunDirectory) -> Peak:
    """Return the peak of the worker of ``run`` when it has ended. Exits where it failed."""
    peak, offset, seconds = Peak(), 0, []
    while True:
        alive = worker_alive(run)
        process = read_process(run)
        peak.total = max(peak.total, resident_peak(process.pid) if process else 0)
        events, offset = read_events(run.events_path, offset)
        for event in events:
            kind = str(event["type"])
            if kind == "heartbeat":
                continue
            name = str(event["state"]) if kind == "state" else f"{kind} {event.get('step', '')}".strip()
            peak.by_event[name] = peak.total
            if kind == "step":
                seconds.append(1e3 / float(event["it/s"]))
            if event.get("state") == "failed":
                sys.exit(f"the run failed: {event.get('reason')}")
        if not alive:
            peak.milliseconds = seconds[-1] if seconds else 0.0
            return peak
        time.sleep(POLL_SECONDS)


def train(config: RunConfig, plugins: Plugins, folder: Path, steps: int) -> Peak:
    """Train ``config`` for ``steps`` steps in a worker and return its peak."""
    tokenizer = plugins.tokenizers.get(config.model.tokenizer)()
    corpus = folder / "corpus.bin"
    if not corpus.exists():
        write_corpus(corpus, max(100_000, config.tokens_per_step * (steps + 2)), tokenizer.end_of_text)
    request = TrainRequest(config, str(corpus), folder / "runs", max_steps=steps)
    return watch(start_run(request, plugins))


def bare_torch() -> int:
    """Return the peak of a process that imports torch and does nothing."""
    code = (
        "import torch; print(next(l for l in open('/proc/self/status') if l.startswith('VmHWM:')).split()[1])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return int(shown) * 1024


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="train.py memory", description=__doc__)
    parser.formatter_class = argparse.RawTextHelpFormatter
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--limit-gb", type=float, default=3.5)
    parser.add_argument("--softmax", choices=SOFTMAX, nargs="*", default=SOFTMAX)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args(arguments)
    changes = {key: yaml.safe_load(value) for key, value in (pair.split("=", 1) for pair in options.set)}
    plugins = load_plugins(safe=True)
    torch_bytes = bare_torch()
    worst = 0
    for softmax in options.softmax:
        overrides = {"save_interval": 2, "val_fraction": 0.1, "eval_tokens": 4096, "device": "cpu",
                     "dtype": "float32", **changes, "softmax": softmax}  # fmt: skip
        config = load_config(options.preset, overrides)
        with tempfile.TemporaryDirectory() as folder:
            peak = train(config, plugins, Path(folder), options.steps)
        report(config, peak, softmax, torch_bytes)
        worst = max(worst, peak.total if softmax == "full" else 0)
    if worst > options.limit_gb * GIGABYTE:
        print(f"more than the limit of {options.limit_gb} GB")
        sys.exit(1)


def report(config: RunConfig, peak: Peak, softmax: str, torch_bytes: int) -> None:
    """Print where the memory of a run goes."""
    parameters = parameter_split(config.model).total or 0
    state = 16 * parameters
    trainer = config.trainer
    print(
        f"{config.model.name}, {softmax} softmax: {parameters / 1e6:.1f}M parameters, {trainer.batch_size} × "
        f"{trainer.gradient_accumulation} windows of {config.seq_len}, {peak.milliseconds:,.0f} ms a step"
    )
    print(f"  peak                                   {peak.total / GIGABYTE:6.2f} GB")
    print(f"  weights, gradients, two moments        {state / GIGABYTE:6.2f}")
    print(f"  python with torch                      {torch_bytes / GIGABYTE:6.2f}")
    print(f"  activations, logits, temporaries       {(peak.total - state - torch_bytes) / GIGABYTE:6.2f}")
    steps = ", ".join(f"{name} {size / GIGABYTE:.2f}" for name, size in peak.by_event.items())
    print(f"  reached before: {steps}", flush=True)
