"""Tiny Shakespeare by character to a validation loss, beside nanoGPT's recipe for a processor.

    python benchmarks/train.py shakespeare --data FILE [--target 1.88] [--threads 2] [--turns 10]

Both models have 4 layers, 128 channels, a context of 64 characters and 0.80M parameters, and train on the
first nine tenths of the file. Ours is the preset tiny-shakespeare, by the trainer of ``nanoshell train``. The
peer is nanoGPT's model (GPT-2 without biases, learnt positions, GELU, tied head) and loop (``train.py
config/train_shakespeare_char.py`` with the options of its README for a processor: 12 windows a step, 2,000
steps, AdamW at 1e-3 falling to 1e-4 along a cosine, 100 steps of warm-up, betas 0.9 and 0.99, decay 0.1,
gradients clipped at 1), written anew here.

Each contender is a process of its own, and they take turns: while one trains, the other waits. After each
turn the same judge takes the mean loss of all characters of the last tenth, in windows of 64 one behind the
other; its time is not counted, that of everything else in the loop is. Our threads sleep while they wait, as
the program sets it; the peer's do what is set where they come from, and suffer on a busy machine: leave it
alone meanwhile. The file is Karpathy's ``input.txt`` of char-rnn; the benchmark does not come with it.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

PRESET = "tiny-shakespeare"
CONTEXT, WIDTH, LAYERS, HEADS = 64, 128, 4, 4
PEER_STEPS, PEER_BATCH, PEER_WARMUP = 2000, 12, 100
PEER_PEAK, PEER_END = 1e-3, 1e-4
JUDGED_WINDOWS = 128

Ids = NDArray[np.int64]
Logits = Callable[[Tensor], Tensor]


class PeerLayer(nn.Module):
    """Pre-norm attention and GELU feed-forward, without biases."""

    def __init__(self) -> None:
        super().__init__()
        self.before_mixing, self.before_thinking = (nn.LayerNorm(WIDTH, bias=False) for _ in range(2))
        self.queries_keys_values = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.mixed = nn.Linear(WIDTH, WIDTH, bias=False)
        self.wide = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.narrow = nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, seq, width)."""
        batch, count, _ = x.shape
        parts = self.queries_keys_values(self.before_mixing(x)).split(WIDTH, dim=2)
        queries, keys, values = (part.view(batch, count, HEADS, -1).transpose(1, 2) for part in parts)
        seen = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        x = x + self.mixed(seen.transpose(1, 2).reshape(batch, count, WIDTH))
        thought: Tensor = self.narrow(F.gelu(self.wide(self.before_thinking(x))))
        return x + thought


class PeerModel(nn.Module):
    """GPT-2 as nanoGPT has it, small."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.characters, self.places = nn.Embedding(vocabulary, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.layers = nn.Sequential(*(PeerLayer() for _ in range(LAYERS)))
        self.last_norm = nn.LayerNorm(WIDTH, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                added = name.endswith(("mixed.weight", "narrow.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * LAYERS) if added else 0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits (batch, seq, vocabulary)."""
        x = self.characters(ids) + self.places.weight[: ids.shape[1]]
        return F.linear(self.last_norm(self.layers(x)), self.characters.weight)


