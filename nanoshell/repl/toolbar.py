"""The line below the prompt: model, data, device, conversation, and how the active run is getting on."""

from __future__ import annotations

import sys
from pathlib import Path

from prompt_toolkit.utils import get_cwidth

from nanoshell.command.render import harmless
from nanoshell.following import current
from nanoshell.repl import spark
from nanoshell.repl.news import RunWatch, Seen
from nanoshell.session import Session
from nanoshell.wording import human_count, human_seconds

SEPARATOR = " · "

Part = tuple[int, str]
"""Words of the line, and their rank: those of the lowest are left out first where it is narrow."""

_RUN, _STEP, _LOSS, _LEFT, _COURSE, _SPEED, _MODEL, _CONTEXT, _DATA, _TALK, _DEVICE = range(11, 0, -1)


def text(session: Session, watch: RunWatch, width: int) -> str:
    """Return the toolbar within ``width`` columns, leaving out what matters least where it is narrow.

    Nothing is read or computed for it: it is drawn anew at every key.
    """
    groups = _groups(session, watch)
    while (line := _joined(groups)) and get_cwidth(line) > width - 2:
        least = min((part for group in groups for part in group), default=None)
        if least is None or sum(map(len, groups)) == 1:
            break
        for group in groups:
            if least in group:
                group.remove(least)
    return f" {_cut(line, width - 2)} "


def _joined(groups: list[list[Part]]) -> str:
    return SEPARATOR.join(" ".join(harmless(words) for _, words in group) for group in groups if group)


def _groups(session: Session, watch: RunWatch) -> list[list[Part]]:
    """Return the parts of the line, those that belong together in one group."""
    seen = _shown_run(session, watch)
    groups: list[list[Part]] = [run_parts(seen, more=len(watch.active) - 1)] if seen is not None else []
    if model := _model(session, beside=seen):
        groups.append([(_MODEL, model)])
    data = f"data {Path(session.data).name}" if session.data else "no data"
    groups += [[(_DATA, data)], [(_DEVICE, _device(session))]]
    if talk := _conversation(session):
        groups.append([(_TALK, talk)])
    if context := _context(session):
        groups.append([(_CONTEXT, context)])
    return groups


def _shown_run(session: Session, watch: RunWatch) -> Seen | None:
    """Return the run that goes on, else the one that has failed while no other model is chosen."""
    going = current([(seen.run, seen.status) for seen in watch.active], session.model_name)
    if going is not None:
        return next(seen for seen in watch.active if seen.run == going[0])
    failed = watch.ended
    if failed is None or failed.status.state not in ("failed", "crashed"):
        return None
    return failed if session.model_name is None or failed.run.name == _name(session.model_name) else None


def run_parts(seen: Seen, *, more: int = 0) -> list[Part]:
    """Return how a run is getting on: name and state, step of total, loss and its course, speed, time left.

    ``more`` is how many other runs go on.
    """
    status = seen.status
    running = status.state == "running"
    parts = [(_RUN, seen.run.name if running else f"{seen.run.name} {status.state}")]
    if status.step is not None:
        total = f"/{status.total_steps:,}" if status.total_steps else ""
        parts.append((_STEP, f"{status.step:,}{total}" if total else f"step {status.step:,}"))
    if status.loss is not None:
        parts.append((_LOSS, f"loss {status.loss:.3f}"))
    if course := spark.sparkline(seen.losses, spark.BLOCKS if _speaks_utf8() else spark.ASCII):
        parts.append((_COURSE, course))
    if status.tokens_per_second is not None and running:
        parts.append((_SPEED, f"{human_count(status.tokens_per_second)} tokens/s"))
    if status.eta_seconds is not None and running:
        parts.append((_LEFT, f"{human_seconds(status.eta_seconds)} left"))
    if more > 0:
        parts.append((_SPEED, f"(+{more})"))
    return parts


def _speaks_utf8() -> bool:
    encoding = getattr(sys.__stdout__, "encoding", None) or "utf-8"
    return encoding.lower().replace("-", "").startswith("utf")


def _cut(line: str, width: int) -> str:
    """Return the beginning of ``line`` that fits in ``width`` columns (a letter may take two)."""
    while line and get_cwidth(line) > width:
        line = line[:-1]
    return line


def _name(reference: str | None) -> str:
    return Path(reference).name if reference else ""


def _model(session: Session, *, beside: Seen | None) -> str:
    """Return the model and, once its weights are loaded, the step that they were taken from.

    A run that is shown stands for the model that it makes: then only the step is told.
    """
    if session.model_name is None:
        return "no model" if beside is None else ""
    loaded = session.loaded
    name = _name(session.model_name)
    known = loaded is not None and loaded.step is not None and loaded.label.partition("@")[0] == name
    if beside is not None and beside.run.name == name:
        return f"weights of step {loaded.step:,}" if known and loaded is not None else ""
    return f"model {name}@{loaded.step}" if known and loaded is not None else f"model {name}"


def _device(session: Session) -> str:
    """The chosen device; what ``auto`` chose is known without loading torch only once torch is loaded."""
    chosen = session.settings.text("device")
    if chosen != "auto" or "torch" not in sys.modules:
        return chosen
    try:
        return session.backend().name
    except Exception:  # a backend of a plugin may fail as it likes; the line is drawn at every key
        return chosen


def _conversation(session: Session) -> str:
    conversation = vars(session).get("conversation")  # asking the property would open the history
    if conversation is None or not conversation.name:
        return ""
    return f"{conversation.name} ({len(conversation.messages)})"


def _context(session: Session) -> str:
    """Return how much of its model's context the conversation's last reply has used; '' of another's."""
    conversation, loaded = vars(session).get("conversation"), session.loaded
    if conversation is None or loaded is None:
        return ""
    origins = (message.origin for message in reversed(conversation.messages) if message.role == "assistant")
    origin = next(origins, None)
    if origin is None or origin.model.partition("@")[0] != loaded.label.partition("@")[0]:
        return ""
    most = loaded.engine.max_positions
    return f"ctx {min(origin.prompt_tokens + origin.tokens, most)}/{most}"  # the last token is not read
