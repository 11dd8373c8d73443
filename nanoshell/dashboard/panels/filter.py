"""Which runs are meant: ``lr>1e-3 val_loss<2 name~nano state=finished``, where a space means and."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from nanoshell.errors import UsageError, unknown_name
from nanoshell.runs.comparing import dotted, setting_text
from nanoshell.runs.status import State

FIGURES: Mapping[str, str] = {
    "name": "of the run",
    "state": ", ".join(get_args(State)),
    "reason": "why it is in that state",
    "step": "steps done",
    "total_steps": "steps it will do",
    "epoch": "passes over the data",
    "loss": "of the newest step",
    "val_loss": "of the newest evaluation",
    "best": "lowest validation loss",
    "rate": "learning rate of the newest step",
    "grad_norm": "norm of the gradient",
    "tokens/s": "speed",
    "it/s": "speed",
    "bytes": "on the disk",
    "source": "its data",
}
"""What can be asked of a run beside the keys of its config, with a line about each."""

SHORT: Mapping[str, str] = {
    "lr": "trainer.learning_rate",
    "learning_rate": "trainer.learning_rate",
    "bs": "trainer.batch_size",
    "wd": "trainer.weight_decay",
    "best_val_loss": "best",
    "val": "val_loss",
    "steps": "step",
    "speed": "tokens/s",
    "data": "source",
    "size": "bytes",
    "why": "reason",
}
"""Short names for some of them."""

_SECTIONS = ("trainer.", "model.", "corpus.")
_SIGN = re.compile(r"<=|>=|!=|==|!~|<|>|=|~")
_TERM = re.compile(rf"(?P<name>[\w./-]+?)(?P<sign>{_SIGN.pattern})(?P<value>.*)", re.DOTALL)
_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)([kmg]?)", re.IGNORECASE)
_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_WORDS: Mapping[str, object] = {
    "true": True,
    "yes": True,
    "false": False,
    "no": False,
    "none": None,
    "-": None,
}

_AND = frozenset({"and", "&", "&&"})
_ONE_OF = "write name~'a|b', state~'failed|crashed'"
_OPPOSITE = "write name!~nano, state!=finished, loss>=2"
_REFUSED: Mapping[str, str] = {
    **dict.fromkeys(("or", "|", "||"), _ONE_OF),
    **dict.fromkeys(("not", "!"), _OPPOSITE),
}
"""Words of other languages of conditions, and how the same is said here."""

_COMPARED: Mapping[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


@dataclass(frozen=True)
class Term:
    """One condition: ``name`` in full, ``sign``, and the ``value`` as it was typed."""

    name: str
    sign: str
    value: str

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Return whether ``values`` fulfil it. What is not known fulfils nothing but ``!=`` and ``!~``."""
        found = values.get(self.name)
        if self.sign in _COMPARED:
            wanted = number_of(self.value)
            if wanted is None or not isinstance(found, int | float) or isinstance(found, bool):
                return False
            return _COMPARED[self.sign](float(found), wanted)
        if self.sign in ("~", "!~"):
            there = (
                found is not None and re.search(self.value, setting_text(found), re.IGNORECASE) is not None
            )
            return there is (self.sign == "~")
        return self._equal(found) is (self.sign != "!=")

    def _equal(self, found: object) -> bool:
        if isinstance(found, bool) or found is None:
            return self.value.lower() in _WORDS and _WORDS[self.value.lower()] is found
        if isinstance(found, int | float):
            wanted = number_of(self.value)
            if wanted is None:
                return False
            return math.isclose(found, wanted, rel_tol=1e-9) or (math.isnan(found) and math.isnan(wanted))
        return setting_text(found).lower() == self.value.lower()


def parse_filter(text: str, keys: Iterable[str]) -> tuple[Term, ...]:
    """Return the conditions in ``text``; a word alone means a name that holds it.

    ``keys`` are the dotted keys of configs, whose last part is enough where only one key ends so. Raises
    `UsageError` that says which word is wrong, `UnknownNameError` with the nearest name.
    """
    try:
        words = shlex.split(text, posix=True)
    except ValueError:
        raise UsageError("a quotation mark is missing", hint='name="two words"') from None
    known = frozenset(keys)
    return tuple(_term(word, known) for word in _conditions(words))


def whole_terms(text: str, keys: Iterable[str]) -> tuple[Term, ...]:
    """Return the conditions of ``text``, which is being typed, but for one at its end that is not whole yet.

    That is one that is wrong, and a figure or a key, or the beginning of one, without a sign.
    """
    known = frozenset(keys)
    words = text.split()
    while words:
        if not _names(words[-1], known) and not completed(words[-1], known):
            try:
                return parse_filter(" ".join(words), known)
            except UsageError:
                pass
        words.pop()
    return ()


