"""What decides the bits of a run beside its config: device, dtype, threads, softmax, compiling. No torch."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nanoshell.errors import CheckpointError
from nanoshell.runs.live import fair_share

_CPUS = Path("/sys/devices/system/cpu")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")

LARGE_VOCABULARY = 4096
"""Below this size the full softmax costs little beside the layers."""
SAMPLED_SHARE = 1 / 3
"""``softmax: auto`` samples where used and drawn ids together are at most this share of the vocabulary."""


@dataclass(frozen=True)
class Numerics:
    """The numerics that a run was trained with. Exact resume holds for equal ones, which resume restores.

    ``compiled`` says that its step may be compiled: when that is ready is chance, and its bits are others.
    ``dtype_reason`` is what a measurement said where it decided the dtype.
    """

    device: str
    dtype: str
    softmax: str
    threads: int
    processes: int = 1
    compiled: bool = False
    dtype_reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Any, where: str) -> Numerics:
        """Return what ``data`` holds. Raises `CheckpointError` that names ``where``."""
        try:
            return cls(
                device=str(data["device"]),
                dtype=str(data["dtype"]),
                softmax=str(data["softmax"]),
                threads=max(1, int(data["threads"])),
                processes=max(1, int(data.get("processes", 1))),
                compiled=bool(data.get("compiled", False)),
                dtype_reason=str(data.get("dtype_reason", "")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{where} does not say with which numerics it was trained",
                hint="take another checkpoint of the run",
            ) from error


def choose_softmax(asked: str, vocab_size: int, distinct_ids: int, negatives: int) -> str:
    """Return ``full`` or ``sampled``: what was asked for, or, for ``auto``, what pays for the corpus."""
    if asked != "auto":
        return asked
    few = distinct_ids + negatives <= SAMPLED_SHARE * vocab_size
    return "sampled" if vocab_size >= LARGE_VOCABULARY and few else "full"


def available_cores() -> int:
    """Return the physical cores that this process may use, or ``OMP_NUM_THREADS`` where that is set.

    Two threads of one core only get in each other's way in a matrix product. A container's quota counts.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked):
        return int(asked)
    cores = _physical_cores()
    quota = _container_quota()
    return max(1, min(cores, quota) if quota else cores)


def share_of_cores(others: int) -> int:
    """Return how many threads a run takes where ``others`` train on this machine too.

    ``OMP_NUM_THREADS`` is what somebody has decided, and stays as it is.
    """
    cores = available_cores()
    return cores if os.environ.get("OMP_NUM_THREADS") else fair_share(cores, others)


def _physical_cores() -> int:
    if not hasattr(os, "sched_getaffinity"):
        import psutil

        return int(psutil.cpu_count(logical=False) or os.cpu_count() or 1)
    cpus = os.sched_getaffinity(0)
    found = set()
    for cpu in cpus:
        topology = _CPUS / f"cpu{cpu}" / "topology"
        try:
            found.add(((topology / "physical_package_id").read_text(), (topology / "core_id").read_text()))
        except OSError:
            return len(cpus)
    return len(found)


def _container_quota() -> int | None:
    """Return the whole cores that a container's quota amounts to, None where there is none."""
    try:
        quota, period = _QUOTA.read_text().split()
        return max(1, math.floor(int(quota) / int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        return None
