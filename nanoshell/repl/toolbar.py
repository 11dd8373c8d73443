"""The line below the prompt: model, data, device, conversation, and how the active run is getting on."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from prompt_toolkit.utils import get_cwidth

from nanoshell.command.render import harmless
from nanoshell.errors import NanoshellError
from nanoshell.following import current
from nanoshell.runs.directory import RunDirectory, RunStatus
from nanoshell.session import Session

REFRESH_SECONDS = 1.0
"""How often a run's status is read: it is the end of a small file, and the worker does not notice."""

SEPARATOR = " · "


class RunWatch:
    """The runs of this session that go on, read again at most once in `REFRESH_SECONDS`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._read_at = -REFRESH_SECONDS
        self.active: list[tuple[RunDirectory, RunStatus]] = []

    def poll(self, *, now: bool = False) -> list[str]:
        """Read the runs again where it is time; return a line for each of their news, their end included."""
        moment = time.monotonic()
        if not now and moment - self._read_at < REFRESH_SECONDS:
            return []
        self._read_at = moment
        news = [f"run {run.name}: {line}" for run, line in self._session.following.news()]
        news += [ending(run, status) for run, status in self._session.finished_runs()]
        self.active = self._session.runs_in_progress()
        return news


def ending(run: RunDirectory, status: RunStatus) -> str:
    """Return how ``run`` ended, and what to do next: of a failure, in further lines."""
    if status.state in ("failed", "crashed"):
        told = f"run {run.name} {status.state}: {status.reason or 'see its log'} (:runs log {run.name})"
        resume = f"go on with :train --resume {run.name}" if run.latest_checkpoint() is not None else ""
        return "\n  ".join(filter(None, (told, status.hint, resume)))
    figures = [f"step {status.step:,}"] if status.step is not None else []
    if status.loss is not None:
        figures.append(f"loss {status.loss:.3f}")
    if status.started is not None and status.updated is not None:
        figures.append(f"in {duration(status.updated - status.started)}")
    return f"run {run.name} {status.state}: {', '.join(figures)}; type to chat with it, or :sample TEXT"


def duration(seconds: float) -> str:
    """Return ``seconds`` as ``45s``, ``3m05s`` or ``2h10m``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m"


def progress(run: RunDirectory, status: RunStatus) -> str:
    """Return how ``run`` is getting on: step of total, loss, tokens per second, time left."""
    parts = [run.name if status.state == "running" else f"{run.name} {status.state}"]
    if status.step is not None:
        parts.append(f"{status.step}/{status.total_steps}" if status.total_steps else f"step {status.step}")
    if status.loss is not None:
        parts.append(f"loss {status.loss:.3f}")
    if status.tokens_per_second is not None:
        parts.append(f"{_short(status.tokens_per_second)} tokens/s")
    if status.eta_seconds is not None and status.state == "running":
        parts.append(f"{duration(status.eta_seconds)} left")
    return " ".join(parts)


def text(session: Session, watch: RunWatch, width: int) -> str:
    """Return the toolbar within ``width`` columns, leaving out what matters least where it is narrow."""
    parts = [(2, _data(session)), (0, _device(session)), (1, _conversation(session))]
    training = current(watch.active, session.model_name)
    if training is None or training[0].name != _name(session.model_name):
        parts.insert(0, (3, _model(session)))
    if training is not None:
        more = f" (+{len(watch.active) - 1})" if len(watch.active) > 1 else ""
        parts.insert(0, (4, progress(*training) + more))
    parts = [(rank, harmless(part)) for rank, part in parts if part]
    while len(parts) > 1 and get_cwidth(SEPARATOR.join(part for _, part in parts)) > width - 2:
        parts.remove(min(parts))
    return f" {_cut(SEPARATOR.join(part for _, part in parts), width - 2)} "


def _cut(line: str, width: int) -> str:
    """Return the beginning of ``line`` that fits in ``width`` columns (a letter may take two)."""
    while line and get_cwidth(line) > width:
        line = line[:-1]
    return line


def _name(reference: str | None) -> str:
    return Path(reference).name if reference else ""


def _model(session: Session) -> str:
    return f"model {_name(session.model_name)}" if session.model_name else "no model"


def _data(session: Session) -> str:
    return f"data {Path(session.data).name}" if session.data else "no data"


def _device(session: Session) -> str:
    """The chosen device; what ``auto`` chose is known without loading torch only once torch is loaded."""
    chosen = session.settings.text("device")
    if chosen != "auto" or "torch" not in sys.modules:
        return chosen
    try:
        return session.backend().name
    except NanoshellError:
        return chosen


def _conversation(session: Session) -> str:
    conversation = vars(session).get("conversation")  # asking the property would open the history
    if conversation is None or not conversation.messages:
        return ""
    return f"{conversation.name} ({len(conversation.messages)})"


def _short(figure: float) -> str:
    return f"{figure / 1000:.1f}k" if figure >= 1000 else f"{figure:.0f}"