def _names(word: str, keys: frozenset[str]) -> bool:
    try:
        return bool(full_name(word, keys))
    except UsageError:
        return False


def _conditions(words: Iterable[str]) -> list[str]:
    """Return ``words`` with the parts of a condition put together: ``loss > 1`` is one, and ``and`` is none.

    Raises `UsageError` for ``or`` and ``not``, which would be parts of names otherwise.
    """
    found: list[str] = []
    for word in words:
        before = _TERM.fullmatch(found[-1]) if found else None
        if (before and not before["value"]) or (found and before is None and _SIGN.match(word)):
            found[-1] += word
        elif word.lower() in _REFUSED:
            raise UsageError(f"'{word}' is not known here", hint=_REFUSED[word.lower()])
        elif word.lower() not in _AND:
            found.append(word)
    return found


def _term(word: str, keys: frozenset[str]) -> Term:
    match = _TERM.fullmatch(word)
    if match is None:
        if any(sign in word for sign in "<>=~"):
            raise UsageError(f"'{word}' lacks a name", hint="NAME, one of < <= > >= = != ~ !~, VALUE")
        return _checked(Term("name", "~", re.escape(word)))
    sign = "=" if match["sign"] == "==" else match["sign"]
    return _checked(Term(full_name(match["name"], keys), sign, match["value"]))


def _checked(term: Term) -> Term:
    if not term.value:
        raise UsageError(f"{term.name}{term.sign} lacks a value")
    if term.name == "state" and term.sign in ("=", "!=") and term.value.lower() not in get_args(State):
        raise unknown_name("state", term.value, get_args(State))
    if term.sign in _COMPARED and number_of(term.value) is None:
        raise UsageError(
            f"'{term.value}' is no number", hint=f"for example: {term.name}{term.sign}1e-3, 10k, 2M"
        )
    if term.sign in ("~", "!~"):
        try:
            re.compile(term.value)
        except re.error as error:
            raise UsageError(f"'{term.value}' is no regular expression: {error}") from None
    return term


def full_name(name: str, keys: frozenset[str]) -> str:
    """Return the figure or the key of a config that ``name`` is, or is short for. Raises `UsageError`."""
    lowered = SHORT.get(name.lower(), name.lower())
    if lowered in FIGURES or lowered in keys:
        return lowered
    for section in _SECTIONS:
        if section + lowered in keys:
            return section + lowered
    ending = sorted(key for key in keys if key.endswith(f".{lowered}"))
    if ending:
        return ending[0]
    bare = {key.partition(".")[2]: key for key in sorted(keys) if "." in key}
    raise unknown_name(
        "figure or key", name, {*FIGURES, *SHORT, *bare, *keys}, hint="F1 lists what can be asked"
    )


def completed(text: str, keys: Iterable[str]) -> str:
    """Return ``text`` with its last word made whole: a figure, a key, or a state; '' where nothing fits.

    Of several the figures come first, then the short names, then the last parts of ``keys``.
    """
    before, word = text[: text.rfind(" ") + 1], text[text.rfind(" ") + 1 :]
    if state := re.fullmatch(r"(state!?=)(\w+)", word, re.IGNORECASE):
        before, word, known = before + state[1], state[2], list(get_args(State))
    else:
        dotted = sorted(keys)
        known = [*FIGURES, *sorted(SHORT), *(key.partition(".")[2] for key in dotted), *dotted]
    lowered = word.lower()
    found = next((name for name in known if name.startswith(lowered) and name != lowered), "")
    return before + word + found[len(word) :] if word and found else ""


def number_of(text: str) -> float | None:
    """Return the number that ``text`` is (``1e-3``, ``10k``, ``2M``, ``nan``, ``inf``), or None."""
    if text.lower() in ("nan", "inf", "-inf"):
        return float(text)
    match = _NUMBER.fullmatch(text)
    return float(match[1]) * _UNITS[match[2].lower()] if match else None


def fulfils(values: Mapping[str, Any], terms: Iterable[Term]) -> bool:
    """Return whether all of ``terms`` hold of ``values``."""
    return all(term.holds(values) for term in terms)


def needs_config(terms: Iterable[Term]) -> bool:
    """Return whether ``terms`` ask for more than figures: then the configs of the runs must be read."""
    return any(term.name not in FIGURES or term.name == "source" for term in terms)


def config_values(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values in a ``run.yaml`` by dotted key, those within mappings too."""
    found: dict[str, Any] = {"source": record.get("source")}
    for section in ("model", "trainer", "corpus"):
        found |= dotted(section, record.get(section))
    return found
