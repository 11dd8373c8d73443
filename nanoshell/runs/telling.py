"""What the events of a run tell a person, in a line each: above a bar, above the prompt, in a log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nanoshell.runs.events import Event, number, parse_line
from nanoshell.wording import human_bytes

LONGEST_SAMPLE = 240
"""Letters of a sample that one line shows; `runs samples` has the whole text."""

_FREQUENT = (b'"type": "step"', b'"type": "heartbeat"')
_ANSWERED_BY_AN_EVENT = frozenset({"snapshot", "sample", "evaluate"})
"""Requests whose acknowledgement tells nothing that an event of its own does not tell better."""

_EVENT_OF = {"sample": "sample", "evaluate": "eval", "checkpoint": "checkpoint"}
_STATE_AFTER = {"pause": "paused", "resume": "running", "stop": "stopping"}


def tell(event: Event) -> str:
    """Return what ``event`` tells beside the steps, empty where a person need not hear of it.

    News are evaluations, samples, alerts, pauses that nobody asked for, and what was done on request.
    """
    match event.get("type"):
        case "eval":
            return _at_step(event, tell_evaluation(event))
        case "sample":
            text = " ".join(f"{event.get('prompt') or ''}{event.get('text') or ''}".split())
            return _at_step(event, f"sample: {_shortened(text)}")
        case "alert" if event.get("cleared"):
            return _at_step(event, str(event.get("message") or f"{event.get('kind')} is over"))
        case "alert":
            return f"alert: {event.get('message') or event.get('reason') or ''}".rstrip(": ")
        case "control":
            return _at_step(event, _tell_answer(event)) if _is_news(event) else ""
        case "resume" if event.get("begun_anew"):
            return _tell_resume(event)
        case "compile":
            return _at_step(event, str(event.get("message") or ""))
        case "state" if event.get("state") == "running" and event.get("dtype_reason"):
            return str(event["dtype_reason"])
        case "state" if event.get("state") == "paused" and event.get("reason"):
            return _at_step(event, f"paused: {event['reason']}")
    return ""


def tell_logged(event: Event) -> str:
    """Return the line that ``event`` is in a log, which has what `tell` tells and the course of the run."""
    match event.get("type"):
        case "step":
            loss = number(event, "loss")
            told = _at_step(event, f"loss {event.get('loss') or 'nan' if loss is None else _figure(loss)}")
            loads = (event.get("expert_load") or {}).items()
            shares = ", ".join(
                f"{layer}: {min(each):.2f} to {max(each):.2f}" for layer, each in loads if each
            )
            return f"{told}  load of experts by layer {shares}" if shares else told
        case "state":
            reason = f": {event['reason']}" if event.get("reason") else ""
            return _at_step(event, f"{event.get('state') or 'state unknown'}{reason}")
        case "resume":
            return _tell_resume(event)
        case "checkpoint":
            name = Path(str(event.get("path") or "checkpoint")).name
            size = f" ({human_bytes(event['bytes'])})" if event.get("bytes") else ""
            return _at_step(event, f"saved {name}{size}")
        case "control":
            return _at_step(event, _tell_answer(event))
    return tell(event) or _at_step(event, str(event.get("action") or event.get("type") or "event"))


def tell_evaluation(event: Event) -> str:
    """Return the figures of an ``eval`` event, or of the answer to a request for one."""
    held_back = "val_loss" in event
    name = "validation loss" if held_back else "exact training loss"
    loss = number(event, "val_loss" if held_back else "loss")
    parts = [f"{name} {'unknown' if loss is None else _figure(loss)}"]
    if event.get("best"):
        parts[0] += " (best)"
    if event.get("perplexity") is not None:
        parts.append(f"perplexity {_figure(event['perplexity'])}")
    if event.get("bits_per_byte") is not None:
        parts.append(f"{_figure(event['bits_per_byte'])} bits/byte")
    return "  ".join(parts)


def tell_changes(event: Event) -> str:
    """Return what the acknowledgement of ``set`` changed: ``learning_rate 0.0001 (was 0.001)``."""
    values, before = (event.get(name) or {} for name in ("values", "before"))
    return ", ".join(
        f"{key} {_value(value)}" + (f" (was {_value(before[key])})" if key in before else "")
        for key, value in values.items()
    )


def without_echo(events: Iterable[Event]) -> Iterator[Event]:
    """Yield ``events`` without the alerts whose words are the reason of the failure that comes next.

    An alert is held back until the next event tells; heartbeats, which come from beside, tell nothing.
    """
    held: Event | None = None
    for event in events:
        if held is not None and event.get("type") != "heartbeat":
            if event.get("state") != "failed" or event.get("reason") != held.get("message"):
                yield held
            held = None
        if event.get("type") == "alert":
            held = event
        else:
            yield event
    if held is not None:
        yield held


def repeats(event: Event, before: Event) -> bool:
    """Return whether ``event`` tells nothing that ``before`` has not, the one that was told before it.

    So do the answer to a request that has just brought its event, and the state that was asked for.
    """
    if event.get("step") != before.get("step"):
        return False
    match event.get("type"), before.get("type"):
        case "control", brought:
            bare = event.get("ok") is True and not event.get("no_prompts")
            return bare and _EVENT_OF.get(str(event.get("action"))) == brought
        case "state", "control":
            asked = before.get("ok") is True and _STATE_AFTER.get(str(before.get("action")))
            return bool(asked) and asked == event.get("state")
    return False


def rare_events(path: Path) -> Iterator[Event]:
    """Yield the events of ``path`` that are neither steps nor heartbeats, of which a log has very many.

    Their lines are passed over unread. A file that is not there has no events.
    """
    try:
        with path.open("rb") as file:
            for line in file:
                if not any(kind in line for kind in _FREQUENT) and (event := parse_line(line)):
                    yield event
    except OSError:
        return


def step_event(path: Path, step: int) -> Event | None:
    """Return the newest ``step`` event of that number in ``path``, None where there is none."""
    found = None
    number_of_step = f'"step": {step},'.encode()
    try:
        with path.open("rb") as file:
            for line in file:
                if _FREQUENT[0] in line and number_of_step in line:
                    found = parse_line(line) or found
    except OSError:
        pass
    return found


def log_damage(path: Path, step: int) -> str:
    """Return in words what the event log ``path`` lacks of a run up to ``step``, "" where nothing is seen.

    A line counts as damaged where it does not begin and end as an object does: none is read.
    """
    try:
        with path.open("rb") as file:
            damaged = sum(not (line.startswith(b"{") and line.endswith(b"}\n")) for line in file)
    except OSError:
        damaged = 0
    found = []
    if damaged:
        found.append(f"{damaged:,} damaged line{'' if damaged == 1 else 's'}")
    if step and step_event(path, step) is None:
        found.append(f"no step {step:,}")
    return f"{path.name} has {' and '.join(found)}: what stood there is missing in charts" if found else ""


def _tell_resume(event: Event) -> str:
    parts = [f"resumed from step {event.get('from_step') or 0:,}"]
    forced = [
        f"{each.get('what')} {_value(each.get('before'))} -> {_value(each.get('now'))}"
        for each in event.get("forced") or ()
    ]
    if forced:
        parts.append(f"forced: {', '.join(forced)}")
    if event.get("begun_anew"):
        parts.append(f"begun anew: {', '.join(map(str, event['begun_anew']))}")
    return "; ".join(parts)


def _is_news(event: Event) -> bool:
    return not (event.get("ok") and event.get("action") in _ANSWERED_BY_AN_EVENT)


def _tell_answer(event: Event) -> str:
    action = event.get("action")
    if not event.get("ok"):
        return f"could not {action}: {event.get('message') or 'no reason given'}"
    if action == "set" and event.get("values"):
        return f"set {tell_changes(event)}"
    if action == "extend" and event.get("total_steps"):
        return f"extended to {event['total_steps']:,} steps"
    if action in ("checkpoint", "snapshot") and event.get("path"):
        return f"saved {event['path']}"
    return str(event.get("message") or action)


def _at_step(event: Event, text: str) -> str:
    return f"step {event['step']:,}  {text}" if isinstance(event.get("step"), int) else text


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_SAMPLE else text[: LONGEST_SAMPLE - 1].rstrip() + "…"


def _figure(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if 1e3 <= value < 1e9 else f"{value:#.4g}".removesuffix(".")


def _value(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if 1e4 <= value < 1e9 else f"{value:g}"
