"""What a training run is configured with: the keys of ``trainer:``, and the plan of steps.

The keys are those of the seed family, so that its files load unchanged, and a few of ours. No torch here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from nanoshell.model.config import DtypeName, Fraction, ModelConfig
from nanoshell.model.validation import BadValueError, Count, Flag, Natural, validate, without_nulls

MAX_SEED = 2**63 - 1
"""Larger numbers than this are no seeds for torch."""

DEFAULT_BALANCE_ALPHA = 0.01

ScheduleName = Literal["auto", "constant", "linear", "cosine", "trapezoid"]
SoftmaxName = Literal["auto", "full", "sampled"]


def _number(value: Any) -> Any:
    """Read ``2e-3``, which YAML 1.1 takes for text, as the number it is; refuse true and false."""
    if isinstance(value, bool):
        raise BadValueError(f"it must be a number, not {str(value).lower()}")
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


Number = Annotated[float, BeforeValidator(_number), Field(ge=0, allow_inf_nan=False)]
PositiveNumber = Annotated[float, BeforeValidator(_number), Field(gt=0, allow_inf_nan=False)]


class DistributedConfig(BaseModel):
    """The ``distributed:`` section of the seed family. Read, and not used: ``--nproc`` or torchrun says how
    many processes train, and the device by what they talk.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: Flag = False
    backend: str = "nccl"
    gpu_ids: tuple[Natural, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        return without_nulls(data)


class TrainerConfig(BaseModel):
    """The ``trainer:`` section of a preset. ``null`` means absent, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # How long, and in which portions
    max_steps: Natural = 0
    """The schedule's horizon in optimizer steps; 0 leaves it to ``num_epochs``. The smaller one counts."""
    num_epochs: PositiveNumber | None = None
    """The horizon in passes over the data; one pass where neither is given."""
    batch_size: Count = 4
    """Windows in a micro-batch."""
    gradient_accumulation: Count = 1
    """Micro-batches in an optimizer step."""
    seq_len: Count | None = None
    """Positions in a window; ``model.max_seq_len`` where absent."""
    shuffle: Literal["windows", "documents"] = "windows"
    """What each epoch puts in a new order: windows of the text, or its documents too."""
    seed: Annotated[int, Field(strict=True, ge=0, le=MAX_SEED)] = 1337

    # The update
    optimizer: str = "adamw"
    """A registered optimizer; ``auto`` takes the one that suits the width and the tokens of a step."""
    optimizer_options: Mapping[str, Any] = Field(default_factory=dict)
    """What a plugin's optimizer may want to know beyond these keys."""
    learning_rate: PositiveNumber = 1e-3
    schedule: ScheduleName = "cosine"
    """How the learning rate falls; ``auto`` takes what suits the optimizer."""
    warmup_steps: Natural | None = None
    """Steps over which the learning rate rises from 0; absent: a fiftieth of the horizon, at most 200."""
    decay_ratio: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False), BeforeValidator(_number)] = 0.5
    """The share of the horizon over which ``trapezoid`` falls, at its end."""
    min_lr_ratio: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), BeforeValidator(_number)] = 0.1
    """Where the learning rate ends, as a share of its peak."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.95)
    epsilon: PositiveNumber = 1e-8
    weight_decay: Number = 0.1
    """Decay of matrices; norms, biases, embeddings and the head have none."""
    max_grad_norm: Number = 1.0
    """Gradients are scaled down to this norm; 0 turns that off."""

    # Where layers route tokens to experts
    load_balance_alpha: Number | None = None
    """Weight of the balance loss; absent: see `RunConfig.balance_alpha`. 0 turns it off."""
    router_bias_rate: Number = 1e-3
    """How far an update moves the bias of a router with ``model.router_bias``."""

    # The loss
    loss_on: Literal["all", "assistant"] = "all"
    """Which tokens are targets that count: all, or those of the assistant's turns (their end included)."""
    softmax: SoftmaxName = "auto"
    sampled_negatives: Count = 1024
    """How many ids that the data does not use each step draws for ``softmax: sampled``."""

    # What is held back, written and kept
    val_fraction: Fraction = 0.0
    eval_interval: Natural = 0
    """Steps between evaluations; 0 evaluates at the end alone. Without a validation split it is a sample of
    the training windows that is evaluated; with full softmax, whose loss is exact at every step, there is no
    evaluation at the end then.
    """
    eval_tokens: Count = 16_384
    """An evaluation reads at most about this many tokens of the validation split."""
    log_interval: Count = 1
    """Steps between the lines of ``train --json``; the event log has every step."""
    save_interval: Natural = 200
    """Steps between checkpoints; 0 writes one at the end alone."""
    max_checkpoints: Natural = 2
    """How many checkpoints a run keeps; 0 keeps all."""
    keep_best: Flag = True
    """Keep the checkpoint of the lowest validation loss too, beyond ``max_checkpoints``."""

    # What it writes on the way
    sample_interval: Natural = 0
    """Steps between samples of ``sample_prompts``; 0 takes none."""
    sample_prompts: tuple[str, ...] = ()
    sample_tokens: Count = 64
    """How many tokens a sample goes on for at most."""
    sample_settings: Mapping[str, float] = Field(default_factory=dict)
    """Settings of samplers, ``temperature: 0.5`` for example, in place of their defaults."""

    # Where it computes
    device: str | None = None
    target_device: Literal["gpu", "cpu"] | None = None
    dtype: DtypeName = "auto"
    compile: Flag = False
    """Compile the step with ``torch.compile``, in the background, and go on with it once it is ready."""
    gradient_checkpointing: Flag = False
    """Compute the inside of each layer again for the gradient: less memory, a third more time."""

    # Keys of the seed family for other layers and methods, and for what the run directory decides
    checkpoint_dir: str | None = None
    distributed: DistributedConfig = DistributedConfig()
    group_size: Count | None = None
    beta_kl: Number | None = None

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        return without_nulls(data)

    @property
    def device_name(self) -> str:
        """The device asked for: ``device``, else ``target_device``, whose ``gpu`` leaves the choice."""
        return self.device or ("cpu" if self.target_device == "cpu" else "auto")

    def unused_keys(self) -> list[str]:
        """Return the keys that were given and that a run of one process does not use."""
        idle = ("checkpoint_dir", "group_size", "beta_kl")
        given = [key for key in idle if getattr(self, key) is not None]
        return given + (["distributed"] if self.distributed.enabled else [])


