"""The process behind a run: its lock, who it is, whether it lives, how it is started and asked to end."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanoshell.errors import RunError
from nanoshell.files import explain_storage, write_text
from nanoshell.spelling import typed

if TYPE_CHECKING:
    from nanoshell.runs.directory import RunDirectory

_LOCK_PATIENCE_SECONDS = 2.0
_SAVE_SECONDS = 300
"""So long torchrun leaves its processes to save and stop before it kills them; of itself it gives 30 s."""

_OF_TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_", "LOCAL_", "GROUP_", "ROLE_", "TORCHELASTIC_")


@dataclass(frozen=True)
class WorkerProcess:
    """``process.json``: which process on which host writes the run.

    ``start`` tells it from a later process of the same number: seconds after boot on Linux (setting the wall
    clock changes nothing), and seconds since the epoch elsewhere. The offsets are the sizes in bytes that the
    event log and the control file had when the process was started: what stands before them is not its own.
    """

    host: str
    pid: int
    start: float
    events_offset: int = 0
    control_offset: int = 0
    format: int = 1


def process_start(pid: int) -> float | None:
    """Return when process ``pid`` started, or None where it is gone. A zombie is gone: it runs nothing."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return None if fields[0] in b"ZXx" else int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        if Path("/proc/self/stat").exists():
            return None
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def read_process(run: RunDirectory) -> WorkerProcess | None:
    """Return the newest worker of ``run``, or None where none was started yet (or the file is damaged)."""
    try:
        found = json.loads(run.process_path.read_bytes())
        return WorkerProcess(
            host=str(found["host"]),
            pid=int(found["pid"]),
            start=float(found["start"]),
            events_offset=int(found.get("events_offset", 0)),
            control_offset=int(found.get("control_offset", 0)),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _lives(process: WorkerProcess) -> bool:
    start = process_start(process.pid)
    return start is not None and abs(start - process.start) < 0.05


def _record_process(run: RunDirectory, pid: int, parent: WorkerProcess | None = None) -> WorkerProcess:
    """Record ``pid`` as the worker from now on, or since ``parent`` was recorded."""
    process = WorkerProcess(
        host=socket.gethostname(),
        pid=pid,
        start=process_start(pid) or 0.0,
        events_offset=parent.events_offset if parent else _size(run.events_path),
        control_offset=parent.control_offset if parent else _size(run.control_path),
    )
    write_text(run.process_path, json.dumps(asdict(process)) + "\n")
    return process


def write_process(run: RunDirectory) -> WorkerProcess:
    """Record this process as the worker of ``run`` and return the record.

    To be called by the holder of the lock before its first event. What `start_worker` has recorded about this
    process is kept, so that a request made while the worker was still starting is not taken for an old one.
    Where it recorded torchrun, whose child this process is, this one takes its place: it is the one whose end
    is the end of the run.
    """
    known = read_process(run)
    if known and known.host == socket.gethostname() and _lives(known):
        if known.pid == os.getpid():
            return known
        if known.pid == os.getppid() and "TORCHELASTIC_RUN_ID" in os.environ:
            return _record_process(run, os.getpid(), known)
    return _record_process(run, os.getpid())


def worker_alive(run: RunDirectory) -> bool | None:
    """Return whether the newest worker of ``run`` lives; None where it runs on another host."""
    return is_alive(read_process(run))


def is_alive(process: WorkerProcess | None) -> bool | None:
    """Return whether ``process``, the worker of a run, lives; None where it runs on another host."""
    if process is None:
        return False
    return _lives(process) if process.host == socket.gethostname() else None


@contextlib.contextmanager
def hold_lock(run: RunDirectory) -> Iterator[None]:
    """Be the only writer of ``run`` while the block runs. The lock ends with the process, however it ends.

    Raises `RunError`, naming the other writer, where the lock is taken.
    """
    with explain_storage(run.lock_path):
        handle = os.open(run.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _take(run, handle)
        yield
    finally:
        os.close(handle)


def _take(run: RunDirectory, handle: int) -> None:
    # A launcher or a removal holds the lock for a moment; a writer holds it for as long as it lives.
    deadline = time.monotonic() + _LOCK_PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if _is_written_elsewhere(run) or time.monotonic() > deadline:
                raise _taken(run) from None
            time.sleep(0.02)
        except OSError as error:
            raise RunError(
                f"cannot lock {run.lock_path}: {error.strerror or error}",
                hint="the file system has no locks; place the runs on another one with --runs-dir",
            ) from error
        else:
            return


def _is_written_elsewhere(run: RunDirectory) -> bool:
    """Return whether another process of this host writes ``run`` and has not said its last."""
    process = read_process(run)
    if process is None or process.pid == os.getpid() or not worker_alive(run):
        return False
    return not run.status().ended


def _taken(run: RunDirectory) -> RunError:
    process = read_process(run)
    who = f"process {process.pid} on {process.host}" if process else "another process"
    if worker_alive(run) is False and process is not None:
        who = f"a process that its worker {process.pid} left behind"
    return RunError(
        f"run '{run.name}' is being written by {who}",
        hint=f"watch it: {typed(f'runs show {run.name}')}\nend it: {typed(f'runs stop {run.name}')}",
    )


def refuse_live(run: RunDirectory) -> None:
    """Raise `RunError` where a worker may still write ``run``, whether or not its lock could be taken."""
    if read_process(run) is not None and worker_alive(run) is not False:
        status = run.status()
        if not status.ended and status.state != "silent":
            raise _taken(run)


def start_worker(
    run: RunDirectory,
    arguments: Sequence[str] = (),
    processes: int = 1,
    threads: int | None = None,
    first: Mapping[str, Any] | None = None,
) -> int:
    """Start the worker of ``run`` in a process session of its own and return its process id.

    ``arguments`` are the program's options, which stand before the command (``--plugins-dir DIR``,
    ``--safe``). The worker reads nothing and writes ``worker.log``; it outlives the caller. With several
    ``processes`` it is torchrun that is started, and the one of rank 0 will be the worker; each of them
    computes with ``threads``. ``first`` is a request that the worker finds in its control file before it
    does anything. Raises `RunError` where the run has a writer already.
    """
    from nanoshell.runs.events import append_line  # which reads who writes the log it follows

    # -P: a file named like a library in the current folder must not be imported in the library's place.
    command = [sys.executable, "-P", "-u"]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    # torchrun takes --run for the beginning of an option of its own.
    option = "--run" if processes == 1 else "--worker"
    command += ["-m", "nanoshell", *arguments, "train", option, str(run.path.resolve())]
    with hold_lock(run):
        refuse_live(run)
        with explain_storage(run.log_path):
            log = os.open(run.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            worker = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=_environment(processes, threads),
            )
        except OSError as error:
            raise RunError(f"cannot start the worker of '{run.name}': {error}") from error
        finally:
            os.close(log)
        reap = threading.Thread(
            target=_reap, args=(worker, run.log_path), name=f"reap-{worker.pid}", daemon=True
        )
        reap.start()
        try:
            _record_process(run, worker.pid)
            if first is not None:
                # Still under the lock, for which the worker waits: what stands there from before is not its.
                append_line(run.control_path, dict(first))
        except BaseException:
            worker.kill()
            raise
    return worker.pid


def _environment(processes: int, threads: int | None) -> dict[str, str]:
    """Return the environment of a worker: ours, without the place that torchrun may have given us."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OF_TORCHRUN)}
    kept["PYTHONFAULTHANDLER"] = "1"
    if threads is not None:
        kept["OMP_NUM_THREADS"] = str(threads)
    if processes > 1:
        kept["PYTHONSAFEPATH"] = "1"
        kept.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(_SAVE_SECONDS))
    return kept


def _reap(worker: subprocess.Popen[bytes], log_path: Path) -> None:
    """Collect ``worker``, or it stays a zombie while we live, and note in its log which signal ended it."""
    code = worker.wait()
    if code < 0:
        with contextlib.suppress(OSError, ValueError), log_path.open("a") as log:
            memory = " (the system does so when memory runs out)" if code == -signal.SIGKILL else ""
            log.write(f"the worker was ended by {signal.Signals(-code).name}{memory}\n")
