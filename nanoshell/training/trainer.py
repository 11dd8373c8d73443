"""The trainer: one optimizer update at a time, evaluation, and the state from which it goes on exactly.

It knows no run directory and no signal; `nanoshell.training.worker` drives it.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nanoshell.data.loader import Batch, TokenLoader
from nanoshell.data.tokens import open_tokens, used_ids
from nanoshell.errors import CheckpointError
from nanoshell.model.transformer import build_model
from nanoshell.model.weights import WEIGHTS, read_tensors, save_model
from nanoshell.training.balance import Routers
from nanoshell.training.checkpoint import read_document
from nanoshell.training.evaluation import Evaluation, Evaluator
from nanoshell.training.numerics import Numerics
from nanoshell.training.objective import Objective
from nanoshell.training.optimizer import build_optimizer, set_learning_rate
from nanoshell.training.sampled_softmax import CompactVocabulary
from nanoshell.training.schedule import Schedule, build_schedule
from nanoshell.training.state import restore_state, write_state

if TYPE_CHECKING:
    from nanoshell.model.transformer import Transformer
    from nanoshell.plugin.manager import Plugins
    from nanoshell.tokenizer.base import Tokenizer
    from nanoshell.training.config import RunConfig


@dataclass(frozen=True)
class StepResult:
    """One update: mean loss of its ``tokens`` (nats), norm of the gradient before clipping, and how it went.

    Where it ``diverged`` nothing was changed. ``loss`` is the cross-entropy alone. Where layers route tokens
    to experts, ``balance_loss`` is the mean over them (1 where the load is even), and ``expert_load`` the
    share of the tokens that each expert was given, by layer index.
    """

    step: int
    loss: float
    grad_norm: float
    learning_rate: float
    epoch: float
    tokens: int
    seconds: float
    diverged: bool
    balance_loss: float | None = None
    expert_load: dict[int, list[float]] = field(default_factory=dict)


class Trainer:
    """Model, optimizer, data and schedule of one run. Build it with `build_trainer`."""

    def __init__(
        self,
        config: RunConfig,
        numerics: Numerics,
        *,
        model: Transformer,
        optimizer: torch.optim.Optimizer,
        loader: TokenLoader,
        schedule: Schedule,
        evaluator: Evaluator,
        device: torch.device,
        vocabulary: CompactVocabulary | None,
    ) -> None:
        self.config = config
        self.numerics = numerics
        self.model = model
        self.optimizer = optimizer
        self.loader = loader
        self.schedule = schedule
        self.step = 0
        self._evaluator = evaluator
        self._device = device
        self._vocabulary = vocabulary
        self._objective = Objective(model, vocabulary)
        self._routers = Routers(model)
        self._dtype: torch.dtype = getattr(torch, numerics.dtype)
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._dtype == torch.float16)

    def update(self) -> StepResult:
        """Do one optimizer update and return how it went.

        The loss is summed over the targets of all micro-batches and divided by their number, whatever the
        shape of the micro-batches, so that accumulation equals one large batch. Where tokens are routed to
        experts, the balance loss of each micro-batch is added by its part of the targets.
        """
        began = time.perf_counter()
        trainer = self.config.trainer
        step = self.step + 1
        rate = self.schedule.at(step)
        set_learning_rate(self.optimizer, rate, self.schedule.peak)
        if self._vocabulary is not None:
            self._vocabulary.draw(step, self.optimizer)
        batches = [self.loader.next_batch() for _ in range(trainer.gradient_accumulation)]
        count = sum(batch.num_targets for batch in batches)
        total = torch.zeros((), device=self._device)
        alpha = self.config.balance_alpha
        self._routers.begin()
        for batch in batches:
            loss = self._loss_sum(batch) / count
            balance = self._routers.take(batch.num_targets / count)
            whole = loss + alpha * balance if alpha and balance is not None else loss
            self._scaler.scale(whole).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        self._scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), trainer.max_grad_norm or math.inf)
        mean, grad_norm = float(total), float(norm)
        # A float16 gradient that is not finite is the scale's fault: the scaler skips it and lowers that.
        diverged = not math.isfinite(mean + (0.0 if self._scaler.is_enabled() else grad_norm))
        if not diverged:
            self._scaler.step(self.optimizer)
            self._scaler.update()
            self._routers.balance(trainer.router_bias_rate)
            self.step = step
        self.optimizer.zero_grad(set_to_none=True)
        return StepResult(
            step=step,
            loss=mean,
            grad_norm=grad_norm,
            learning_rate=rate,
            epoch=self.loader.epoch,
            tokens=count,
            seconds=time.perf_counter() - began,
            diverged=diverged,
            balance_loss=self._routers.balance_loss,
            expert_load=self._routers.shares,
        )

    def evaluate(self, interrupted: Callable[[], bool] = lambda: False) -> Evaluation | None:
        """Return the exact loss of the validation split, or of a sample of the training windows without one.

        None where ``interrupted`` became true between two batches.
        """
        with self.full_vocabulary(), self._autocast():
            return self._evaluator.evaluate(self.model, interrupted)

    @contextlib.contextmanager
    def full_vocabulary(self) -> Iterator[None]:
        """Let the model have all rows of its vocabulary while the block runs."""
        with self._vocabulary.full() if self._vocabulary else contextlib.nullcontext():
            yield

    def save_weights(self, directory: Path, tokenizer: Tokenizer) -> None:
        """Write the model directory into ``directory``. Raises `StorageError`."""
        with self.full_vocabulary():
            save_model(directory, self.model, tokenizer)

    def save(self, directory: Path, tokenizer: Tokenizer, corpus_sha256: str) -> None:
        """Write the model and all else from which `restore` goes on exactly. Raises `StorageError`."""
        self.save_weights(directory, tokenizer)
        document = {
            "step": self.step,
            "loader": self.loader.state_dict(),
            "scaler": self._scaler.state_dict(),
            "optimizer": self.config.trainer.optimizer,
            "horizon": self.schedule.horizon,
            "numerics": self.numerics.to_dict(),
            "corpus_sha256": corpus_sha256,
            "config": self.config.to_dict(),
            "torch": torch.__version__,
        }
        write_state(directory, self.optimizer, self._device, document)

    def restore(self, directory: Path) -> None:
        """Go on from ``directory``. Raises `CheckpointError` where it is damaged or of another model."""
        document = read_document(directory)
        with self.full_vocabulary():
            expected = {name: tuple(value.shape) for name, value in self.model.state_dict().items()}
            self.model.load_state_dict(read_tensors(directory / WEIGHTS, expected))
        if self._vocabulary is not None:
            self._vocabulary.gather()
        restore_state(directory, document, self.optimizer, self._device)
        try:
            self.loader.load_state_dict(document["loader"])
            self._scaler.load_state_dict(document["scaler"])
            self.step = int(document["step"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"the trainer's state in {directory} is damaged ({error})",
                hint="take another checkpoint of the run",
            ) from error

    def _loss_sum(self, batch: Batch) -> Tensor:
        """Return the summed loss of ``batch``, with gradient."""
        inputs, targets = (torch.from_numpy(part) for part in (batch.inputs, batch.targets))
        with self._autocast():
            loss: Tensor = self._objective(
                inputs.to(self._device, non_blocking=True), targets.to(self._device, non_blocking=True)
            )
        return loss

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32)


def build_trainer(
    config: RunConfig,
    plugins: Plugins,
    tokenizer: Tokenizer,
    corpus: Path,
    *,
    numerics: Numerics,
    device: torch.device,
    horizon: int,
) -> Trainer:
    """Return a trainer before its first step; equal arguments give equal ones.

    Raises `ConfigError`, `DataError`, and `UnknownNameError` for what no plugin brings.
    """
    trainer = config.trainer
    tokens = open_tokens(corpus, tokenizer)
    loader = TokenLoader(
        tokens,
        seq_len=config.seq_len,
        batch_size=trainer.batch_size,
        seed=trainer.seed,
        val_fraction=trainer.val_fraction,
        end_of_text=tokenizer.end_of_text,
        shuffle=config.trainer.shuffle,
    )
    model = build_model(config.model, plugins.mixers, seed=trainer.seed).to(device).train()
    torch.manual_seed(trainer.seed)  # what dropout draws from
    vocabulary = None
    if numerics.softmax == "sampled":
        vocabulary = CompactVocabulary(model, used_ids(corpus), trainer.sampled_negatives, trainer.seed)
    return Trainer(
        config,
        numerics,
        model=model,
        optimizer=build_optimizer(model, trainer, plugins.optimizers),
        loader=loader,
        schedule=build_schedule(trainer, horizon),
        evaluator=Evaluator(loader, tokens, trainer.eval_tokens),
        device=device,
        vocabulary=vocabulary,
    )