class RunConfig(BaseModel):
    """A preset: the model, and how it is trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: ModelConfig
    trainer: TrainerConfig = TrainerConfig()

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        return without_nulls(data)

    @model_validator(mode="after")
    def _window_fits(self) -> RunConfig:
        if self.seq_len > self.model.max_seq_len:
            raise BadValueError(
                f"trainer.seq_len {self.seq_len} is more than model.max_seq_len {self.model.max_seq_len}",
                "lower the first or raise the second",
            )
        return self

    @property
    def seq_len(self) -> int:
        """Positions in a training window."""
        return self.trainer.seq_len or self.model.max_seq_len

    @property
    def dtype(self) -> str:
        """The dtype asked for: the trainer's, else the model's; ``auto`` leaves it to the backend."""
        return self.trainer.dtype if self.trainer.dtype != "auto" else self.model.dtype

    @property
    def balance_alpha(self) -> float:
        """Weight of the balance loss: 0.01, as in the Switch Transformer, or 0 where a bias does its work."""
        if self.trainer.load_balance_alpha is not None:
            return self.trainer.load_balance_alpha
        return 0.0 if self.model.router_bias else DEFAULT_BALANCE_ALPHA

    @property
    def windows_per_step(self) -> int:
        """Windows in one optimizer step, however many processes share them."""
        return self.trainer.batch_size * self.trainer.gradient_accumulation

    @property
    def tokens_per_step(self) -> int:
        """Targets in one optimizer step."""
        return self.windows_per_step * self.seq_len

    def horizon(self, windows_per_epoch: int) -> int:
        """Return the optimizer steps over which the schedule runs: at least one."""
        trainer = self.trainer
        windows_per_step = trainer.batch_size * trainer.gradient_accumulation
        epochs = trainer.num_epochs or (None if trainer.max_steps else 1.0)
        limits = [trainer.max_steps] if trainer.max_steps else []
        if epochs is not None:
            limits.append(math.ceil(epochs * windows_per_epoch / windows_per_step))
        return max(1, min(limits))

    def to_dict(self) -> dict[str, Any]:
        """Return the config as JSON-able values; `from_dict` reads them back to an equal config."""
        return {
            "model": self.model.to_dict(),
            "trainer": self.trainer.model_dump(mode="json", exclude_none=True),
        }

    @classmethod
    def from_dict(cls, data: Any, where: str) -> RunConfig:
        """Return the config that ``data`` holds. Raises `ConfigError` that begins with ``where``."""
        return validate(cls, data, where)