class Peer:
    """nanoGPT's loop: a fresh random batch a step, plain cross-entropy, AdamW."""

    name = "nanoGPT's recipe"
    steps = PEER_STEPS

    def __init__(self, text: str, seed: int, folder: Path) -> None:
        torch.manual_seed(seed)
        letters = sorted(set(text))
        self.number = {letter: index for index, letter in enumerate(letters)}
        ids = np.array([self.number[letter] for letter in text], dtype=np.uint16)
        self.ids = ids[: len(ids) - len(ids) // 10]
        self.model = PeerModel(len(letters))
        matrices = [parameter for parameter in self.model.parameters() if parameter.ndim > 1]
        vectors = [parameter for parameter in self.model.parameters() if parameter.ndim == 1]
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=PEER_PEAK, betas=(0.9, 0.99))
        self.step, self.next_batch = 0, self.draw()

    def draw(self) -> tuple[Tensor, Tensor]:
        """Return random windows and what follows each of their characters."""
        starts = torch.randint(len(self.ids) - CONTEXT, (PEER_BATCH,)).tolist()
        windows = torch.stack(
            [torch.from_numpy(self.ids[at : at + CONTEXT + 1].astype(np.int64)) for at in starts]
        )
        return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()

    def rate(self) -> float:
        if self.step < PEER_WARMUP:
            return PEER_PEAK * self.step / PEER_WARMUP
        progress = (self.step - PEER_WARMUP) / (self.steps - PEER_WARMUP)
        return PEER_END + (PEER_PEAK - PEER_END) * (1 + math.cos(math.pi * progress)) / 2

    def update(self) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        inputs, targets = self.next_batch
        loss = F.cross_entropy(self.model(inputs).flatten(0, 1), targets.flatten())
        self.next_batch = self.draw()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss.item()

    def numbers(self, text: str) -> Ids:
        return np.array([self.number[letter] for letter in text], dtype=np.int64)


class Ours:
    """The preset, by the trainer that ``nanoshell train`` has."""

    name = f"nanoshell, {PRESET}"

    def __init__(self, text: str, seed: int, folder: Path) -> None:
        from nanoshell.data.corpus import prepare_corpus
        from nanoshell.data.source import open_source
        from nanoshell.data.vocabulary import tokenizer_from_data
        from nanoshell.plugin.manager import load_plugins
        from nanoshell.tokenizer.store import recipe_of
        from nanoshell.training.numerics import Numerics
        from nanoshell.training.presets import load_config
        from nanoshell.training.request import fit_vocabulary
        from nanoshell.training.trainer import build_trainer

        plugins = load_plugins(safe=True)
        config = load_config(PRESET, {"seed": seed})
        (folder / "text.txt").write_text(text, "utf-8")
        source = open_source(str(folder / "text.txt"), plugins.sources)
        recipe = recipe_of(config.model.tokenizer)
        assert recipe is not None
        self.tokenizer = tokenizer_from_data(recipe, source, cache_dir=folder)
        template = plugins.chat_templates.get("roles")()
        corpus = prepare_corpus(source, self.tokenizer, template, cache_dir=folder)
        config = fit_vocabulary(config, self.tokenizer)
        self.steps = config.trainer.max_steps
        self.trainer = build_trainer(
            config,
            plugins,
            self.tokenizer,
            corpus.path,
            numerics=Numerics("cpu", "float32", "full", torch.get_num_threads()),
            device=torch.device("cpu"),
            horizon=self.steps,
        )
        self.model = self.trainer.model
        assert config.seq_len == CONTEXT

    def update(self) -> float:
        return self.trainer.update().loss

    def numbers(self, text: str) -> Ids:
        return np.array(self.tokenizer.encode(text), dtype=np.int64)


CONTENDERS: dict[str, type[Peer] | type[Ours]] = {"peer": Peer, "ours": Ours}


def judge(model: nn.Module, ids: Ids) -> float:
    """Return the mean loss (nats) of ``ids``, each but the first a target once, in windows of the context."""
    full = (len(ids) - 1) // CONTEXT
    inputs, targets = (
        torch.from_numpy(ids[at : at + full * CONTEXT].reshape(full, CONTEXT)) for at in (0, 1)
    )
    total = 0.0
    model.eval()
    with torch.no_grad():
        for first in range(0, full, JUDGED_WINDOWS):
            part = slice(first, first + JUDGED_WINDOWS)
            logits = model(inputs[part]).flatten(0, 1)
            total += float(F.cross_entropy(logits, targets[part].flatten(), reduction="sum"))
    model.train()
    return total / targets.numel()


