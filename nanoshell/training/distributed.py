"""The processes of one run: where this one stands among them, and what they tell each other beside gradients.

`torchrun` starts them and lends them a store of keys and values (`torch.distributed.TCPStore`). Through it
the first process, the leader, gives orders, which the others follow one after the other; each says in it that
it is there, and why it failed. Nobody waits without looking whether the others live. No torch at import.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nanoshell.errors import ConfigError, DeviceError, NanoshellError, RunError
from nanoshell.runs.process import process_start

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

BEAT_SECONDS = 2.0
SILENT_SECONDS = 600.0
"""A process of another machine that gives no sign for so long is given up. Saving can hold one up long."""
GATHER_SECONDS = 300.0
"""So long the leader waits for the processes to come; machines do not start at the same moment."""

_MOST_IDLE_SECONDS = 0.05
_FAREWELL_SECONDS = 10.0
_LAST_LOOK_SECONDS = 0.5
_VERDICT_SECONDS = 2.0
_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")

Order = dict[str, Any]


class LeaderGoneError(NanoshellError):
    """The leader of the processes has ended, or cannot be reached: there is nobody left to follow."""


@dataclass(frozen=True)
class Placement:
    """Where this process stands: ``rank`` of ``size``, ``local_rank`` of ``local_size`` on its machine.

    Rank 0 leads. ``attempt`` counts how often torchrun has started the processes again.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    attempt: int = 0


def placement() -> Placement | None:
    """Return the place that `torchrun` gave this process, None where it was started in another way."""
    if not all(os.environ.get(name) for name in _VARIABLES):
        return None
    try:
        rank, size, local_rank = (int(os.environ[name]) for name in _VARIABLES[:3])
        local_size = int(os.environ.get("LOCAL_WORLD_SIZE", size))
        attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))
    except ValueError:
        return None
    return Placement(rank, size, local_rank, local_size, attempt)


def check_rows(rows: int, processes: int) -> None:
    """Raise `ConfigError` where an update of ``rows`` windows leaves one of ``processes`` without any."""
    if rows < processes:
        raise ConfigError(
            f"{processes} processes cannot share an update of {rows} window{'s'[: rows != 1]} "
            "(trainer.batch_size × gradient_accumulation)",
            hint=f"raise batch_size so that the product is at least {processes}, or start {rows}",
        )


@contextlib.contextmanager
def preparing(place: Placement) -> Iterator[None]:
    """Make the run in the block, as the leader; where that fails, let the processes that wait for it end."""
    try:
        yield
    except BaseException:
        if place.size > 1:
            with contextlib.suppress(NanoshellError):
                connect(place).dismiss()
        raise


def connect(place: Placement) -> Link:
    """Return the link to the other processes. Raises `RunError` where the store cannot be reached."""
    import torch.distributed as dist

    if not dist.is_available() or not dist.is_gloo_available():
        raise DeviceError(
            "this PyTorch is built without distributed training",
            hint="train in one process: without torchrun and without --nproc",
        )
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    try:
        store, _, _ = next(rendezvous("env://"))
    except (RuntimeError, ValueError, OSError) as error:
        raise RunError(
            f"rank {place.rank} does not reach the store of torchrun: {error}",
            hint="is MASTER_ADDR:MASTER_PORT open between the machines?",
        ) from error
    return Link(place, PrefixStore(f"nanoshell.{place.attempt}", store))


