"""The loop around the trainer: requests, checkpoints, evaluations, samples, events, until the run ends."""

from __future__ import annotations

import contextlib
import faulthandler
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from nanoshell.errors import NanoshellError, StorageError
from nanoshell.training.actions import answer
from nanoshell.training.alerts import Alert, StallWatch
from nanoshell.training.divergence import keep_diverged
from nanoshell.training.figures import step_fields
from nanoshell.training.samples import SampleTaker, check_samples, configured
from nanoshell.training.saving import Saver, told_at, without_room
from nanoshell.training.watching import recall

if TYPE_CHECKING:
    from nanoshell.plugin.registry import Registry
    from nanoshell.runs.control import ControlInbox
    from nanoshell.runs.directory import RunDirectory
    from nanoshell.runs.events import EventLog
    from nanoshell.tokenizer.base import Tokenizer
    from nanoshell.training.actions import Request
    from nanoshell.training.record import RunRecord
    from nanoshell.training.samples import SampleRequest
    from nanoshell.training.trainer import Trainer

ROOM_SECONDS = 1.0
"""After so long a write without room is tried again; then twice as long, up to `MOST_ROOM_SECONDS`."""
MOST_ROOM_SECONDS = 30.0

_WRITTEN = Alert("storage", "writing works again", cleared=True)
_RATE_STEPS = 20
_POLL_SECONDS = 0.05


