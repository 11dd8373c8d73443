"""The compiler at work, as a program of its own: what it has begun it ends, also when whoever asked has gone.

Run as ``python builder.py FOLDER STEM SOURCE COMPILER OPTIONS…``; it needs the standard library alone. It
ends with 0 where the library is in its place. At most one is at work in a folder: others wait for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

BUILD_SECONDS = 120.0
"""Time limit of a build, with the wait for others; on a slow machine it takes about ten."""
LOCK, LOG = "lock", "compiler.log"

_SCRATCH = "build-"
_PATIENCE_SECONDS = 0.05


def kept_library(folder: Path, stem: str) -> Path | None:
    """Return the library ``stem`` of ``folder``, or None where there is none. A damaged one is removed.

    Its name ends in the hash of its bytes: loading one that was cut off would kill the process.
    """
    for path in folder.glob(f"{stem}-*.so"):
        if path.name == _name(stem, path):
            return path
        path.unlink(missing_ok=True)
    return None


def build(folder: Path, stem: str, source: str, command: Sequence[str]) -> bool:
    """Build the library ``stem`` of ``folder`` and return whether it is there. Raises `OSError`.

    Earlier versions (``stem`` up to its last dash) and what killed builds have left are removed. What a
    compiler that failed had to say is kept beside.
    """
    deadline = time.monotonic() + BUILD_SECONDS
    with _lock(folder, deadline):
        if kept_library(folder, stem) is not None:
            return True
        for left in folder.glob(f"{_SCRATCH}*"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=folder) as scratch:
            made = Path(scratch, "made.so")
            code = _compile([*command, "-o", str(made), source], made.parent, folder / LOG, deadline)
            if code != 0 or not made.exists():
                return False
            target = folder / _name(stem, made)
            made.replace(target)
        (folder / LOG).unlink(missing_ok=True)
        for other in folder.glob(f"{stem.rpartition('-')[0]}-*"):
            if other != target:
                other.unlink(missing_ok=True)
        return True


def _compile(command: Sequence[str], scratch: Path, log: Path, deadline: float) -> int:
    """Run the compiler with ``scratch`` for its own files, and return its exit code."""
    with log.open("wb") as said:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env={**os.environ, "TMPDIR": str(scratch)},
            start_new_session=True,
        )
        try:
            return process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            said.write(f"it was ended after {BUILD_SECONDS:.0f} s\n".encode())
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)  # the compiler has children
            return process.wait()


@contextlib.contextmanager
def _lock(folder: Path, deadline: float) -> Iterator[None]:
    """Hold the folder's lock, which the system frees when its holder dies. Raises `OSError` after a while."""
    with (folder / LOCK).open("ab") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PATIENCE_SECONDS)
        yield


def _name(stem: str, path: Path) -> str:
    return f"{stem}-{hashlib.sha256(path.read_bytes()).hexdigest()[:32]}.so"


def main() -> int:
    """Build what the command line says, and return the exit code."""
    folder, stem, source, *command = sys.argv[1:]
    os.nice(10)
    try:
        return 0 if build(Path(folder), stem, source, command) else 1
    except OSError:
        return 1


if __name__ == "__main__":
    sys.exit(main())
