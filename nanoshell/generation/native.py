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
import signal
import subprocess
import weakref
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from nanoshell.errors import NanoshellError
from nanoshell.files import write_text
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

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        self._new_team, self._run = library.team_new, library.team_run
        self._new_team.argtypes, self._new_team.restype = [ctypes.c_int], _Pointer
        self._run.argtypes = [_Pointer, _Pointer, _Long, _Long, _Pointer, _Pointer]
        self._run.restype = None
        self._teams: dict[tuple[int, int], int] = {}

    def run(self, ops: ctypes.Array[Op], batch: int, ids: Tensor, positions: Tensor) -> None:
        """Carry out ``ops`` for ``batch`` rows of int64 ids at positions, with as many threads as torch."""
        # Threads do not live on in a forked process, which makes a team of its own.
        key = (os.getpid(), torch.get_num_threads())
        team = self._teams.get(key)
        if team is None:
            team = self._teams[key] = self._new_team(key[1])
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
    """A compiler at work in a process of its own, of low priority, which ends with ours."""

    def __init__(self, command: Sequence[str], target: Path) -> None:
        self._target = target
        self._unfinished = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
        polite = [nice, "-n", "10"] if (nice := shutil.which("nice")) else []
        self._process = subprocess.Popen(
            [*polite, *command, "-o", str(self._unfinished), str(SOURCE)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._end = weakref.finalize(self, _end, self._process, self._unfinished)

    def finished(self) -> bool:
        """Return whether the compiler has ended; what it has built is in its place then."""
        code = self._process.poll()
        if code is None:
            return False
        if code == 0:
            # Whole or not at all: another process may be building, or loading, the same file.
            with contextlib.suppress(OSError, NanoshellError):
                digest = _digest(self._unfinished)
                self._unfinished.replace(self._target)
                write_text(_seal(self._target), digest, private=True)
            _remove_others(self._target)
        else:
            _log.debug("the compiler failed (%d): decoding goes on uncompiled", code)
        self._end()
        return True


def built_file() -> Path:
    """Return where the library for this source and this processor is kept; it may not exist."""
    parts = (SOURCE.read_text("utf-8"), *FLAGS, platform.system(), *_own_flags(), _processor())
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    return cache_dir() / "compiled" / f"decode-{key}.so"


def load() -> Kernels | None:
    """Return the library from disk, or None where it is not there. One that is broken is removed."""
    try:
        path = built_file()
        if not path.exists() or not _seal(path).exists():
            return None
        with contextlib.suppress(OSError, AttributeError):
            # A library that was cut short can end the process that loads it.
            if _digest(path) == _seal(path).read_text("utf-8"):
                kernels = Kernels(path)
                if kernels.works():
                    return kernels
        _log.debug("%s is broken: removed", path)
        path.unlink(missing_ok=True)
        _seal(path).unlink(missing_ok=True)
    except (OSError, UnicodeDecodeError) as error:
        _log.debug("the compiled step cannot be loaded: %s", error)
    return None


def start_build() -> Build | None:
    """Start the compiler, or return None where there is none, or no place to keep what it makes."""
    named = shlex.split(os.environ.get("CXX", ""))
    found = shutil.which(named[0]) if named else next(filter(None, map(shutil.which, COMPILERS)), None)
    if found is None:
        _log.debug("no C++ compiler: decoding stays uncompiled")
        return None
    try:
        target = built_file()
        private_folder(target.parent)
        return Build([found, *named[1:], *FLAGS, *_own_flags()], target)
    except OSError as error:
        _log.debug("the compiler cannot be started: %s", error)
        return None


def _seal(path: Path) -> Path:
    """Return the file that holds the digest of the library ``path``."""
    return path.with_suffix(".sha256")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


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


def _remove_others(target: Path) -> None:
    """Keep one library: others are of earlier versions, or were left behind by a process that was killed."""
    with contextlib.suppress(OSError):
        for other in target.parent.glob("*decode-*"):
            if other not in (target, _seal(target)):
                other.unlink(missing_ok=True)


def _end(process: subprocess.Popen[bytes], unfinished: Path) -> None:
    if process.poll() is None:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)  # the compiler has children
        process.wait()
    unfinished.unlink(missing_ok=True)
