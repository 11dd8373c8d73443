"""What a run that is training can be asked for, and what it answers. No torch here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nanoshell.errors import NanoshellError, RunError, StorageError, UsageError, unknown_name
from nanoshell.training.difference import CHANGEABLE
from nanoshell.training.plan import changed_config
from nanoshell.training.samples import SampleRequest, configured
from nanoshell.training.settable import settable_key

if TYPE_CHECKING:
    from nanoshell.training.loop import Loop
    from nanoshell.training.trainer import Trainer

Request = dict[str, Any]
Answer = dict[str, Any]

_ENVELOPE = frozenset({"id", "t", "action"})
NO_PROMPTS = "the run's config names no sample_prompts"
"""Why a sample that was asked for without a prompt follows upon nothing."""


def answer(loop: Loop, request: Request) -> Answer:
    """Carry out ``request`` between two steps of ``loop`` and return the fields of the answer.

    ``ok`` says whether it was done; what could not be done has changed nothing, and says why.
    """
    try:
        return {"ok": True, **_carry_out(loop, request)}
    except NanoshellError as error:
        return {"ok": False, "message": error.message, "hint": error.hint}


def _carry_out(loop: Loop, request: Request) -> Answer:
    action = request["action"]
    if action not in ACTIONS:
        raise unknown_name("action", action, ACTIONS, hint=f"a run can: {', '.join(ACTIONS)}")
    do, known = ACTIONS[action]
    given = {key: value for key, value in request.items() if key not in _ENVELOPE}
    for key in given:
        if key not in known:
            hint = "" if known else f"'{action}' takes nothing further"
            raise unknown_name(f"part of '{action}'", key, known, hint=hint)
    return do(loop, given)


def _stop(loop: Loop, given: Mapping[str, Any]) -> Answer:
    loop.asked_to_stop = "asked to stop"
    return {"message": "saving and stopping"}


def _pause(loop: Loop, given: Mapping[str, Any]) -> Answer:
    message = "it is paused already" if loop.paused else "paused"
    loop.paused = True
    return {"message": message}


def _resume(loop: Loop, given: Mapping[str, Any]) -> Answer:
    if loop.wants_room:
        loop.paused, loop.try_again = False, True
        return {"message": f"trying again: {loop.wants_room}"}
    message = "resumed" if loop.paused else "it was not paused"
    loop.paused = False
    return {"message": message}


def _checkpoint(loop: Loop, given: Mapping[str, Any]) -> Answer:
    return {"message": "saved", "path": loop.saver.inside(loop.saver.save())}


def _snapshot(loop: Loop, given: Mapping[str, Any]) -> Answer:
    return {"message": "saved", "path": loop.saver.inside(loop.saver.snapshot())}


def _evaluate(loop: Loop, given: Mapping[str, Any]) -> Answer:
    fields = loop.evaluate()
    if fields is None:
        raise RunError("the evaluation was broken off: the run is to stop")
    return {**fields, "message": "evaluated"}


def _sample(loop: Loop, given: Mapping[str, Any]) -> Answer:
    config = loop.trainer.config
    wanted = configured(config)
    if "prompts" in given:
        prompts = given["prompts"]
        if not isinstance(prompts, list) or not prompts or not all(isinstance(text, str) for text in prompts):
            raise UsageError(f"prompts is {prompts!r}", hint="it must be a list of texts")
        wanted = replace(wanted, prompts=prompts)
    if "tokens" in given:
        wanted = replace(wanted, tokens=_whole_number("tokens", given["tokens"]))
    if "settings" in given:
        settings = given["settings"]
        if not isinstance(settings, dict):
            raise UsageError(f"settings is {settings!r}", hint="it must hold names of samplers and numbers")
        wanted = SampleRequest(wanted.prompts, wanted.tokens, {**wanted.settings, **settings})
    count = loop.sample(wanted)
    found: Answer = {"samples": count, "message": f"{count} sample{'' if count == 1 else 's'}"}
    if "prompts" not in given and not config.trainer.sample_prompts:
        found |= {"message": f"{found['message']} from nothing: {NO_PROMPTS}", "no_prompts": True}
    return found


def _set(loop: Loop, given: Mapping[str, Any]) -> Answer:
    values = given.get("values")
    if not isinstance(values, dict) or not values:
        raise UsageError("'set' needs values", hint='for example {"values": {"learning_rate": 0.0001}}')
    trainer = loop.trainer
    config = changed_config(trainer.config, values)
    if any(settable_key(key).startswith("sample_") for key in values):
        loop.check_samples(configured(config))
    old, new = (each.trainer.model_dump(mode="json") for each in (trainer.config, config))
    same = [key for key in map(settable_key, values) if old[key] == new[key]]
    values = {key: value for key, value in values.items() if settable_key(key) not in same}
    already = [f"{key} is {old[key]} already" for key in same]
    if not values:
        return {"values": {}, "before": {}, "message": "; ".join(already)}
    rate, windows = _next_rate(trainer), trainer.config.windows_per_step
    before = trainer.change(values)
    settings = trainer.config.trainer.model_dump(mode="json")
    after = {key: settings[key] for key in before}
    said = [f"{key} is {after[key]}, it was {before[key]}" for key in before] + already
    if trainer.config.windows_per_step != windows:
        said.append(f"a step has {trainer.config.tokens_per_step:,} tokens")
    if not before.keys() <= CHANGEABLE:
        loop.look_anew()
    said += [*_new_rate(trainer, rate), *_kept(loop)]
    return {"values": after, "before": before, "message": "; ".join(said)}


def _extend(loop: Loop, given: Mapping[str, Any]) -> Answer:
    """Let the schedule and the run end later by as many steps; also a run that is to stop before the schedule
    ends goes on for so many more.
    """
    trainer = loop.trainer
    steps = _steps_more(trainer, given)
    rate, last = _next_rate(trainer), loop.last_step + steps
    horizon = trainer.schedule.horizon + steps
    trainer.extend(horizon)
    loop.stop_at = last if last < horizon else None
    loop.look_anew()
    said = [f"it goes on to step {last:,}", *_new_rate(trainer, rate), *_kept(loop)]
    return {"horizon": horizon, "total_steps": last, "message": "; ".join(said)}


def _kept(loop: Loop) -> list[str]:
    """Save what was changed, so that it outlasts a kill; return in words why it is not saved yet."""
    try:
        loop.saver.save()
    except StorageError as error:
        return [f"not saved yet: {error.message}"]
    return []


def _steps_more(trainer: Trainer, given: Mapping[str, Any]) -> int:
    if given.keys() == {"steps"}:
        return _whole_number("steps", given["steps"])
    if given.keys() == {"epochs"}:
        epochs = given["epochs"]
        if isinstance(epochs, bool) or not isinstance(epochs, int | float) or not 0 < epochs < math.inf:
            raise UsageError(f"epochs is {epochs!r}", hint="it must be a number greater than 0")
        return math.ceil(epochs * trainer.loader.windows_per_epoch / trainer.config.windows_per_step)
    raise UsageError("say by how much: either steps or epochs", hint='for example {"steps": 500}')


def _next_rate(trainer: Trainer) -> float:
    return trainer.schedule.at(trainer.step + 1)


def _new_rate(trainer: Trainer, before: float) -> list[str]:
    """Return in words what the learning rate of the next step is, nothing where that has not changed."""
    rate, schedule = _next_rate(trainer), trainer.schedule
    if rate == before:
        return []
    why = "" if schedule.kind == "constant" else f" ({schedule.kind}, with its peak at {schedule.peak:.3g})"
    return [f"the rate of step {trainer.step + 1:,} is {rate:.3g}{why}; it would have been {before:.3g}"]


def _whole_number(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{name} is {value!r}", hint="it must be a whole number of at least 1")
    return value


Action = Callable[["Loop", Mapping[str, Any]], Answer]

ACTIONS: Mapping[str, tuple[Action, frozenset[str]]] = {
    "stop": (_stop, frozenset()),
    "pause": (_pause, frozenset()),
    "resume": (_resume, frozenset()),
    "checkpoint": (_checkpoint, frozenset()),
    "snapshot": (_snapshot, frozenset()),
    "evaluate": (_evaluate, frozenset()),
    "sample": (_sample, frozenset({"prompts", "tokens", "settings"})),
    "set": (_set, frozenset({"values"})),
    "extend": (_extend, frozenset({"steps", "epochs"})),
}
"""What can be asked for by name: what does it, and what may be said beside the name."""
