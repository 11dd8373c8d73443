"""A vocabulary of 100,331 ids to the same exact loss, beside a plain PyTorch loop and transformers.

    python benchmarks/train.py vocabulary [--steps 100] [--rates 0.009] [--threads 2] [--hybrid]

All train the shape of the preset nano-start-transformer (4 layers, 128 channels, tied head) on the embedded
dataset, 8 windows of 64 tokens a step, drawn alike. Ours is the preset, by the trainer of ``nanoshell
train``, with Muon; a further line has its AdamW and as many steps as a peer, and shows what the sampled
softmax does alone. ``--hybrid`` lets the preset nano-start compete too, with Muon.

The plain loop has the same model, ``F.cross_entropy`` over all logits, and AdamW (fused) over all rows;
transformers has a Llama of that shape, which begins with the same weights, its own loss, and the same AdamW.
Both go along a cosine to a fiftieth of their peak, as suits so many steps.

The judge, one function for all, takes the exact loss of the whole dataset over the whole vocabulary. A peer's
last loss is the target; what counts is the time of its steps, and that of ours until the judge finds ours
there. The time of the judge counts for nobody. Each contender is a process of its own, and they take turns.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional as F

from nanoshell import load_config, open_source
from nanoshell.data.corpus import prepare_corpus
from nanoshell.data.loader import TokenLoader
from nanoshell.data.tokens import open_tokens
from nanoshell.model.transformer import Transformer, build_model
from nanoshell.plugin.manager import load_plugins
from nanoshell.training.config import RunConfig
from nanoshell.training.numerics import Numerics, choose_softmax
from nanoshell.training.trainer import build_trainer

SOURCE = "nano-start"
PRESET, HYBRID = "nano-start-transformer", "nano-start"
MUON = {
    "optimizer": "muon", "optimizer_options": {"momentum": 0.8}, "learning_rate": 0.02, "num_epochs": None,
    "max_steps": 60,
}  # fmt: skip
ADAMW = {"optimizer": "adamw", "num_epochs": None}
WARMUP, LAST_RATE = 10, 0.02
OUR_TURN, PEER_TURN = 5, 25
JUDGED_WINDOWS = 8


def judge(model: nn.Module, windows: Tensor) -> float:
    """Return the mean loss (nats) of ``windows`` (count, positions + 1), over the whole vocabulary."""
    total = 0.0
    model.eval()
    with torch.no_grad():
        for part in windows.split(JUDGED_WINDOWS):
            out = model(part[:, :-1])
            logits = out if isinstance(out, Tensor) else out.logits
            total += float(F.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="sum"))
    model.train()
    return total / windows[:, 1:].numel()


class Data:
    """The dataset as tokens, and the windows that the judge reads."""

    def __init__(self, config: RunConfig) -> None:
        self.plugins = load_plugins(safe=True)
        self.tokenizer = self.plugins.tokenizers.get(config.model.tokenizer)()
        template = self.plugins.chat_templates.get("roles")()
        self.corpus = prepare_corpus(open_source(SOURCE, self.plugins.sources), self.tokenizer, template)
        self.tokens = open_tokens(self.corpus.path, self.tokenizer)
        length = config.seq_len
        starts = np.arange((len(self.tokens) - 1) // length) * length
        read = np.asarray(self.tokens[starts[:, None] + np.arange(length + 1)], dtype=np.int64)
        self.windows = torch.from_numpy(read)

    def loader(self, config: RunConfig) -> TokenLoader:
        trainer = config.trainer
        return TokenLoader(
            self.tokens, seq_len=config.seq_len, batch_size=trainer.batch_size, seed=trainer.seed,
            end_of_text=self.tokenizer.end_of_text, shuffle=trainer.shuffle,
        )  # fmt: skip


class Peer:
    """A dense loop: all logits, AdamW over all rows."""

    def __init__(self, kind: str, rate: float, steps: int) -> None:
        config = load_config(PRESET)
        self.data = Data(config)
        self.loader = self.data.loader(config)
        first = build_model(config.model, self.data.plugins.mixers, seed=config.trainer.seed).train()
        self.model: nn.Module = first if kind == "plain" else as_llama(config, first)
        self.rate, self.steps, self.step = rate, steps, 0
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True
        )

    def update(self) -> None:
        batch = self.loader.next_batch()
        self.step += 1
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate_at(self.step)
        self.loss(torch.from_numpy(batch.inputs), torch.from_numpy(batch.targets)).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        if isinstance(self.model, Transformer):
            return F.cross_entropy(self.model(inputs).flatten(0, 1), targets.flatten())
        found: Tensor = self.model(inputs, labels=targets, shift_labels=targets).loss
        return found

    def rate_at(self, step: int) -> float:
        if step <= WARMUP:
            return self.rate * step / WARMUP
        progress = (step - WARMUP) / (self.steps - WARMUP)
        return self.rate * (LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * progress)) / 2)

    def judged(self) -> float:
        return judge(self.model, self.data.windows)


class Ours:
    """A preset, by the trainer that ``nanoshell train`` has."""

    def __init__(self, preset: str, overrides: dict[str, Any]) -> None:
        config = load_config(preset, overrides)
        self.data = Data(config)
        trainer, corpus = config.trainer, self.data.corpus
        softmax = choose_softmax(
            trainer.softmax, config.model.vocab_size, corpus.distinct_ids, trainer.sampled_negatives
        )
        self.steps = config.horizon(self.data.loader(config).windows_per_epoch)
        self.trainer = build_trainer(
            config, self.data.plugins, self.data.tokenizer, corpus.path,
            numerics=Numerics("cpu", "float32", softmax, torch.get_num_threads()),
            device=torch.device("cpu"), horizon=self.steps,
        )  # fmt: skip
        self.model = self.trainer.model

    def update(self) -> None:
        self.trainer.update()

    def judged(self) -> float:
        with self.trainer.full_vocabulary():
            return judge(self.model, self.data.windows)


def as_llama(config: RunConfig, first: Transformer) -> nn.Module:
    """Return a Llama of the shape of ``config`` with the weights of ``first``, but for norms it has not."""
    import transformers

    model = config.model
    llama: nn.Module = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=model.vocab_size, hidden_size=model.hidden_size, num_hidden_layers=model.num_layers,
            num_attention_heads=model.num_heads, num_key_value_heads=model.kv_heads,
            intermediate_size=model.feed_forward_size, max_position_embeddings=model.max_seq_len,
            rms_norm_eps=model.rms_norm_eps, tie_word_embeddings=True, use_cache=False,
        )
    )  # fmt: skip
    weights = {f"model.{name}": value for name, value in first.state_dict().items()}
    missing, _ = llama.load_state_dict(weights, strict=False)
    assert set(missing) <= {"lm_head.weight"}, missing
    return llama.train()


def compete(kind: str, options: dict[str, Any], threads: int, channel: Connection) -> None:
    """Train in this process, so many steps as each message says, none to end, and answer with how it went."""
    torch.set_num_threads(threads)
    if kind in ("plain", "transformers"):
        contender: Peer | Ours = Peer(kind, options["rate"], options["steps"])
    else:
        contender = Ours(kind, options)
    channel.send(contender.steps)
    with contextlib.suppress(EOFError, BrokenPipeError):  # whoever asked has gone
        while steps := channel.recv():
            began = time.perf_counter()
            for _ in range(steps):
                contender.update()
            seconds = time.perf_counter() - began
            channel.send((seconds, contender.judged()))


@dataclass
class Racer:
    """A contender in a process of its own, and its losses after so many ``steps`` and ``seconds``."""

    name: str
    kind: str
    process: Any
    channel: Connection
    steps: list[int] = field(default_factory=lambda: [0])
    seconds: list[float] = field(default_factory=lambda: [0.0])
    losses: list[float] = field(default_factory=lambda: [math.inf])
    horizon: int = 0

    def advance(self, steps: int) -> None:
        steps = min(steps, self.horizon - self.steps[-1])
        self.channel.send(steps)
        seconds, loss = self.channel.recv()
        self.steps.append(self.steps[-1] + steps)
        self.seconds.append(self.seconds[-1] + seconds)
        self.losses.append(loss)

    def reached(self, target: float) -> tuple[int, float] | None:
        """Return steps and seconds after which it was first found at ``target``, None where it never was."""
        rows = zip(self.steps, self.seconds, self.losses, strict=True)
        return next(((step, at) for step, at, loss in rows if loss <= target), None)

    def end(self) -> None:
        self.channel.send(0)
        self.process.join()


def start(name: str, kind: str, options: dict[str, Any], threads: int) -> Racer:
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=compete, args=(kind, options, threads, theirs), daemon=True)
    before = os.environ.get("OMP_WAIT_POLICY")
    if kind in (PRESET, HYBRID) and before is None:
        os.environ.update(OMP_WAIT_POLICY="PASSIVE", GOMP_SPINCOUNT="3000")
    process.start()
    if before is None:
        os.environ.pop("OMP_WAIT_POLICY", None)
        os.environ.pop("GOMP_SPINCOUNT", None)
    theirs.close()
    racer = Racer(name, kind, process, mine)
    racer.horizon = mine.recv()
    return racer


def race(peers: Sequence[Racer], ours: Sequence[Racer]) -> None:
    """Let all train to their ends, in turns, and print how ours compare with each peer."""
    racers = [*peers, *ours]
    while any(racer.steps[-1] < racer.horizon for racer in racers):
        for racer in racers:
            if racer.steps[-1] < racer.horizon:
                racer.advance(PEER_TURN if racer in peers else OUR_TURN)
                told = (
                    f"{racer.name}: step {racer.steps[-1]}, {racer.seconds[-1]:.1f} s, {racer.losses[-1]:.3f}"
                )
                print(told, file=sys.stderr, flush=True)
    for racer in racers:
        racer.end()
        pace = racer.seconds[-1] / racer.steps[-1] * 1e3
        print(
            f"  {racer.name:34} {racer.steps[-1]:4} steps of {pace:4.0f} ms: "
            f"loss {racer.losses[-1]:.3f} after {racer.seconds[-1]:6.1f} s"
        )
    for peer in peers:
        target = peer.losses[-1]
        for racer in ours:
            found = racer.reached(target)
            if found is None:
                print(f"  {racer.name} did not reach {target:.3f}, the loss of {peer.name}")
                continue
            print(
                f"  {racer.name} reached the {target:.3f} of {peer.name} after {found[0]} steps, "
                f"{found[1]:.1f} s: {peer.seconds[-1] / found[1]:.1f} times sooner",
                flush=True,
            )


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="train.py vocabulary", description=__doc__)
    parser.formatter_class = argparse.RawTextHelpFormatter
    parser.add_argument("--steps", type=int, default=100, help="steps of a peer")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.009], help="a peer for each peak rate")
    parser.add_argument("--peers", nargs="*", default=["plain", "transformers"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--hybrid", action="store_true", help="let the preset nano-start compete too")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of ours")
    options = parser.parse_args(arguments)
    changes = {key: yaml.safe_load(value) for key, value in (pair.split("=", 1) for pair in options.set)}
    peers = [
        start(f"{kind}, rate {rate:g}", kind, {"rate": rate, "steps": options.steps}, options.threads)
        for kind in options.peers
        for rate in options.rates
    ]
    entered = [("Muon", PRESET, MUON), ("AdamW", PRESET, {**ADAMW, "max_steps": options.steps})]
    if options.hybrid:
        entered.append(("nano-start, Muon", HYBRID, MUON))
    ours = [
        start(f"nanoshell, {name}", preset, {**recipe, **changes}, options.threads)
        for name, preset, recipe in entered
    ]
    race(peers, ours)
