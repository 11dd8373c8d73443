"""The trainer: one optimizer update at a time, evaluation, and the state from which it goes on exactly.

It knows no run directory and no signal; `nanoshell.training.worker` drives it.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nanoshell.data.loader import Batch, TokenLoader
from nanoshell.data.tokens import used_ids
from nanoshell.errors import CheckpointError, DataError
from nanoshell.model.transformer import build_model
from nanoshell.model.weights import WEIGHTS, read_tensors, save_model
from nanoshell.training.automatic import resolve
from nanoshell.training.balance import Routers
from nanoshell.training.batches import open_loader
from nanoshell.training.checkpoint import read_document
from nanoshell.training.evaluation import Evaluation, Evaluator
from nanoshell.training.numerics import Numerics
from nanoshell.training.objective import Objective
from nanoshell.training.optimizer import build_optimizer, set_learning_rate
from nanoshell.training.plan import Plan, changed_config
from nanoshell.training.sampled_softmax import CompactVocabulary
from nanoshell.training.schedule import Schedule, build_schedule
from nanoshell.training.state import adopt_state, restore_state, seed_random, write_state
from nanoshell.training.team import Team

if TYPE_CHECKING:
    from nanoshell.model.transformer import Transformer
    from nanoshell.plugin.manager import Plugins
    from nanoshell.tokenizer.base import Tokenizer
    from nanoshell.training.compiled_step import StepCompiler
    from nanoshell.training.config import RunConfig, TrainerConfig


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
    """Model, optimizer, data and schedule of one run. Build it with `build_trainer`.

    ``step`` updates were done, on ``tokens`` targets; ``last_batches`` are the micro-batches of the last one.
    ``compiler`` is what compiles the step, where `compile_with` was called.
    """

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
        new_optimizer: Callable[[TrainerConfig], torch.optim.Optimizer],
    ) -> None:
        self.numerics = numerics
        self.model = model
        self.optimizer = optimizer
        self.loader = loader
        self.step = 0
        self.begun_anew: list[str] = []
        self.tokens = 0
        self.last_batches: list[Batch] = []
        self.compiler: StepCompiler | None = None
        self._plan = Plan(config, schedule)
        self._new_optimizer = new_optimizer
        self._evaluator = evaluator
        self._device = device
        self._vocabulary = vocabulary
        self._objective: nn.Module = Objective(model, vocabulary)
        self._team = Team()
        self._routers = Routers(model)
        self._dtype: torch.dtype = getattr(torch, numerics.dtype)
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._dtype == torch.float16)

    @property
    def config(self) -> RunConfig:
        """The config that holds for the next step."""
        return self._plan.config

    @property
    def schedule(self) -> Schedule:
        """The schedule that holds for the next step."""
        return self._plan.schedule

    def change(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Give settings of the trainer anew, from the next step on, and return what they were.

        They are kept in checkpoints. Raises as `Plan.change` and `Team.check_rows` do; nothing has changed
        then.
        """
        config, decays = changed_config(self.config, values), self.config.trainer.weight_decay
        self._team.check_rows(config.windows_per_step)
        fresh = self._new_optimizer(config.trainer) if config.trainer.weight_decay != decays else None
        schedule = self.schedule
        before = self._plan.change(values)
        self._team.announce("change", values=dict(values))
        # Before the peak is another, each group learns which share of it is its own.
        set_learning_rate(self.optimizer, schedule.at(max(self.step, 1)), schedule.peak)
        self._follow_plan(fresh)
        return before

    def extend(self, horizon: int) -> None:
        """Let the schedule end at step ``horizon``. It is kept in checkpoints."""
        self._plan.extend(horizon)
        self._team.announce("extend", horizon=horizon)

    def _follow_plan(self, fresh: torch.optim.Optimizer | None) -> None:
        """Go by the plan; ``fresh`` is an optimizer built by it, where it decays otherwise than ours."""
        self.loader.batch_size = self.config.trainer.batch_size
        self._evaluator.limit = self.config.trainer.eval_tokens
        if fresh is not None:  # what it decays, and how much, only the optimizer knows that is built with it
            for group, wanted in zip(self.optimizer.param_groups, fresh.param_groups, strict=True):
                if "weight_decay" in wanted:
                    group["weight_decay"] = wanted["weight_decay"]

    def unite(self, team: Team) -> None:
        """Make every update from now on together with the processes of ``team``, which have equal trainers.

        All of them call this at the same time. Raises `ConfigError` where an update has too few windows.
        """
        team.check_rows(self.config.windows_per_step)
        self._objective = team.unite(self._objective, self._device, routed=self._routers.any)
        self._team = team

    def compile_with(self, plugins: Plugins) -> None:
        """Let the step be compiled beside the updates, and go on compiled where that turns out to pay."""
        from nanoshell.training.compiled_step import StepCompiler, warm_up_command

        config, numerics = self.config, self.numerics
        order = {
            "model": config.model.to_dict(),
            "device": numerics.device,
            "dtype": numerics.dtype,
            "threads": numerics.threads,
        }
        shape = (config.trainer.batch_size, config.seq_len)
        command = warm_up_command(plugins.arguments)
        self.compiler = StepCompiler(self.model, shape, self._try, command, order)

    def _try(self) -> None:
        """Compute the gradient of a batch of the last update, and leave no trace of it."""
        devices = [] if self._device.type == "cpu" else [self._device]
        batch = self.last_batches[0]
        try:
            with torch.random.fork_rng(devices, device_type=self._device.type), self._compiled(batch):
                self._loss_sum(batch).backward()  # type: ignore[no-untyped-call]
        finally:
            self._routers.take(0.0)
            self._routers.begin()
            self.optimizer.zero_grad(set_to_none=True)

    def update(self) -> StepResult:
        """Do one optimizer update and return how it went.

        The loss is summed over the targets of all micro-batches and divided by their number, whatever the
        shape of the micro-batches, so that accumulation equals one large batch. Where tokens are routed to
        experts, the balance loss of each micro-batch is added by its part of the targets. Several processes
        share the micro-batches; the result is the same in all of them.
        """
        began = time.perf_counter()
        self._team.announce("update")
        trainer = self.config.trainer
        step = self.step + 1
        rate = self.schedule.at(step)
        set_learning_rate(self.optimizer, rate, self.schedule.peak)
        if self._vocabulary is not None:
            self._vocabulary.draw(step, self.optimizer)
        batches = self.last_batches = self._next_batches(trainer.gradient_accumulation)
        count = sum(batch.num_targets for batch in batches)
        batches = self._team.share(batches)
        self._team.seed(trainer.seed, step)
        total = torch.zeros((), device=self._device)
        alpha = self.config.balance_alpha
        self._routers.begin()
        for number, batch in enumerate(batches, 1):
            with self._team.reducing(last=number == len(batches)), self._compiled(batch):
                loss = self._loss_sum(batch) / count
                balance = self._routers.take(batch.num_targets / count)
                whole = loss + alpha * balance if alpha and balance is not None else loss
                # Gradients are averaged over the processes, and the loss is a sum over them.
                self._scaler.scale(whole * self._team.size).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        self._scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), trainer.max_grad_norm or math.inf)
        mean, grad_norm = self._team.total(torch.stack([total, norm / self._team.size])).tolist()
        self._routers.combine(self._team.total)
        # A float16 gradient that is not finite is the scale's fault: the scaler skips it and lowers that.
        diverged = not math.isfinite(mean + (0.0 if self._scaler.is_enabled() else grad_norm))
        if not diverged:
            self._team.seed_alike(trainer.seed, step)
            self._scaler.step(self.optimizer)
            self._scaler.update()
            self._routers.balance(trainer.router_bias_rate)
            self.step = step
            self.tokens += count
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
            **self._plan.to_dict(),
            "step": self.step,
            "tokens": self.tokens,
            "loader": self.loader.state_dict(),
            "scaler": self._scaler.state_dict(),
            "optimizer": self.config.trainer.optimizer,
            "numerics": self.numerics.to_dict(),
            "corpus_sha256": corpus_sha256,
            "torch": torch.__version__,
        }
        write_state(directory, self.optimizer, self._device, document)

    def restore(self, directory: Path) -> None:
        """Go on from ``directory``. Raises `CheckpointError` where it is damaged or of another model."""
        document = self._restore_weights(directory)
        restore_state(directory, document, self.optimizer, self._device)
        try:
            self.loader.load_state_dict(document["loader"])
            self._scaler.load_state_dict(document["scaler"])
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(directory, error) from error
        self._restore_plan(directory, document)

    def adopt(self, directory: Path, corpus_sha256: str) -> None:
        """Go on from ``directory``, written under another config or on other data, as far as that fits.

        What does not is in ``begun_anew`` then: ``optimizer state`` (or a part of it), ``data position``.
        Raises `CheckpointError` where ``directory`` is damaged or of a model of another shape.
        """
        document = self._restore_weights(directory)
        if not adopt_state(directory, document, self.optimizer, self._device):
            self.begun_anew.append("optimizer state")
        # Each group learns its share of the rate that was asked for, before one set on the way holds.
        set_learning_rate(self.optimizer, self.schedule.peak, self.schedule.peak)
        try:
            then, now = document["config"]["trainer"], self._plan.to_dict()["config"]["trainer"]
            same_order = all(then.get(key) == now.get(key) for key in ("shuffle", "val_fraction"))
            if document["corpus_sha256"] != corpus_sha256 or not same_order:
                raise DataError("the data is cut otherwise")
            self.loader.load_state_dict(document["loader"])
        except (DataError, KeyError):
            self.begun_anew.append("data position")
        if document.get("scaler") and self._scaler.is_enabled():
            self._scaler.load_state_dict(document["scaler"])
        self._restore_plan(directory, document)

    def _restore_weights(self, directory: Path) -> dict[str, Any]:
        """Take the weights of ``directory`` and return its document. Raises `CheckpointError`."""
        document = read_document(directory)
        with self.full_vocabulary():
            expected = {name: tuple(value.shape) for name, value in self.model.state_dict().items()}
            self.model.load_state_dict(read_tensors(directory / WEIGHTS, expected))
        if self._vocabulary is not None:
            self._vocabulary.gather()
        return document

    def _restore_plan(self, directory: Path, document: dict[str, Any]) -> None:
        try:
            self.step = int(document["step"])
            self.tokens = int(document.get("tokens", self.step * self.config.tokens_per_step))
            self._plan.restore(document)
            decays = "weight_decay" in self._plan.changes
            self._follow_plan(self._new_optimizer(self.config.trainer) if decays else None)
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(directory, error) from error

    def _next_batches(self, number: int) -> list[Batch]:
        """Return the micro-batches of an update. Those without a target that counts would teach nothing:
        where none in all of them does, they are passed over."""
        while True:
            batches = [self.loader.next_batch() for _ in range(number)]
            if any(batch.num_targets for batch in batches):
                return batches

    def _loss_sum(self, batch: Batch) -> Tensor:
        """Return the summed loss of ``batch``, with gradient."""
        parts = (torch.from_numpy(part) for part in (batch.inputs, batch.targets))
        with self._autocast():
            loss: Tensor = self._objective(*(part.to(self._device, non_blocking=True) for part in parts))
        return loss

    def _compiled(self, batch: Batch) -> contextlib.AbstractContextManager[None]:
        """Return what surrounds forward and backward: gradient checkpointing computes layers in both."""
        return self.compiler.applied(batch.inputs.shape) if self.compiler else contextlib.nullcontext()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32)


def _damaged(directory: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"the trainer's state in {directory} is damaged ({error})",
        hint="take another checkpoint of the run",
    )


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
    config, _ = resolve(config)
    trainer = config.trainer
    loader = open_loader(config, corpus, tokenizer)
    model = build_model(config.model, plugins.mixers, seed=trainer.seed).to(device).train()
    model.gradient_checkpointing = trainer.gradient_checkpointing
    seed_random(trainer.seed)  # what dropout draws from

    def new_optimizer(trainer: TrainerConfig) -> torch.optim.Optimizer:
        return build_optimizer(model, trainer, plugins.optimizers)

    vocabulary = None
    if numerics.softmax == "sampled":
        vocabulary = CompactVocabulary(model, used_ids(corpus), trainer.sampled_negatives, trainer.seed)
    return Trainer(
        config,
        numerics,
        model=model,
        optimizer=new_optimizer(trainer),
        loader=loader,
        schedule=build_schedule(trainer, horizon),
        evaluator=Evaluator(loader, tokenizer, trainer.eval_tokens),
        device=device,
        vocabulary=vocabulary,
        new_optimizer=new_optimizer,
    )
