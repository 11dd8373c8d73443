"""The compiled part of decoding: `decode.cpp`, built once by the machine's own compiler and kept on disk.

One file serves every model: shapes and types are told at run time. Where there is no compiler, or where
anything fails, there is simply nothing to load.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from nanoshell.generation import builder
from nanoshell.paths import cache_dir, private_folder

SOURCE = Path(__file__).with_name("decode.cpp")
COMPILERS = ("c++", "g++", "clang++")
EMBED, PRODUCT, ATTEND = range(3)
STORE, ADD, GATE = range(3)
# Sums may be split over the lanes of a vector; infinities and NaN stay what they are, so no -ffast-math.
FLAGS = (
    *("-std=c++20", "-O3", "-shared", "-fPIC", "-pthread", "-fno-math-errno", "-fno-trapping-math"),
    *("-fno-signed-zeros", "-fassociative-math", "-freciprocal-math"),
)
OWN_PROCESSOR = {
    "x86_64": ("-march=native", "-mprefer-vector-width=512"),
    "AMD64": ("-march=native", "-mprefer-vector-width=512"),
}

_log = logging.getLogger(__name__)
_Long, _Pointer = ctypes.c_int64, ctypes.c_void_p


class Op(ctypes.Structure):
    """One operation of a step, field by field as ``Op`` in `decode.cpp`, which explains them."""

    _fields_ = (
        *((name, _Long) for name in ("kind", "bfloat16", "finish", "columns", "parts")),
        *(("in_", _Pointer), ("norm", _Pointer), ("eps", ctypes.c_double)),
        *(("weights", _Pointer * 3), ("out", _Pointer * 3), ("rows", _Long * 3)),
        *((name, _Pointer) for name in ("query_norm", "key_norm", "cos", "sin", "keys", "values")),
        *((name, _Long) for name in ("heads", "kv_heads", "head_dim", "room")),
    )


class Kernels:
    """The loaded library. Raises `OSError` or `AttributeError` where ``path`` is none of ours."""

    # Of all who load the library: threads are never ended, and each model that is loaded would add some.
    _teams: ClassVar[dict[tuple[Path, int, int], int]] = {}

    def __init__(self, path: Path) -> None:
        self._path = path
        library = ctypes.CDLL(str(path))
        self._new_team, self._run = library.team_new, library.team_run
        self._new_team.argtypes, self._new_team.restype = [ctypes.c_int], _Pointer
        self._run.argtypes = [_Pointer, _Pointer, _Long, _Long, _Pointer, _Pointer]
        self._run.restype = None

    def run(self, ops: ctypes.Array[Op], batch: int, ids: Tensor, positions: Tensor) -> None:
        """Carry out ``ops`` for ``batch`` rows of int64 ids at positions, with as many threads as torch."""
        # Threads do not live on in a forked process, which makes a team of its own.
        key = (self._path, os.getpid(), torch.get_num_threads())
        team = self._teams.get(key)
        if team is None:
            team = self._teams[key] = self._new_team(key[-1])
        self._run(team, ctypes.addressof(ops), len(ops), batch, ids.data_ptr(), positions.data_ptr())

    def works(self) -> bool:
        """Return whether a small product comes out right."""
        matrix, x, y = torch.arange(40.0).view(5, 8), torch.arange(8.0), torch.empty(5)
        op = Op(kind=PRODUCT, finish=STORE, columns=8, parts=1, in_=x.data_ptr())
        op.weights[0], op.out[0], op.rows[0] = matrix.data_ptr(), y.data_ptr(), 5
        none = torch.zeros(1, dtype=torch.long)
        self.run((Op * 1)(op), 1, none, none)
        return torch.equal(y, matrix @ x)


class Build:
    """`builder` at work in a process of its own, which outlives ours: what is begun is not in vain."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        # Collected by a thread, or it stays a zombie while we live.
        reaper = threading.Thread(target=self._process.wait, name=f"reap-{self._process.pid}", daemon=True)
        reaper.start()

    def finished(self) -> bool:
        """Return whether it has ended; what it has built is in its place then."""
        return self._process.poll() is not None

    def wait(self) -> None:
        """Return when it has ended, which it does within `builder.BUILD_SECONDS`."""
        self._process.wait()


def library_folder() -> Path:
    """Return the folder in which libraries are kept. It may not exist yet."""
    return cache_dir() / "compiled"


def library_stem() -> str:
    """Return how the library's name begins: with the machine, whose home others may share, and the source."""
    flags = (*FLAGS, platform.system(), *_own_flags())
    return f"decode-{_hash(platform.system(), _processor())}-{_hash(SOURCE.read_text('utf-8'), *flags)}"


def built_file() -> Path | None:
    """Return the library for this source and processor, or None where there is none. Raises `OSError`."""
    folder = library_folder()
    return builder.kept_library(folder, library_stem()) if _is_ours(folder) else None


def load() -> Kernels | None:
    """Return the library from disk, or None where it is not there. One that is broken is removed."""
    try:
        path = built_file()
        if path is None:
            return None
        with contextlib.suppress(OSError, AttributeError):
            kernels = Kernels(path)
            if kernels.works():
                return kernels
        _log.debug("%s is broken: removed", path)
        path.unlink(missing_ok=True)
    except OSError as error:
        _log.debug("the compiled step cannot be loaded: %s", error)
    return None


def compiler() -> list[str] | None:
    """Return the C++ compiler, as ``CXX`` or one of `COMPILERS` names it, or None where there is none."""
    try:
        named = shlex.split(os.environ.get("CXX", ""))
    except ValueError:
        return None
    found = shutil.which(named[0]) if named else next(filter(None, map(shutil.which, COMPILERS)), None)
    return None if found is None else [found, *named[1:]]


def start_build() -> Build | None:
    """Start the compiler, or return None where there is none, or no place to keep what it makes."""
    command = compiler()
    if command is None or not sys.executable:
        return None
    try:
        folder = private_folder(library_folder())
        if not _is_ours(folder):
            return None
        # -I and -S: nothing of the current folder, and nothing else that it does not need, is imported.
        build = [
            sys.executable,
            "-I",
            "-S",
            str(Path(builder.__file__)),
            str(folder),
            library_stem(),
            str(SOURCE),
        ]
        return Build([*build, *command, *FLAGS, *_own_flags()])
    except OSError as error:
        _log.debug("the compiler cannot be started: %s", error)
        return None


def _is_ours(folder: Path) -> bool:
    """Return whether nobody else can put a library into ``folder``; also where it does not exist."""
    try:
        found = folder.stat()
    except FileNotFoundError:
        return True
    if found.st_uid == os.geteuid() and not found.st_mode & 0o022:
        return True
    _log.debug("%s belongs to, or can be written by, others: not used", folder)
    return False


def _own_flags() -> tuple[str, ...]:
    return OWN_PROCESSOR.get(platform.machine(), ("-mcpu=native",))


def _processor() -> str:
    """Return what tells processors apart that differ in instructions: they may share a home folder."""
    with (
        contextlib.suppress(OSError),
        Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines,
    ):
        for line in lines:
            if line.startswith(("flags", "Features")):
                return line
    return f"{platform.machine()} {platform.processor()}"


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
