"""What a model costs to train and to use, as ``model info`` tells it: estimates, and what they assume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nanoshell import human_bytes, human_count
from nanoshell_commands.layout import pairs

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nanoshell import (
        InferenceMemory,
        ModelConfig,
        ModelLocation,
        ParameterSplit,
        TokenCost,
        TrainingMemory,
    )

_FLOAT32 = 4


@dataclass(frozen=True)
class Plan:
    """How a model is trained, as far as memory depends on it; ``rows`` are those of sampled softmax."""

    batch_size: int
    seq_len: int
    optimizer: str = "adamw"
    rows: int | None = None
    recomputed: bool = False
    note: str = ""


@dataclass(frozen=True)
class Costs:
    """Estimates by formula: ``training`` and ``inference`` memory in bytes, operations for a ``token``.

    Each is None where a layer is of a plugin's kind, which no formula knows. ``assuming`` says in words what
    the estimates hold for.
    """

    training: TrainingMemory | None
    inference: InferenceMemory | None
    token: TokenCost | None
    optimizer: str
    assuming: list[str]

    def __rich__(self) -> RenderableType:
        if self.training is None and self.inference is None and self.token is None:
            return "costs: a layer is of a plugin's kind, which no formula knows"
        return pairs(
            [
                ("to train", self._training()),
                ("to use", self._inference()),
                ("a token", self._token()),
                ("assuming", "\n".join(self.assuming)),
            ]
        )

    def _training(self) -> str | None:
        found = self.training
        if found is None:
            return None
        parts = {
            "weights": found.weights,
            "gradients": found.gradients,
            self.optimizer: found.optimizer,
            "activations": found.activations,
        }
        summed = " + ".join(f"{name} {human_bytes(size)}" for name, size in parts.items())
        return (
            f"{human_bytes(found.total)}: {summed}, for {found.batch_size} × {found.seq_len:,} tokens at once"
        )

    def _inference(self) -> str | None:
        found = self.inference
        if found is None:
            return None
        parts = [f"weights {human_bytes(found.weights)}", f"cache {human_bytes(found.cache)}"]
        kinds = [f"{human_bytes(found.cache_per_position)} a token"] if found.cache_per_position else []
        kinds += [f"a state of {human_bytes(found.state)}"] if found.state else []
        return (
            f"{human_bytes(found.total)}: {' + '.join(parts)} with all {found.positions:,} positions filled "
            f"({' and '.join(kinds)})"
        )

    def _token(self) -> str | None:
        found = self.token
        if found is None:
            return None
        return (
            f"{human_count(found.forward)} operations to read or write it, {human_count(found.training)} to "
            f"train on it, with {found.positions:,} positions in view"
        )


def plan_of(config: ModelConfig, record: Mapping[str, Any]) -> Plan:
    """Return how a run with ``record`` (run.yaml, or a preset's sections) trains ``config``."""
    trainer = record.get("trainer") or {}
    plan = Plan(
        batch_size=int(trainer.get("batch_size") or 4),
        seq_len=int(trainer.get("seq_len") or config.max_seq_len),
        optimizer=str(trainer.get("optimizer") or "adamw"),
        recomputed=bool(trainer.get("gradient_checkpointing")),
    )
    if (record.get("softmax") or trainer.get("softmax")) != "sampled":
        return plan
    drawn = int(trainer.get("sampled_negatives") or 1024)
    used = (record.get("corpus") or {}).get("distinct_ids")
    rows = min(config.vocab_size, drawn + int(used or drawn))
    source = f"{used:,} in the data" if used else f"{drawn:,} assumed in the data"
    note = f"sampled softmax trains {rows:,} rows of embedding and head: {source}, and {drawn:,} drawn"
    return replace(plan, rows=rows, note=note)


def plan_of_model(config: ModelConfig, location: ModelLocation) -> Plan:
    """Return how the run of ``location`` trains, or one window at a time where it is of none."""
    from nanoshell import NanoshellError

    try:
        if location.run is not None:
            return plan_of(config, location.run.record())
    except (NanoshellError, TypeError, ValueError):  # whatever is in it, the model is shown
        pass
    return Plan(1, config.max_seq_len)


def costs(config: ModelConfig, split: ParameterSplit, plan: Plan, itemsize: int = _FLOAT32) -> Costs:
    """Return what ``config`` costs, trained by ``plan`` and used with numbers of ``itemsize`` bytes."""
    from nanoshell import inference_memory, token_cost, training_memory

    names = {2: "16 bits", 4: "32 bits", 8: "64 bits"}
    states = (
        "one number a parameter for matrices and two for others"
        if plan.optimizer == "muon"
        else ("two numbers a parameter")
    )
    assuming = [f"training in float32, where {plan.optimizer} keeps {states}"]
    if plan.optimizer not in ("adamw", "muon"):
        assuming[0] += " (as AdamW does)"
    assuming += [plan.note] if plan.note else []
    assuming += ["only the input of each layer kept, its inside computed again"] if plan.recomputed else []
    assuming.append(f"use with numbers of {names.get(itemsize, f'{itemsize} bytes')}, one text at a time")
    assuming.append("without PyTorch itself and what an operation holds while it runs")
    return Costs(
        training=training_memory(
            config,
            split,
            batch_size=plan.batch_size,
            seq_len=plan.seq_len,
            optimizer=plan.optimizer,
            rows=plan.rows,
            recomputed=plan.recomputed,
        ),
        inference=inference_memory(config, split, itemsize=itemsize),
        token=token_cost(config, head_rows=plan.rows),
        optimizer=plan.optimizer,
        assuming=assuming,
    )
