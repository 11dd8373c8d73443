"""Memory that nobody uses goes back to the system, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BLOCKS = """
import ctypes
from pathlib import Path

from nanoshell.training.heap import give_back

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

blocks = [bytearray(100_000) for _ in range(1000)]
blocks[::2] = [None] * 500  # gaps, which no single block of the heap's end can give back
before = resident()
give_back(at_least=1 << 40)
between = resident()
give_back(at_least=1 << 25)
print(before - between, between - resident(), sum(map(len, filter(None, blocks))))
"""


def is_glibc() -> bool:
    return sys.platform == "linux" and "CS_GNU_LIBC_VERSION" in os.confstr_names


@pytest.mark.skipif(not is_glibc() or not Path("/proc/self/statm").exists(), reason="no glibc here")
def test_gaps_of_the_heap_are_given_back_where_they_are_large() -> None:
    shown = subprocess.run([sys.executable, "-c", BLOCKS], capture_output=True, text=True, check=True).stdout
    kept, returned, used = map(int, shown.split())
    assert kept < 4 << 20
    assert returned > 40 << 20
    assert used == 50_000_000
