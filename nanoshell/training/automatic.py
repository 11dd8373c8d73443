"""What ``auto`` becomes for the optimizer and the schedule. No torch here.

A run resolves it once, when it starts, and keeps the choice in its record: going on with it asks nobody
again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanoshell.training.schedule import AUTO, choose_schedule

if TYPE_CHECKING:
    from nanoshell.model.config import ModelConfig
    from nanoshell.training.config import RunConfig, TrainerConfig

MUON_WIDTH = 64
"""A model 16 wide learnt no faster with Muon."""
MUON_TOKENS = 6
"""Tokens for each channel of the width. Orthogonalising a matrix takes as much work as the gradients of some
four tokens for each of its rows: at six it paid (tiny-shakespeare), at four it did not (nano-start).
"""


def choose_optimizer(trainer: TrainerConfig, model: ModelConfig) -> str:
    """Return ``trainer.optimizer``, or for ``auto`` ``muon`` where it pays, else ``adamw``.

    It pays where layers are at least 64 wide and a step has 6 tokens or more for each channel, so that what
    it adds to a step is below what it saves in steps.
    """
    if trainer.optimizer != AUTO:
        return trainer.optimizer
    windows = trainer.batch_size * trainer.gradient_accumulation
    tokens = windows * (trainer.seq_len or model.max_seq_len)
    wide = model.hidden_size >= MUON_WIDTH
    return "muon" if wide and tokens >= MUON_TOKENS * model.hidden_size else "adamw"


def resolve(config: RunConfig) -> tuple[RunConfig, list[str]]:
    """Return ``config`` without ``auto`` for optimizer and schedule, and what was chosen, for the user."""
    trainer = config.trainer
    chosen = {
        "optimizer": choose_optimizer(trainer, config.model),
        "schedule": choose_schedule(trainer),
    }
    told = [f"{key}: {value}" for key, value in chosen.items() if getattr(trainer, key) == AUTO]
    return config.model_copy(update={"trainer": trainer.model_copy(update=chosen)}), told


def as_chosen(config: RunConfig, recorded: RunConfig) -> RunConfig:
    """Return ``config`` with what ``recorded`` says in place of every ``auto`` that `resolve` resolves."""
    kept = {
        key: getattr(recorded.trainer, key)
        for key in ("optimizer", "schedule")
        if getattr(config.trainer, key) == AUTO
    }
    return config.model_copy(update={"trainer": config.trainer.model_copy(update=kept)})