class Loop:
    """Updates until the last step, with all that happens between two of them.

    `nanoshell.training.actions` steers it by its public names. ``stop_at`` is a step at which to stop before
    the schedule ends. ``wants_room`` says why it waits until it can write, empty where it does not;
    ``try_again`` asks it to try at once.
    """

    def __init__(
        self,
        run: RunDirectory,
        record: RunRecord,
        trainer: Trainer,
        tokenizer: Tokenizer,
        samplers: Registry[Any],
        events: EventLog,
        inbox: ControlInbox,
        signalled: Callable[[], str],
    ) -> None:
        self.trainer = trainer
        self.saver = Saver(run, record, trainer, tokenizer, events)
        self.stop_at = record.stop_at
        self.asked_to_stop = ""
        self.paused = False
        self.wants_room = ""
        self.try_again = False
        self._run = run
        self._record = record
        self._tokenizer = tokenizer
        self._samplers = samplers
        self._taker = SampleTaker(trainer, tokenizer, samplers)
        self._events = events
        self._inbox = inbox
        self._signalled = signalled
        self._requests: deque[Request] = deque()
        self._finished_step: int | None = None
        self._stalls = StallWatch()
        self._recalled = recall(events.path, trainer.schedule.horizon)
        self._watch = self._recalled.watch
        self._stalls.told = "stalled" in self._recalled.standing
        self._storage_told = "storage" in self._recalled.standing
        self._seconds: deque[float] = deque(maxlen=_RATE_STEPS)

    @property
    def last_step(self) -> int:
        """The step after which the run is finished."""
        horizon = self.trainer.schedule.horizon
        return min(horizon, self.stop_at or horizon)

    def run_to_end(self, about: Mapping[str, Any]) -> dict[str, Any]:
        """Train, save, evaluate, and return the fields of the final event; that of the beginning has those of
        ``about``, too. Raises `NanoshellError`."""
        trainer = self.trainer
        if trainer.config.trainer.sample_interval:
            self.check_samples(configured(trainer.config))
        self._say_running(about)
        for alert in self._recalled.over:
            self._tell(alert)
        self._patiently(self.saver.point_best)
        self._events.each_beat = self._look_for_stall
        try:
            self._do_what_is_owed()
            while True:
                self._serve_requests()  # also at the end: what is asked for may move it
                if trainer.step < self.last_step:
                    if self._stop_reason():
                        return self._stop()
                    self._update()
                    self._do_what_is_due()
                    continue
                self._finish()
                if trainer.step >= self.last_step and (self._stop_reason() or not self.paused):
                    return self._end()
        finally:
            self._events.each_beat = None

    # Training

    def _update(self) -> None:
        with self._stalls.doing("a step"):
            result = self.trainer.update()
        self._seconds.append(result.seconds)
        rate = len(self._seconds) / sum(self._seconds)
        self._events.write("step", **step_fields(result, rate, self.trainer.tokens))
        if result.diverged:
            error, fields = keep_diverged(self._run, self._record, self.trainer, self._tokenizer, result)
            self._tell(Alert("divergence", error.message, error.hint, fields=fields))
            raise error
        compiler = self.trainer.compiler
        if compiler is not None and (news := compiler.took(result.seconds)) is not None:
            self._events.write("compile", step=result.step, **news)
        self._tell(self._stalls.went_on())
        for alert in self._watch.stepped(result.step, result.loss, result.grad_norm, result.learning_rate):
            self._tell(alert)

    def _do_what_is_due(self) -> None:
        """Save, evaluate and sample as the config says. What an evaluation could lose is saved before it."""
        step, settings = self.trainer.step, self.trainer.config.trainer
        evaluates = _due(step, settings.eval_interval)
        if step < self.last_step and (evaluates or _due(step, settings.save_interval)):
            self._save()
            if evaluates and not self._stop_reason():
                self._evaluate()
        if _due(step, settings.sample_interval):
            self._sample_as_configured()

    def _do_what_is_owed(self) -> None:
        """Do what was due at the step of the checkpoint and the worker that saved it did not come to."""
        step, settings = self.trainer.step, self.trainer.config.trainer
        if not 0 < step < self.last_step or self._run.latest_checkpoint() is None:
            return
        told = told_at(self._run, step)
        if _due(step, settings.eval_interval) and "eval" not in told:
            self._evaluate()
        if _due(step, settings.sample_interval) and "sample" not in told:
            self._sample_as_configured()

    def _sample_as_configured(self) -> None:
        try:
            self.sample(configured(self.trainer.config))
        except NanoshellError as error:  # a sample is no reason to end a run
            _log(f"no sample after step {self.trainer.step:,}: {error.message}")

    def _save(self) -> None:
        with self._stalls.doing("saving"):
            self._patiently(self.saver.save, self.saver.has_room)
        if self._storage_told and self.saver.is_saved:
            self._tell(_WRITTEN)

    def _finish(self) -> None:
        """Save and evaluate what the last step made, once, and answer what was asked for meanwhile."""
        trainer = self.trainer
        self._save()
        if self._finished_step != trainer.step and self.saver.is_saved:
            self._finished_step = trainer.step
            if trainer.loader.num_val_tokens or trainer.numerics.softmax == "sampled":
                self._evaluate()
        self._answer_all()

    def _evaluate(self) -> dict[str, Any] | None:
        """Evaluate, write the event and return its figures; None where a request to stop broke it off."""
        with self._stalls.doing("an evaluation"):
            found = self.trainer.evaluate(self._wants_to_stop)
        if found is None:
            return None
        held_out, step = found.split == "validation", self.trainer.step
        fields = {
            "split": found.split,
            "val_loss" if held_out else "loss": found.loss,
            "perplexity": found.perplexity,
            "bits_per_byte": found.bits_per_byte,
            "tokens": found.tokens,
            "best": held_out and self.saver.evaluated(found),
        }
        self._events.write("eval", step=step, **fields)
        if held_out:
            self._tell(self._watch.evaluated(step, found.loss))
        return fields

    # What is asked for

    def evaluate(self) -> dict[str, Any] | None:
        """Save, evaluate and return the figures; None where a request to stop broke it off.

        Raises `StorageError`; a full disk is none here, the run will wait where it saves by itself.
        """
        try:
            self.saver.save()
        except StorageError as error:
            if not error.no_room:
                raise
        return self._evaluate()

    def sample(self, wanted: SampleRequest) -> int:
        """Sample, write an event for each, and return how many. Raises `NanoshellError`."""
        self.check_samples(wanted)
        count = 0
        with self._stalls.doing("sampling"):
            for sample in self._taker.take(wanted, self._wants_to_stop):
                self._events.write("sample", step=self.trainer.step, **asdict(sample))
                count += 1
        return count

    def check_samples(self, wanted: SampleRequest) -> None:
        """Raise `ConfigError` where ``wanted`` cannot be sampled."""
        check_samples(wanted, self.trainer.config, self._tokenizer, self._samplers)

    def look_anew(self) -> None:
        """Forget what was seen of the training loss, and how fast steps were: they may be others now."""
        self._tell(self._watch.look_anew(self.trainer.schedule.horizon))
        self._seconds.clear()

    # Requests and signals

    def _stop_reason(self) -> str:
        name = self._signalled()
        return f"signal {name}" if name else self.asked_to_stop

    def _wants_to_stop(self) -> bool:
        """Whether to break off what can wait. Requests that are read on the way keep their turn."""
        self._stalls.sign()
        self._requests.extend(self._inbox.poll())
        waiting = any(request["action"] == "stop" for request in self._requests)
        return waiting or bool(self._stop_reason())

    def _serve_requests(self) -> None:
        """Carry out what was asked for; while the run is paused, stay here."""
        self._answer_all()
        if not self.paused or self._stop_reason():
            return
        self._say("paused")
        while self.paused and not self._stop_reason():
            time.sleep(_POLL_SECONDS)
            self._answer_all()
        if not self._stop_reason():
            self._say("running")

    def _answer_all(self) -> None:
        self._requests.extend(self._inbox.poll())
        while self._requests:
            request = self._requests.popleft()
            fields = answer(self, request)
            said = {"id": request["id"], "action": request["action"], "step": self.trainer.step}
            self._events.write("control", **said, **fields)
        if self._events.waiting is not None and not self.wants_room:
            self._patiently(self._flush)

    # Room on the disk

    def _flush(self) -> None:
        if not self._events.flush() and self._events.waiting is not None:
            raise self._events.waiting

    def _patiently(self, write: Callable[[], object], has_room: Callable[[], bool] = lambda: True) -> None:
        """Do ``write``; where there is no room for it, pause until it succeeds, or until the run is to stop.

        It is not tried again where ``has_room`` knows better. Raises `StorageError` where it fails for
        another reason.
        """
        try:
            write()
            return
        except StorageError as error:
            problem = without_room(error, self._run.latest_checkpoint())
        if not problem.no_room:
            self._tell(Alert("storage", problem.message, problem.hint))
            raise problem
        self.wants_room = problem.message
        self._tell(
            Alert("storage", problem.message, f"{problem.hint}; the run goes on once it can be written")
        )
        self._say("paused", reason=problem.message)
        try:
            written = self._wait_for_room(write, has_room)
        finally:
            self.wants_room = ""
        if written:
            self._tell(_WRITTEN)
            self._say("running")

    def _wait_for_room(self, write: Callable[[], object], has_room: Callable[[], bool]) -> bool:
        """Try ``write`` now and then until it succeeds, and say so; False where the run is to stop."""
        delay = ROOM_SECONDS
        due = time.monotonic() + delay
        while not self._stop_reason():
            with self._stalls.waiting():
                time.sleep(_POLL_SECONDS)
                self._answer_all()
            if not self.try_again and (time.monotonic() < due or not has_room()):
                continue
            self.try_again = False
            try:
                write()
                return True
            except StorageError as error:
                if not error.no_room:
                    raise
            delay = min(2 * delay, MOST_ROOM_SECONDS)
            due = time.monotonic() + delay
        return False

    # Beginning and end, and what is said

    def _say_running(self, about: Mapping[str, Any]) -> None:
        trainer, best = self.trainer, self.saver.best
        self._events.write(
            "state",
            state="running",
            step=trainer.step,
            total_steps=self.last_step,
            horizon=trainer.schedule.horizon,
            tokens_per_step=trainer.config.tokens_per_step,
            windows_per_epoch=trainer.loader.windows_per_epoch,
            val_tokens=trainer.loader.num_val_tokens,
            **about,
            **trainer.numerics.to_dict(),
            **({"best_val_loss": best[0], "best_step": best[1]} if best else {}),
        )

    def _say(self, state: str, **fields: Any) -> None:
        self._events.write("state", state=state, step=self.trainer.step, **fields)

    def _stop(self) -> dict[str, Any]:
        reason = self._stop_reason()
        self._say("stopping", reason=reason)
        try:
            self.saver.save()
        except StorageError as error:
            problem = without_room(error, self._run.latest_checkpoint())
            self._tell(Alert("storage", problem.message, problem.hint))
            if not problem.no_room:
                raise problem from error
            reason = f"{reason}; {problem.message}: what was learnt since the last checkpoint is lost"
        return {"state": "stopped", "reason": reason, "step": self.trainer.step}

    def _end(self) -> dict[str, Any]:
        if not self.saver.is_saved:  # it was asked to stop while it waited for room
            return self._stop()
        horizon, last = self.trainer.schedule.horizon, self.last_step
        reason = f"stopped after step {last:,} as asked; its schedule goes on to {horizon:,}"
        return {"state": "finished", "reason": "" if last == horizon else reason, "step": self.trainer.step}

    def _tell(self, alert: Alert | None) -> None:
        """Write ``alert`` into the events, and into the worker's log."""
        if alert is None:
            return
        if alert.kind == "storage":
            self._storage_told = not alert.cleared
        fields = {"kind": alert.kind, "message": alert.message, "hint": alert.hint, **alert.fields}
        if alert.cleared:
            fields["cleared"] = True
        self._events.write("alert", **{"step": self.trainer.step, **fields})
        _log(f"{alert.kind}: {alert.message}" + (f"; {alert.hint}" if alert.hint else ""))

    def _look_for_stall(self) -> None:
        """What the thread of heartbeats does: it tells that the main thread hangs, and in the log where."""
        alert = self._stalls.look()
        if alert is not None:
            self._tell(alert)
            faulthandler.dump_traceback(sys.stderr)


def _log(line: str) -> None:
    """Write ``line`` into the worker's log, which may be on a disk that is full."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr)


def _due(step: int, interval: int) -> bool:
    return bool(interval) and step % interval == 0
