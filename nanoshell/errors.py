"""Every failure that a user can meet, as one family of exceptions.

An error says what is wrong and where, and its ``hint`` says what to do. Faces print the two lines and leave
with ``exit_code``; they never print a traceback for a member of this family (``--debug`` does).
"""

from __future__ import annotations

import re
from collections.abc import Iterable


class NanoshellError(Exception):
    """What is wrong (``message``) and what to do about it (``hint``, may be empty)."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(NanoshellError):
    """The command was typed in a way that cannot be carried out."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that is not among those that exist: a command, preset, run, source, sampler or device."""


class ConfigError(UsageError):
    """A configuration with a key or a value that cannot be used."""


class DataError(NanoshellError):
    """Data that cannot be read or used: a source, a document, a ``.bin`` file."""


class MissingDataError(DataError):
    """A file or folder that was named and is not there: as wrong as a name that nothing has."""

    exit_code = UsageError.exit_code


class ChangedDataError(DataError):
    """Data that is other than what a run was trained on: refused as another config is."""

    exit_code = UsageError.exit_code


class TokenizerError(NanoshellError):
    """A tokenizer that cannot be built, or ids that it does not know."""


class CheckpointError(NanoshellError):
    """A model directory that is incomplete, damaged or of another shape."""


class MissingModelError(CheckpointError):
    """A folder that was named and holds no model: as wrong as a name that nothing has."""

    exit_code = UsageError.exit_code


class RunError(NanoshellError):
    """A run that cannot be started, steered or read."""


class MissingRunError(RunError):
    """There is no run that could be meant."""

    exit_code = UsageError.exit_code


class DeviceError(NanoshellError):
    """A device that this machine does not have, or a dtype that it cannot compute."""


class NetworkError(NanoshellError):
    """Something had to be fetched and could not be."""


class StorageError(NanoshellError):
    """A write that failed: no space, no permission, a read-only folder.

    ``no_room`` says that it would succeed on a larger disk, with a larger quota or limit on files.
    """

    def __init__(self, message: str, *, hint: str = "", no_room: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.no_room = no_room


class PluginError(NanoshellError):
    """A plugin that cannot be loaded, or that broke a contract."""


class Interrupted(NanoshellError):
    """The user stopped the command."""

    exit_code = 130

    def __init__(self, message: str = "interrupted", *, hint: str = "") -> None:
        super().__init__(message, hint=hint)


class Declined(NanoshellError):
    """The user was asked whether to do it, and said no."""

    def __init__(self, message: str = "nothing was done: the answer was no", *, hint: str = "") -> None:
        super().__init__(message, hint=hint)


_MOST_LISTED = 40
"""Names that a hint lists: all settings and samplers, and not every run of a year."""


_ABBREVIATIONS = {
    "lr": "learning_rate",
    "bs": "batch_size",
    "wd": "weight_decay",
    "grad_accum": "gradient_accumulation",
    "clip": "max_grad_norm",
    "warmup": "warmup_steps",
    "epochs": "num_epochs",
}
"""What everybody types for keys of a config, too short to be near to them."""


_NEAR = 0.55
"""So alike is the choice that may have been meant."""
_WORD, _SAME_WORD, _OF_A_WORD = 4, 0.75, 0.9
"""Letters of a word that counts alone, how alike two are that are the same, and what that is worth."""


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """Return the choice that ``name`` is short for, or is spelled most like; None if none comes close."""
    by_folded = {choice.lower(): choice for choice in choices}
    meant = _ABBREVIATIONS.get(name.lower().removeprefix("trainer."))
    if meant in by_folded:
        return by_folded[meant]
    likeness = {choice: _likeness(name.lower(), choice) for choice in by_folded}
    best = max(likeness, key=lambda choice: likeness[choice], default="")
    return by_folded[best] if likeness.get(best, 0.0) >= _NEAR else None


def _likeness(name: str, choice: str) -> float:
    """Return how alike two names are, from 0 to 1; a word that they share counts, too: steps, max-steps."""
    import difflib

    whole = difflib.SequenceMatcher(None, choice, name).ratio()
    bare = name.lstrip("-")
    if len(bare) < _WORD:
        return whole
    parts = [part for part in re.split(r"[-_.:]+", choice) if len(part) >= _WORD]
    words = [difflib.SequenceMatcher(None, part, bare).ratio() for part in parts]
    return max([whole, *(_OF_A_WORD * ratio for ratio in words if ratio >= _SAME_WORD)])


def unknown_name(kind: str, name: str, choices: Iterable[str], *, hint: str = "") -> UnknownNameError:
    """Return the error for a ``name`` that is no ``kind`` ("preset", "run", …), with the nearest one."""
    known = sorted(set(choices))
    match = nearest(name, known)
    message = f"unknown {kind} '{name}'" + (f"; did you mean '{match}'?" if match else "")
    listed = ", ".join(known[:_MOST_LISTED]) + (" …" if len(known) > _MOST_LISTED else "")
    return UnknownNameError(
        message, hint=hint or (f"known: {listed}" if known else f"there is no {kind} yet")
    )
