"""The processes that make one update together: who takes which rows, and what is summed over all of them.

Every process has the whole model and draws the whole update from an equal loader. Each computes its rows of
it; `torch.nn.parallel.DistributedDataParallel` sums the gradients (Li et al. 2020, arXiv:2006.15704), and all
make the same update of equal weights. Their number changes losses by rounding alone, but for what is drawn or
balanced by micro-batch: the masks of dropout, and the balance loss where rows cannot be shared evenly.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import PrefixStore

from nanoshell.data.loader import Batch
from nanoshell.errors import DeviceError, NanoshellError
from nanoshell.training.distributed import Link, Placement, check_rows, connect
from nanoshell.training.numerics import Numerics, available_cores
from nanoshell.training.state import seed_random

if TYPE_CHECKING:
    from pathlib import Path

_COLLECTIVES = {"cpu": "gloo", "cuda": "nccl"}
_SYNC_BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")  # the newer name first
    if name in inspect.signature(nn.parallel.DistributedDataParallel).parameters
)
_STUCK = dt.timedelta(minutes=30)
"""An update in which a process does not take part for so long fails. Pauses and evaluations lie between."""
_SEEDS = 2**63


class Team:
    """A team of one process, which does everything itself; `Ranks` is one of many."""

    size = 1

    def settle(self, numerics: Numerics) -> Numerics:
        """Return ``numerics`` as they are in this team: with its size, and the threads of each process."""
        return _divided(numerics, 1, 1)

    def take_device(self, name: str) -> None:
        """Make the accelerator of this process the current one. Raises `DeviceError` for want of one."""

    def announce(self, action: str, **values: Any) -> None:
        """Let the other processes do ``action`` too, with ``values`` that JSON can hold."""

    def check(self) -> None:
        """Raise `RunError` where another process has ended."""

    def assemble(self) -> None:
        """Wait until the others have built what this process has. Raises `RunError` where one fails."""

    def unite(self, objective: nn.Module, device: torch.device, *, routed: bool) -> nn.Module:
        """Return ``objective`` so that its gradients are those of all processes, averaged.

        ``routed`` says that parameters may have no part in a forward pass: experts without a token. Every
        process calls this at the same time.
        """
        return objective

    def check_rows(self, rows: int) -> None:
        """Raise `ConfigError` where an update of ``rows`` windows leaves a process without one."""

    def share(self, batches: list[Batch]) -> list[Batch]:
        """Return the micro-batches that are this process's part of an update."""
        return batches

    def seed(self, seed: int, step: int) -> None:
        """Let dropout draw other masks in each process, the same ones whenever ``step`` is made."""

    def seed_alike(self, seed: int, step: int) -> None:
        """Let an optimizer that draws random numbers draw the same ones in each process."""

    def reducing(self, *, last: bool) -> contextlib.AbstractContextManager[Any]:
        """Return what surrounds a micro-batch: gradients are exchanged with the ``last`` one alone."""
        return contextlib.nullcontext()

    def total(self, values: Tensor) -> Tensor:
        """Return the sum of ``values`` over the processes, the same bits in each."""
        return values


