"""What may be asked of the run in focus, and the questions before it is."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from nanoshell.errors import NanoshellError
from nanoshell.spelling import typed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nanoshell.dashboard.course import Snapshot
    from nanoshell.runs.directory import RunDirectory
    from nanoshell.runs.status import RunStatus

LOWER, RAISE = 0.8, 1.25
"""What the keys multiply the peak of the learning rate by; one takes back the other."""

FAR = 3.0
"""A peak more than so many times as high may undo what was learnt: it is asked about."""

LONG = 2.0
"""So is a length more than so many times as long, which may be a slip of a finger."""


def peak_learning_rate(run: RunDirectory) -> float | None:
    """Return the peak of the schedule of ``run`` as it is now; None where neither file tells.

    What was set while it trained is in the newest checkpoint, which is written before the answer.
    """
    found: object = None
    try:
        found = run.record().get("trainer", {}).get("learning_rate")
        if (latest := run.latest_checkpoint()) is not None:
            kept = json.loads((latest / "trainer.json").read_text("utf-8"))
            found = (kept.get("changes") or {}).get("learning_rate", found)
    except (NanoshellError, OSError, ValueError, AttributeError):
        pass
    good = isinstance(found, (int, float)) and not isinstance(found, bool) and math.isfinite(found)
    return float(found) if good else None  # type: ignore[arg-type]


def rounded(rate: float) -> float:
    """Return ``rate`` with three digits that count, as people write it."""
    return float(f"{rate:.3g}")


def rate_question(run: str, before: float | None, rate: float) -> str:
    """Return what to ask before the peak of ``run`` goes from ``before`` to ``rate``; '' for no need."""
    if before is None or rate <= FAR * before:
        return ""
    return f"Raise the learning rate of {run} from {before:g} to {rate:g}, {times(rate / before)} as high?"


def length_question(run: str, status: RunStatus, by: Mapping[str, float]) -> str:
    """Return what to ask before ``run`` trains longer ``by`` so many steps or epochs; '' for no need."""
    total, more = status.total_steps, by.get("steps")
    if more is None and status.step and status.epoch:
        more = by["epochs"] * status.step / status.epoch
    if not total or more is None or total + more <= LONG * total:
        return ""
    end, longer = round(total + more), times((total + more) / total)
    about = "" if "steps" in by else "about "
    return f"Train {run} to {about}step {end:,} instead of {total:,}, {longer} as long?"


def times(factor: float) -> str:
    """Return ``factor`` as it is said: ``3.5 times``, ``1,200 times``."""
    return f"{factor:,.0f} times" if factor >= 10 else f"{factor:.2g} times"


def deaf_words(name: str, status: RunStatus) -> str:
    """Return why the run ``name`` answers nothing as ``status`` stands, and what to do; '' if it does."""
    if status.state == "gone":
        why = status.reason or "its folder is not there"
        return f"{name} is gone: {why}. There is nothing left that could be asked, or gone on with"
    if not status.ended:
        return ""
    said = f"{name} has {status.state}" if status.state != "stopped" else f"{name} was stopped"
    if status.state == "finished" and (status.step or 0) >= (status.total_steps or 0):
        return f"{said}: it has done all its steps. More are a new run: {typed('train')}"
    return f"{said}; go on with it: {typed(f'train --resume {name}')}"


def wrong_rate(text: str) -> str:
    """Return what is wrong with ``text`` as a learning rate, '' for nothing."""
    try:
        rate = float(text)
    except ValueError:
        return f"'{text}' is no number; write 3e-4 or 0.0003"
    return "" if math.isfinite(rate) and rate > 0 else "the learning rate must be above 0"


def wrong_length(text: str) -> str:
    """Return what is wrong with ``text`` as a number of further steps or epochs, '' for nothing."""
    return "" if further(text) else f"'{text}' is neither steps (500) nor epochs (0.5e, 2e)"


def further(text: str) -> dict[str, float]:
    """Return ``steps`` or ``epochs`` as the request `extend` takes them; {} where ``text`` is neither."""
    word = text.strip().lower()
    epochs = word.removesuffix("epochs").removesuffix("epoch").removesuffix("e").strip()
    try:
        if epochs != word:
            return {"epochs": float(epochs)} if 0 < float(epochs) < math.inf else {}
        steps = int(word.replace(",", "").replace("_", ""))
    except ValueError:
        return {}
    return {"steps": steps} if steps > 0 else {}


class Steering:
    """The actions of the app that ask something of the run in focus."""

    if TYPE_CHECKING:

        @property
        def snapshot(self) -> Snapshot: ...
        def ask_run(self, action: str, **arguments: Any) -> None: ...
        def ask_of(self, run: RunDirectory, action: str, **arguments: Any) -> None: ...
        def ask_yes(self, question: str, then: Callable[[], None]) -> None: ...
        def rate_asked(self, run: RunDirectory) -> float | None: ...
        def listening_run(self) -> RunDirectory | None: ...
        def tell(self, text: str, *, severity: str = "information") -> None: ...
        def ask_line(
            self, question: str, text: str, check: Callable[[str], str], then: Callable[[str], None]
        ) -> None: ...

    def action_pause(self) -> None:
        """Let the run rest after its step."""
        self.ask_run("pause")

    def action_resume(self) -> None:
        """Let the run go on."""
        self.ask_run("resume")

    def action_stop(self) -> None:
        """Let the run save and end."""
        self.ask_run("stop")

    def action_checkpoint(self) -> None:
        """Let the run write a checkpoint."""
        self.ask_run("checkpoint")

    def action_evaluate(self) -> None:
        """Let the run measure its exact loss."""
        self.ask_run("evaluate")

    def action_sample(self) -> None:
        """Let the run continue the prompts of its config."""
        self.ask_run("sample")

    def action_learning_rate_down(self) -> None:
        """Lower the learning rate by a fifth."""
        self._scale_rate(LOWER)

    def action_learning_rate_up(self) -> None:
        """Raise the learning rate by a quarter."""
        self._scale_rate(RAISE)

    def _scale_rate(self, factor: float) -> None:
        run = self.listening_run()
        if run is None:
            return
        peak = self.rate_asked(run) or peak_learning_rate(run)
        if peak is None:
            self.tell(f"the learning rate of {run.name} is not known; set it with L", severity="warning")
        else:
            self.ask_of(run, "set", values={"learning_rate": rounded(peak * factor)})

    def action_learning_rate(self) -> None:
        """Ask for the peak of the learning rate, and set it."""
        run = self.listening_run()
        if run is None:
            return
        peak = self.rate_asked(run) or peak_learning_rate(run)
        question = f"Peak of the learning rate of {run.name}"

        def answered(text: str) -> None:
            rate = float(text)
            self._ask_after(rate_question(run.name, peak, rate), run, "set", values={"learning_rate": rate})

        self.ask_line(question, f"{peak:g}" if peak else "", wrong_rate, answered)

    def action_extend(self) -> None:
        """Ask how much longer the run is to train, and extend it."""
        run = self.listening_run()
        if run is None:
            return

        def answered(text: str) -> None:
            course, by = self.snapshot.focused, further(text)
            known = course is not None and course.run.path == run.path
            question = length_question(run.name, course.status, by) if course and known else ""
            self._ask_after(question, run, "extend", **by)

        question = f"Train {run.name} longer by how many steps, or epochs (0.5e)?"
        self.ask_line(question, "", wrong_length, answered)

    def _ask_after(self, question: str, run: RunDirectory, action: str, **arguments: Any) -> None:
        """Ask ``run`` for ``action``, after ``question`` where there is one."""
        if question:
            self.ask_yes(question, lambda: self.ask_of(run, action, **arguments))
        else:
            self.ask_of(run, action, **arguments)
