"""A process of a pair: ``python -m tests.unit.training.pair JOB.json``, with the variables of torchrun set.

The job holds cases, each a config and a number of updates. The process of rank 0 writes what they told.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.distributed.distributed_c10d import PrefixStore

from nanoshell.data.loader import IGNORED, Batch
from nanoshell.plugin.manager import load_plugins
from nanoshell.training.distributed import Link, connect, placement
from nanoshell.training.team import Ranks
from nanoshell.training.trainer import Trainer
from tests.unit.training.conftest import Lab


@dataclasses.dataclass(frozen=True)
class Case:
    """``steps`` updates with ``keys`` of the config; then ``saved`` is written, and as many follow.

    It begins from ``restored`` where that is given. ``masked`` lets each update's first half count nothing;
    ``noisy`` is an optimizer that moves each weight by a random number besides.
    """

    keys: dict[str, Any]
    steps: int
    softmax: str = "full"
    masked: bool = False
    noisy: bool = False
    restored: str = ""
    saved: str = ""


def run_case(
    lab: Lab, corpus: Path, case: Case, unite: Callable[[Trainer], object] = lambda trainer: None
) -> list[dict[str, Any]]:
    """Return the facts of each update, the seed of its forward pass and the sum of all weights."""
    trainer = lab.trainer(lab.config(**case.keys), corpus, softmax=case.softmax)
    if case.restored:
        trainer.restore(Path(case.restored))
    unite(trainer)
    if case.masked:
        mask(trainer)
    if case.noisy:
        trainer.optimizer.register_step_post_hook(add_noise)
    seeds: list[int] = []
    trainer.model.embed_tokens.register_forward_pre_hook(lambda *_: seeds.append(torch.initial_seed()))
    told = []
    for step in range(1, 2 * case.steps + 1 if case.saved else case.steps + 1):
        facts = lab.facts(trainer.update())
        facts["seed"] = seeds[-1]
        facts["weights"] = sum(float(tensor.double().sum()) for tensor in lab.weights(trainer).values())
        told.append(facts)
        if case.saved and step == case.steps and _is_first():
            lab.save(trainer, case.saved)
    return told


def _is_first() -> bool:
    place = placement()
    return place is None or place.rank == 0


def mask(trainer: Trainer) -> None:
    """Let the rows of the first half of each micro-batch have targets that do not count, and some others."""
    draw = trainer.loader.next_batch

    def masked() -> Batch:
        batch = draw()
        batch.targets[: len(batch.targets) // 2] = IGNORED
        batch.targets[-1, :3] = IGNORED
        return batch

    trainer.loader.next_batch = masked  # type: ignore[method-assign]


def add_noise(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Move every weight by a random number, as an optimizer with noise does."""
    with torch.no_grad():
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter += 1e-3 * torch.randn_like(parameter)


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(1)
    plugins = load_plugins(plugins_dir=Path(job["plugins_dir"]), only=["letters"], strict=True)
    lab = Lab(Path(job["folder"]), plugins)
    place = placement()
    assert place is not None
    store = connect(place).store
    told = {}
    for name, keys in job["cases"].items():
        team = Ranks(Link(place, PrefixStore(name, store)))
        corpus = Path(job["corpus"])
        told[name] = run_case(lab, corpus, Case(**keys), lambda trainer, team=team: trainer.unite(team))
    Path(job["folder"], f"told-{place.rank}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