class Link:
    """What the processes of a run tell each other, through ``store``. Made by `connect`."""

    def __init__(self, place: Placement, store: Store) -> None:
        self.place = place
        self.store = store
        self._sent = self._forgotten = self._read = 0
        self._known: dict[int, dict[str, Any]] = {}
        self._beats: dict[int, tuple[int, float]] = {}
        self._closed = threading.Event()

    # What every process does

    @contextlib.contextmanager
    def present(self) -> Iterator[None]:
        """Tell the others who this process is, and show signs of life while the block runs."""
        pid = os.getpid()
        me = {"pid": pid, "host": socket.gethostname(), "machine": _machine(), "start": process_start(pid)}
        self._set(f"here/{self.place.rank}", me)
        thread = threading.Thread(target=self._beat, name="sign of life", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._closed.set()
            thread.join()

    def _beat(self) -> None:
        count = 0
        with contextlib.suppress(NanoshellError):  # without its store the main thread fails by itself
            while True:
                self._set(f"beat/{self.place.rank}", count)
                count += 1
                if self._closed.wait(BEAT_SECONDS):
                    return

    # What the leader does

    def lead(self, run: str, stopped: Callable[[], object]) -> None:
        """Tell the others which run it is, and wait until all are there.

        Raises `RunError` where one fails or does not come; once ``stopped`` returns something true, it has to
        come soon.
        """
        self._set("run", run)
        self.gather("here", stopped)

    def dismiss(self) -> None:
        """Tell processes that wait for a run that there is none, since it could not be made."""
        with contextlib.suppress(NanoshellError):
            self._set("run", "")
            self._await_farewell(set(range(1, self.place.size)), _FAREWELL_SECONDS)

    def gather(self, word: str, stopped: Callable[[], object] = lambda: False) -> None:
        """Wait until every process has said ``word``. Raises as `lead` does."""
        deadline = time.monotonic() + GATHER_SECONDS
        for rank in range(1, self.place.size):
            while not self._has(f"{word}/{rank}"):
                self.check()
                if stopped():  # perhaps by torchrun, because that process has ended already
                    deadline = min(deadline, time.monotonic() + _FAREWELL_SECONDS)
                if word == "here" and time.monotonic() > deadline:
                    raise RunError(
                        f"the process of rank {rank} of {self.place.size} has not come",
                        hint="is torchrun started on every machine, with the same --nnodes and endpoint?",
                    )
                time.sleep(_MOST_IDLE_SECONDS)
            if word == "here":
                self._known[rank] = self._get(f"here/{rank}")

    def order(self, action: str, **values: Any) -> int:
        """Let the others do ``action`` with ``values``, which JSON can hold, and return the order's number.

        Raises `RunError`.
        """
        self._sent += 1
        self._set(f"order/{self._sent}", {"action": action, **values})
        return self._sent

    def forget_orders(self, last: int) -> None:
        """Remove the orders up to number ``last`` from the store: every process has read them."""
        with contextlib.suppress(RuntimeError):
            while self._forgotten < last:
                self._forgotten += 1
                self.store.delete_key(f"order/{self._forgotten}")

    def end(self, *, patient: bool) -> None:
        """Let the others end, and where ``patient``, wait a moment for those that live."""
        with contextlib.suppress(NanoshellError):
            self.order("end")
            self._await_farewell(set(self._known), _FAREWELL_SECONDS if patient else 0.0)

    def _await_farewell(self, waiting: set[int], seconds: float) -> None:
        """Wait until the processes ``waiting`` have said that they end: the store may end with this one."""
        deadline = time.monotonic() + seconds
        while waiting and time.monotonic() < deadline:
            time.sleep(0.01)
            waiting = {rank for rank in waiting if not self._has(f"end/{rank}") and not self._is_gone(rank)}

    def check(self, silence: float = SILENT_SECONDS) -> None:
        """Raise `RunError` that says so where another process has failed or ended.

        One of another machine has ended where it shows no sign of life for ``silence`` seconds of looking.
        """
        failures = []
        for rank in range(1, self.place.size):
            if self._has(f"failed/{rank}"):
                failures.append((self._get(f"failed/{rank}"), rank))
            elif self._is_gone(rank, silence):
                who = self._known[rank]
                raise RunError(
                    f"the process of rank {rank} has ended (process {who['pid']} on {who['host']})",
                    hint="the system kills processes when memory runs out; resume the run to go on",
                )
        if failures:
            told, rank = min(failures, key=lambda failure: failure[0]["place"])
            raise RunError(f"the process of rank {rank} failed: {told['reason']}", hint=told["hint"])

    def explain(self, error: Exception) -> None:
        """Raise `RunError` where ``error``, of a collective operation, comes of another process's end."""
        remote = any(who["machine"] != _machine() for who in self._known.values())
        silence = 3 * BEAT_SECONDS
        deadline = time.monotonic() + _VERDICT_SECONDS + (silence if remote else 0)
        found: RunError | None = None
        while time.monotonic() < deadline:
            try:
                self.check(silence)
            except RunError as verdict:
                if found is not None or "has ended" in verdict.message:
                    raise verdict from error
                # The first to tell of a failure may only have met the end of a third one.
                found, deadline = verdict, time.monotonic() + 0.5
            time.sleep(0.05)
        if found is not None:
            raise found from error

    def _is_gone(self, rank: int, silence: float = SILENT_SECONDS) -> bool:
        """Return whether process ``rank`` has ended, or has shown no sign of life for ``silence`` seconds."""
        who = self._known.get(rank)
        if who is None:
            return False
        if who["machine"] == _machine():
            start = process_start(who["pid"])
            return start is None or abs(start - who["start"]) > 0.05
        beat = self._get(f"beat/{rank}") if self._has(f"beat/{rank}") else 0
        now = time.monotonic()
        before, since = self._beats.get(rank, (None, now))
        if beat != before:
            self._beats[rank] = (beat, now)
            return False
        return now - since > silence

    # What the others do

    def await_run(self) -> str:
        """Return the folder of the run once the leader has told it; "" where there is none."""
        self._await("run", None)
        told: str = self._get("run")
        if told:
            self._await("here/0", None)
            self._known[0] = self._get("here/0")
        return told

    def say(self, word: str) -> None:
        """Tell the leader ``word``: ``ready``, ``end``."""
        self._set(f"{word}/{self.place.rank}", True)

    def next_order(self) -> Order:
        """Return the leader's next order. Raises `LeaderGoneError`."""
        self._read += 1
        key = f"order/{self._read}"
        self._await(key, 0)
        found: Order = self._get(key)
        return found

    def leader_left(self) -> bool:
        """Return whether the leader has ended, or has told the others to end."""
        deadline = time.monotonic() + _LAST_LOOK_SECONDS
        while time.monotonic() < deadline:
            try:
                while self._has(f"order/{self._read + 1}"):
                    self._read += 1
                    if self._get(f"order/{self._read}")["action"] == "end":
                        return True
                if self._is_gone(0):
                    return True
            except LeaderGoneError:
                return True
            time.sleep(_MOST_IDLE_SECONDS)
        return False

    def fail(self, reason: str, hint: str) -> bool:
        """Tell the leader why this process ends, and return whether it could be told."""
        try:
            place = self.store.add("failures", 1)
            self._set(f"failed/{self.place.rank}", {"place": place, "reason": reason, "hint": hint})
        except (RuntimeError, NanoshellError):
            return False
        return True

    def _await(self, key: str, leader: int | None) -> None:
        began = time.monotonic()
        while not self._has(key):
            if leader is not None and self._is_gone(leader):
                raise LeaderGoneError("the process of rank 0 has ended")
            # Soon after the last order the next one comes at once; in a pause a glance now and then will do.
            time.sleep(min(_MOST_IDLE_SECONDS, (time.monotonic() - began) / 8))

    # The store. It is gone when torchrun is.

    def _has(self, key: str) -> bool:
        try:
            return bool(self.store.check([key]))
        except RuntimeError as error:
            raise self._lost(error) from error

    def _get(self, key: str) -> Any:
        try:
            return json.loads(self.store.get(key))
        except RuntimeError as error:
            raise self._lost(error) from error

    def _set(self, key: str, value: Any) -> None:
        try:
            self.store.set(key, json.dumps(value))
        except RuntimeError as error:
            raise self._lost(error) from error

    def _lost(self, error: RuntimeError) -> NanoshellError:
        if self.place.rank:
            return LeaderGoneError("the store of torchrun is gone")
        return RunError(
            "torchrun, which started the processes of this run, is gone",
            hint="the newest checkpoint is whole: resume the run",
        )


def _machine() -> list[str]:
    """Return what is equal for processes that see each other's ids; many machines are named alike."""
    return [socket.gethostname(), os.environ.get("GROUP_RANK", "")]
