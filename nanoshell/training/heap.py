"""Giving memory back to the system in the middle of a step, where the allocator would keep it."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

WORTHWHILE_BYTES = 1 << 28
"""Less is left to the allocator: what is given back costs time when it is taken again."""


_MALLINFO2 = (
    *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
    *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
)


class _Mallinfo2(ctypes.Structure):
    """What glibc tells of its heap; ``fordblks`` are the bytes that it holds and nobody uses."""

    _fields_ = [(name, ctypes.c_size_t) for name in _MALLINFO2]


def give_back(at_least: int = WORTHWHILE_BYTES) -> None:
    """Return the free pages of the C heap to the system where they are ``at_least`` so many bytes.

    Tensors of a few megabytes lie on the heap, tensors of hundreds beside it, so that gaps between the first
    are of no use to the second. Does nothing where the C library is not glibc 2.33 or newer.
    """
    library = _glibc()
    if library is not None and library.mallinfo2().fordblks >= at_least:
        library.malloc_trim(0)


@functools.cache
def _glibc() -> Any:
    try:
        library = ctypes.CDLL(None)
        library.mallinfo2.restype = _Mallinfo2
        library.malloc_trim.argtypes = [ctypes.c_size_t]
    except (OSError, TypeError, AttributeError):
        return None
    return library
