"""What a run follows: config and schedule as they were asked for, and as they were changed on the way.

`set` and `extend` change them between two steps. A checkpoint keeps both, so that a resumed run goes on as
the one that was not interrupted. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nanoshell.errors import ConfigError
from nanoshell.training.config import RunConfig
from nanoshell.training.schedule import Schedule, build_schedule
from nanoshell.training.settable import settable_key


class Plan:
    """The ``config`` and ``schedule`` that hold for the next step, and the ``changes`` that led to them."""

    def __init__(self, config: RunConfig, schedule: Schedule) -> None:
        self._asked, self._asked_schedule = config, schedule
        self.config = config
        self.schedule = schedule
        self.changes: dict[str, Any] = {}

    def change(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Give settings anew, all of them or none, and return what they were, as JSON-able values.

        ``learning_rate`` is the schedule's peak, so that what is left of the schedule scales with it. Raises
        `UnknownNameError` for a key that cannot be set, and `ConfigError` for a value that does not fit.
        """
        config = changed_config(self.config, values)
        before, after = _trainer(self.config), _trainer(config)
        keys = [settable_key(key) for key in values]
        self._follow(config, {**self.changes, **{key: after[key] for key in keys}}, self.schedule.horizon)
        return {key: before[key] for key in keys}

    def extend(self, horizon: int) -> None:
        """Let the schedule end at ``horizon``, in steps. The warm-up stays as long as it was."""
        self._follow(self.config, self.changes, horizon)

    def to_dict(self) -> dict[str, Any]:
        """Return what `restore` reads, as JSON-able values."""
        return {
            "config": self._asked.to_dict(),
            "changes": self.changes,
            "horizon": self.schedule.horizon,
            "asked_horizon": self._asked_schedule.horizon,
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        """Take over the changes in ``document``. What was asked for anew since then comes before them.

        Raises `ConfigError` and its kin where they do not fit.
        """
        then = (document.get("config") or {}).get("trainer", {})
        now = self._asked.to_dict()["trainer"]
        kept = document.get("changes") or {}
        changes = {key: value for key, value in kept.items() if then.get(key) == now.get(key)}
        horizon = extended_horizon(document, self._asked_schedule.horizon)
        self._follow(changed_config(self._asked, changes), changes, horizon)

    def _follow(self, config: RunConfig, changes: dict[str, Any], horizon: int) -> None:
        trainer = config.trainer
        if trainer.warmup_steps is None:
            # Left to the horizon it would grow with it, and the rate of a run past its warm-up sink again.
            trainer = trainer.model_copy(update={"warmup_steps": self._asked_schedule.warmup})
        self.config, self.changes = config, changes
        self.schedule = build_schedule(trainer, horizon)


def extended_horizon(document: Mapping[str, Any], asked: int) -> int:
    """Return the horizon that ``document`` (``trainer.json``) was extended to; ``asked`` where it was not.

    ``asked`` is the horizon that the run is asked to have now: another one than the document was written
    with comes before its extension.
    """
    horizon = document.get("horizon")
    extended = isinstance(horizon, int) and document.get("asked_horizon") == asked
    return int(horizon) if extended and horizon is not None else asked


def changed_config(config: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """Return ``config`` with ``values`` of its trainer, by key; the keys may begin with ``trainer.``.

    Raises `UnknownNameError` for a key that cannot be set while a run trains, naming the nearest, and
    `ConfigError` for a value that does not fit.
    """
    given = {settable_key(key): value for key, value in values.items()}
    absent = next((key for key, value in given.items() if value is None), None)
    if absent is not None:
        raise ConfigError(f"'{absent}' needs a value", hint="say which: a run cannot go back to a default")
    if not given:
        return config
    data = config.to_dict()
    return RunConfig.from_dict({**data, "trainer": {**data["trainer"], **given}}, "set")


def _trainer(config: RunConfig) -> dict[str, Any]:
    return config.trainer.model_dump(mode="json")