class Ranks(Team):
    """A team of several processes, each of which has one of these."""

    def __init__(self, link: Link) -> None:
        self.size = link.place.size
        self._link = link
        self._place = link.place
        self._leads = link.place.rank == 0
        self._last_update = 0
        self._module: nn.parallel.DistributedDataParallel | None = None

    def settle(self, numerics: Numerics) -> Numerics:
        return _divided(numerics, self.size, self._place.local_size)

    def take_device(self, name: str) -> None:
        if name != "cuda":
            return
        needed, count = self._place.local_size, torch.cuda.device_count()
        if needed > count:
            fewer = f"start {count}" if count > 1 else "leave out --nproc"
            raise DeviceError(
                f"{needed} processes need {needed} CUDA devices, and this machine has {count}",
                hint=f"{fewer}, or use --device cpu",
            )
        torch.cuda.set_device(self._place.local_rank)

    def announce(self, action: str, **values: Any) -> None:
        if not self._leads:
            return
        number = self._link.order(action, **values)
        if action == "update":
            # The result of the update before this one has been read, so everybody was there. That a
            # collective operation has returned would not say so: on an accelerator it is only enqueued.
            self._link.forget_orders(self._last_update)
            self._last_update = number

    def check(self) -> None:
        self._link.check()

    def assemble(self) -> None:
        self._link.gather("ready")
        self._link.order("unite")

    def unite(self, objective: nn.Module, device: torch.device, *, routed: bool) -> nn.Module:
        """As `Team.unite`. Raises `DeviceError` for a device whose processes cannot talk to each other."""
        backend = collective_backend(device.type)
        if not distributed.is_initialized():
            distributed.init_process_group(
                backend,
                store=PrefixStore("gradients", self._link.store),
                rank=self._place.rank,
                world_size=self.size,
                timeout=_STUCK,
                device_id=device if backend == "nccl" else None,
            )
        options: dict[str, Any] = {_SYNC_BUFFERS: False}  # they are equal: every process makes every update
        self._module = nn.parallel.DistributedDataParallel(
            objective, gradient_as_bucket_view=True, find_unused_parameters=routed, **options
        )
        return self._module

    def check_rows(self, rows: int) -> None:
        check_rows(rows, self.size)

    def share(self, batches: list[Batch]) -> list[Batch]:
        """As `Team.share`: a run of neighbouring rows, cut into micro-batches of at most the given size.

        Where the number of micro-batches is a multiple of the processes', the parts are whole micro-batches.
        """
        return share_of(batches, self._place.rank, self.size)

    def seed(self, seed: int, step: int) -> None:
        _seed_random(seed, step, self._place.rank)

    def seed_alike(self, seed: int, step: int) -> None:
        _seed_random(seed, step, self.size)  # no rank is that number

    def reducing(self, *, last: bool) -> contextlib.AbstractContextManager[Any]:
        if last or self._module is None:
            return contextlib.nullcontext()
        return self._module.no_sync()

    def total(self, values: Tensor) -> Tensor:
        summed = values.clone()
        distributed.all_reduce(summed)
        return summed


def _seed_random(*words: int) -> None:
    drawn = np.random.SeedSequence(words).generate_state(1, np.uint64)
    seed_random(int(drawn[0]) % _SEEDS)


def _divided(numerics: Numerics, processes: int, here: int) -> Numerics:
    """Return ``numerics`` for so many processes, with the threads divided among those that are ``here``."""
    if numerics.processes == processes:
        return numerics
    cores, asked = available_cores(), os.environ.get("OMP_NUM_THREADS", "").isdigit()
    # Who sets the variable, as torchrun does, has divided the cores already.
    divided = cores if asked else min(cores, numerics.threads * numerics.processes) // here
    return replace(numerics, processes=processes, threads=max(1, divided))


def collective_backend(device_type: str) -> str:
    """Return by what processes on such a device talk: gloo or nccl. Raises `DeviceError` for others."""
    try:
        return _COLLECTIVES[device_type]
    except KeyError:
        raise DeviceError(
            f"on device '{device_type}' training takes one process",
            hint="leave out --nproc, or use --device cpu",
        ) from None


def share_of(batches: Sequence[Batch], rank: int, size: int) -> list[Batch]:
    """Return the part of ``batches``, all of one shape, that is process ``rank``'s of ``size``."""
    rows = len(batches[0].inputs)
    total = rows * len(batches)
    first, past = rank * total // size, (rank + 1) * total // size
    if first % rows == 0 and past % rows == 0:
        return list(batches[first // rows : past // rows])
    inputs = np.concatenate([batch.inputs for batch in batches])
    targets = np.concatenate([batch.targets for batch in batches])
    return [
        Batch(inputs[start : min(start + rows, past)], targets[start : min(start + rows, past)])
        for start in range(first, past, rows)
    ]


@contextlib.contextmanager
def gathered(place: Placement | None, run: Path, stopped: Callable[[], object]) -> Iterator[Team]:
    """Lead the processes that torchrun started while the block trains ``run``, and yield the team.

    Raises `RunError` where one of them does not come, or ends before the block does.
    """
    if place is None or place.size == 1:
        yield Team()
        return
    link = connect(place)
    with link.present():
        patient = True
        try:
            link.lead(str(run.resolve()), stopped)
            yield Ranks(link)
        except Exception as error:
            if not isinstance(error, NanoshellError):
                patient = False  # the others may wait within an update: they see that this process ends
                link.explain(error)
            raise
        finally:
            link.end(patient=patient)
            if patient:
                disband()


def disband() -> None:
    """Give back the accelerator's part of what `Ranks.unite` took; the rest ends with the process.

    Soon after an operation the end of a gloo group can wait for ever: for its own thread, which waits for the
    interpreter to let go of that operation (torch 2.13).
    """
    if distributed.is_initialized() and distributed.get_backend() == "nccl":
        distributed.destroy_process_group()