def compete(kind: str, data: Path, seed: int, threads: int, channel: Connection) -> None:
    """Train in this process, so many steps as each message says, none to end, and answer with how it went."""
    torch.set_num_threads(threads)
    text = data.read_text("utf-8")
    with tempfile.TemporaryDirectory() as folder:
        contender = CONTENDERS[kind](text, seed, Path(folder))
        held = contender.numbers(text[-(len(text) // 10) :])
        parameters = sum(parameter.numel() for parameter in contender.model.parameters())
        channel.send((contender.name, contender.steps, parameters))
        with contextlib.suppress(EOFError, BrokenPipeError):  # whoever asked has gone
            while steps := channel.recv():
                began = time.perf_counter()
                for _ in range(steps):
                    contender.update()
                seconds = time.perf_counter() - began
                channel.send((seconds, judge(contender.model, held)))


@dataclass
class Racer:
    """A contender in a process of its own, and its losses after so many ``steps`` and ``seconds``."""

    kind: str
    process: Any
    channel: Connection
    name: str = ""
    horizon: int = 0
    parameters: int = 0
    steps: list[int] = field(default_factory=lambda: [0])
    seconds: list[float] = field(default_factory=lambda: [0.0])
    losses: list[float] = field(default_factory=lambda: [math.inf])

    def run_to(self, step: int) -> None:
        self.channel.send(step - self.steps[-1])
        seconds, loss = self.channel.recv()
        self.steps.append(step)
        self.seconds.append(self.seconds[-1] + seconds)
        self.losses.append(loss)

    def seconds_to(self, target: float) -> float | None:
        """Return the time until it was first judged to be at ``target``, None where it never was."""
        return next((at for at, loss in zip(self.seconds, self.losses, strict=True) if loss <= target), None)

    def end(self) -> None:
        self.channel.send(0)
        self.process.join()


def start(kind: str, data: Path, seed: int, threads: int) -> Racer:
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=compete, args=(kind, data, seed, threads, theirs), daemon=True)
    before = os.environ.get("OMP_WAIT_POLICY")
    if kind == "ours" and before is None:
        os.environ.update(OMP_WAIT_POLICY="PASSIVE", GOMP_SPINCOUNT="3000")
    process.start()
    if before is None:
        os.environ.pop("OMP_WAIT_POLICY", None)
        os.environ.pop("GOMP_SPINCOUNT", None)
    theirs.close()
    racer = Racer(kind, process, mine)
    racer.name, racer.horizon, racer.parameters = mine.recv()
    return racer


def race(data: Path, target: float, seed: int, threads: int, turns: int) -> float:
    """Let both train to their ends in turns, print how, and return how many times sooner ours was there."""
    racers = [start(kind, data, seed, threads) for kind in CONTENDERS]
    for turn in range(1, turns + 1):
        for racer in racers:
            racer.run_to(racer.horizon * turn // turns)
    reached = {}
    for racer in racers:
        racer.end()
        found = racer.seconds_to(target)
        reached[racer.kind] = racer.seconds[-1] if found is None else found
        what = f"{target} after {found:.1f} s" if found is not None else f"{target} not reached: all counts"
        print(
            f"  {racer.name:28} {racer.parameters / 1e6:.2f}M parameters, {racer.steps[-1]:5} steps of "
            f"{racer.seconds[-1] / racer.steps[-1] * 1e3:5.1f} ms: loss {racer.losses[-1]:.4f} after "
            f"{racer.seconds[-1]:6.1f} s; {what}"
        )
    ratio = reached["peer"] / reached["ours"]
    print(f"  nanoGPT's recipe takes {ratio:.1f} times as long", flush=True)
    return ratio


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="train.py shakespeare", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="PATH")
    parser.add_argument("--target", type=float, default=1.88)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1337])
    options = parser.parse_args(arguments)
    ratios = []
    for seed in options.seeds:
        print(f"seed {seed}, {options.threads} threads", flush=True)
        ratios.append(race(options.data, options.target, seed, options.threads, options.turns))
    if len(ratios) > 1:
        print(f"median of {len(ratios)}: {statistics.median(ratios):.1f} times")
