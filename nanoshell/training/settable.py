"""Which keys of the trainer a training run may be given anew. Neither torch nor pydantic at import."""

from __future__ import annotations

from nanoshell.errors import UnknownNameError, unknown_name

WRITTEN_MEANWHILE = frozenset(
    {
        "eval_interval",
        "eval_tokens",
        "keep_best",
        "max_checkpoints",
        "sample_interval",
        "sample_prompts",
        "sample_settings",
        "sample_tokens",
        "save_interval",
    }
)
"""Keys of ``trainer:`` that say what a run writes on the way, and change no update."""

SETTABLE = WRITTEN_MEANWHILE | {
    "batch_size",
    "decay_ratio",
    "gradient_accumulation",
    "learning_rate",
    "max_grad_norm",
    "min_lr_ratio",
    "schedule",
    "warmup_steps",
    "weight_decay",
}
"""Keys of ``trainer:`` that may change between two steps of a run."""


def settable_key(name: str) -> str:
    """Return the key that ``name`` (``learning_rate``, ``trainer.learning_rate``) stands for.

    Raises `UnknownNameError` with the nearest for what is no key, and for one that a run keeps to its end.
    """
    from nanoshell.training.config import TrainerConfig

    key = name.removeprefix("trainer.")
    if key in SETTABLE:
        return key
    if key in TrainerConfig.model_fields:
        raise UnknownNameError(
            f"'{name}' cannot change while a run trains", hint=f"these can: {', '.join(sorted(SETTABLE))}"
        )
    raise unknown_name("setting of a run", name, SETTABLE)
