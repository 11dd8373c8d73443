"""In what runs differ: what each was given, and what was changed while it trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from nanoshell.runs.events import Event
from nanoshell.runs.telling import tell_changes

_SECTIONS = ("model", "trainer", "corpus")
_PLAN = ("source", "chat_template", "horizon", "stop_at", "softmax", "initial_checkpoint")
_NUMERICS = ("device", "dtype", "threads")
_BESIDE = frozenset({("corpus", "path"), ("corpus", "num_bytes")})
"""Where the tokens lie says nothing about what was learnt from them."""
_DERIVED = {"horizon": "trainer.max_steps"}
"""What is told once where it is the same in all runs as what it comes from."""


@dataclass(frozen=True)
class Change:
    """What was done to a run while it trained: settings that were given anew, or a longer course."""

    step: int | None
    text: str
    values: Annotated[dict[str, Any], "what was set, by key"]


def run_changes(events: Sequence[Event]) -> list[Change]:
    """Return what was changed on request among ``events``, in their order."""
    found = []
    for event in events:
        if event.get("type") != "control" or not event.get("ok"):
            continue
        if event.get("action") == "set" and event.get("values"):
            found.append(Change(event.get("step"), tell_changes(event), dict(event["values"])))
        elif event.get("action") == "extend" and event.get("total_steps"):
            values: dict[str, Any] = {key: event[key] for key in ("horizon", "total_steps") if key in event}
            found.append(Change(event.get("step"), f"extended to {event['total_steps']:,} steps", values))
    return found


def run_settings(record: Mapping[str, Any], events: Sequence[Event]) -> dict[str, Any]:
    """Return what a run was given by dotted key: config, data, plan, numerics, changes on the way.

    ``record`` is its ``run.yaml``, ``events`` those of its log that count; steps are not needed.
    """
    found = {
        inner: leaf
        for section in _SECTIONS
        for key, value in dict(record.get(section) or {}).items()
        if (section, key) not in _BESIDE
        for inner, leaf in dotted(f"{section}.{key}", value).items()
    }
    found |= {key: record[key] for key in _PLAN if key in record}
    began = [event for event in events if event.get("state") == "running" and "threads" in event]
    found |= {f"numerics.{key}": began[-1][key] for key in _NUMERICS if began and key in began[-1]}
    for made in run_changes(events):
        same = made.values.get("total_steps") == made.values.get("horizon")
        found |= {
            f"changed.{key}": value
            for key, value in made.values.items()
            if not (same and key == "total_steps")
        }
    return found


def dotted(key: str, value: Any) -> dict[str, Any]:
    """Return ``value`` by its ``key``; of a mapping what is in it, each by a dotted key."""
    if not isinstance(value, Mapping) or not value:
        return {key: value}
    return {
        inner: leaf for name, each in value.items() for inner, leaf in dotted(f"{key}.{name}", each).items()
    }


def setting_differences(settings: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the keys whose values differ among ``settings``, each with its value in all of them."""
    keys = dict.fromkeys(key for mapping in settings for key in mapping)
    rows = {key: [mapping.get(key) for mapping in settings] for key in keys}
    return {
        key: row
        for key, row in rows.items()
        if any(value != row[0] for value in row) and row != rows.get(_DERIVED.get(key, ""))
    }


def setting_text(value: Any) -> str:
    """Return the value of a setting as a table shows it: ``-`` for none, ``yes`` and ``no``."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case Mapping():
            return ", ".join(f"{key} {setting_text(member)}" for key, member in value.items()) or "-"
        case list() | tuple():
            return ", ".join(map(setting_text, value)) or "-"
    return str(value)
