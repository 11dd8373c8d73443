"""Run directories: making them, finding them, reading what stands in them, removing them."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanoshell.errors import MissingRunError, RunError, UnknownNameError, UsageError, nearest, unknown_name
from nanoshell.files import explain_storage, make_folder, storage_error, sync_folder, write_text
from nanoshell.runs.process import hold_lock, worker_alive
from nanoshell.runs.status import RunStatus as RunStatus, read_status
from nanoshell.spelling import typed

RECORD_FORMAT = 1
_NAME = re.compile(r"[\w][\w.+-]*", re.ASCII)
_NUMBERED = re.compile(r"(?P<base>.+)-(?P<number>\d+)")
_CHECKPOINT = re.compile(r"step-(\d+)")
_LOG_TAIL_BYTES = 1 << 16


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint: the optimizer ``step`` it was taken after, its folder, its size in bytes."""

    step: int
    path: Path
    num_bytes: int


@dataclass(frozen=True)
class RunDirectory:
    """The folder of one run. Making the object reads nothing; the folder may vanish at any time."""

    path: Path

    @property
    def name(self) -> str:
        """The name by which a user refers to the run: that of its folder."""
        return self.path.name

    @property
    def record_path(self) -> Path:
        return self.path / "run.yaml"

    @property
    def events_path(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def control_path(self) -> Path:
        return self.path / "control.jsonl"

    @property
    def log_path(self) -> Path:
        return self.path / "worker.log"

    @property
    def lock_path(self) -> Path:
        return self.path / "run.lock"

    @property
    def process_path(self) -> Path:
        return self.path / "process.json"

    @property
    def checkpoints_dir(self) -> Path:
        return self.path / "checkpoints"

    @property
    def snapshots_dir(self) -> Path:
        return self.path / "snapshots"

    def record(self) -> dict[str, Any]:
        """Return ``run.yaml``: resolved config and provenance. Raises `RunError` where it cannot be read."""
        import yaml

        try:
            # The loader of libyaml is seven times as fast: lists of hundreds of runs read all their records.
            loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
            found = yaml.load(self.record_path.read_text(encoding="utf-8"), loader)
        except OSError as error:
            raise RunError(f"cannot read {self.record_path}: {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise RunError(f"{self.record_path} is damaged: {error}") from error
        if not isinstance(found, dict):
            raise RunError(f"{self.record_path} is damaged: it holds no mapping")
        version = found.get("format")
        if isinstance(version, int) and version > RECORD_FORMAT:
            raise RunError(
                f"{self.record_path} is in format {version}, and this nanoshell reads up to {RECORD_FORMAT}",
                hint="update nanoshell: pip install -U nanoshell",
            )
        return found

    def status(self) -> RunStatus:
        """Return how the run stands. Cheap at any length of the log; never raises."""
        return read_status(self)

    def created(self) -> float | None:
        """Return when the run was created, in seconds since the epoch; None where that is not known."""
        try:
            return dt.datetime.fromisoformat(_created(self) or "").timestamp()
        except ValueError:
            return None

    def size_bytes(self) -> int:
        """Return the bytes of all files in the folder."""
        return folder_bytes(self.path)

    def checkpoints(self) -> list[Checkpoint]:
        """Return the complete checkpoints by rising step; one that is being written has another name."""
        found = [
            Checkpoint(int(match[1]), path, folder_bytes(path))
            for path in folders(self.checkpoints_dir)
            if (match := _CHECKPOINT.fullmatch(path.name))
        ]
        return sorted(found, key=lambda checkpoint: checkpoint.step)

    def latest_checkpoint(self) -> Path | None:
        """Return the checkpoint that ``checkpoints/latest`` names, else that of the highest step, or None."""
        if (named := self._named_checkpoint("latest")) is not None:
            return named
        by_step = self.checkpoints()
        return by_step[-1].path if by_step else None

    def best_checkpoint(self) -> Path | None:
        """Return the checkpoint that ``checkpoints/best`` names: that of the lowest validation loss."""
        return self._named_checkpoint("best")

    def _named_checkpoint(self, file: str) -> Path | None:
        """Return the checkpoint whose name stands in ``file``, None where it is gone or was never named."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            name = (self.checkpoints_dir / file).read_text(encoding="utf-8").strip()
            if _CHECKPOINT.fullmatch(name) and (self.checkpoints_dir / name).is_dir():
                return self.checkpoints_dir / name
        return None

    def log_tail(self, lines: int = 20) -> str:
        """Return the last ``lines`` lines of the worker's log that hold any word; "" without a log."""
        try:
            with self.log_path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return ""
        # A progress bar overwrites its line after a carriage return: its last state is what counts.
        shown = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n")]
        return "\n".join([line for line in shown if any(map(str.isalnum, line))][-lines:])


def create_run(runs_dir: Path, name: str, record: Mapping[str, Any]) -> RunDirectory:
    """Create ``<name>-<n>`` in ``runs_dir`` with ``record`` as its ``run.yaml``, and return it.

    ``n`` counts from 1; callers that race for a number get different ones. ``format``, ``name`` and
    ``created`` (UTC) are added to the record. Raises `UsageError` for a name that is no file name,
    `StorageError` where the folder cannot be written; nothing is left behind then.
    """
    import yaml

    if not _NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' cannot be the name of a run",
            hint="use letters, digits and - _ . + and begin with a letter",
        )
    with explain_storage(runs_dir):
        make_folder(runs_dir)
        taken = [
            int(m["number"])
            for m in (_NUMBERED.fullmatch(path.name) for path in runs_dir.iterdir())
            if m and m["base"] == name
        ]
    number = max(taken, default=0) + 1
    while True:
        run = RunDirectory(runs_dir / f"{name}-{number}")
        try:
            run.path.mkdir()
            break
        except FileExistsError:
            number += 1
        except OSError as error:
            raise storage_error(run.path, error) from error
    created = dt.datetime.now(dt.UTC).isoformat(timespec="microseconds")
    try:
        text = yaml.safe_dump(
            {"created": created, "format": RECORD_FORMAT, "name": run.name, **record},
            sort_keys=False,
            allow_unicode=True,
        )
        write_text(run.record_path, text)
        sync_folder(runs_dir)
    except BaseException:
        shutil.rmtree(run.path, ignore_errors=True)
        raise
    return run


def list_runs(runs_dir: Path) -> list[RunDirectory]:
    """Return the runs in ``runs_dir``, newest first by creation. A folder that is not there holds no runs."""
    dated = []
    for path in folders(runs_dir):
        run = RunDirectory(path)
        created = _created(run)
        if created is not None and not path.name.startswith("."):
            numbered = _NUMBERED.fullmatch(path.name)
            dated.append((created, int(numbered["number"]) if numbered else 0, run))
    dated.sort(key=lambda entry: (entry[0], entry[1], entry[2].name), reverse=True)
    return [run for _, _, run in dated]


def find_run(runs_dir: Path, ref: str, *, whole: bool = False) -> RunDirectory:
    """Return the run that ``ref`` means.

    It is ``latest``, a run's name, a name without its number (the newest of that name), the beginning of
    exactly one name, or a path. With ``whole``, for what cannot be undone, only ``latest``, a name with its
    number and a path count. Raises `UnknownNameError` naming the nearest, `MissingRunError` where there is no
    run at all.
    """
    runs = list_runs(runs_dir)
    by_name = {run.name: run for run in runs}
    if ref in by_name:
        return by_name[ref]
    path = Path(ref).expanduser()
    if ref and (path / "run.yaml").is_file():
        return RunDirectory(path.resolve())
    if not runs:
        raise MissingRunError(
            f"there are no runs in {runs_dir}",
            hint=f"start one with: {typed('train --config nano-start --data nano-start')}",
        )
    if ref == "latest":
        return runs[0]
    begun = [run for run in runs if ref and run.name.startswith(ref)]
    if whole and begun:
        names = ", ".join(run.name for run in begun[:8])
        raise UnknownNameError(f"'{ref}' is only the beginning of a run's name", hint=f"say which: {names}")
    for run in runs:
        numbered = _NUMBERED.fullmatch(run.name)
        if numbered and numbered["base"] == ref:
            return run
    if len(begun) == 1:
        return begun[0]
    if begun:
        names = ", ".join(run.name for run in begun[:8])
        raise UnknownNameError(f"'{ref}' is the beginning of {len(begun)} runs", hint=f"say which: {names}")
    raise unknown_name(
        "run", ref, by_name, hint="" if nearest(ref, by_name) else f"see {typed('runs list')} ({runs_dir})"
    )


def remove_run(run: RunDirectory, *, force: bool = False) -> int:
    """Remove ``run`` with all its checkpoints and return the bytes that this freed.

    Raises `RunError` for a run that is being written, and, without ``force``, for one whose worker is on
    another host and has not said that it ended.
    """
    if not run.path.is_dir():
        raise RunError(f"there is no run at {run.path}")
    if worker_alive(run) is None and not run.status().ended and not force:
        raise RunError(
            f"run '{run.name}' was started on another host ({run.status().host}) and may be alive there",
            hint="stop it there first, or remove it with --force",
        )
    num_bytes = run.size_bytes()
    with hold_lock(run), explain_storage(run.path):
        # Renamed first: nobody sees a run of which half is gone.
        doomed = run.path.with_name(f".{run.name}.removed-{os.getpid()}")
        run.path.rename(doomed)
        if doomed.is_symlink():
            doomed.unlink()
        else:
            shutil.rmtree(doomed)
    return num_bytes


def folders(folder: Path) -> list[Path]:
    """Return the folders in ``folder``, sorted by name; none where it is not there."""
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if _is_folder(entry))
    except OSError:
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether ``entry`` is one: a link to itself or to what may not be seen is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files in and below ``folder``."""
    total = 0
    for root, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(Path(root) / name).st_size
    return total


def _created(run: RunDirectory) -> str | None:
    """Return when the run was created, as text that sorts; None where the folder is no run."""
    try:
        with run.record_path.open(encoding="utf-8", errors="replace") as file:
            head = file.read(256)
            changed = os.fstat(file.fileno()).st_mtime
    except OSError:
        return None
    match = re.search(r"^created: *['\"]?([0-9][0-9T:.+-]+)", head, re.MULTILINE)
    if match:
        return match[1]
    return dt.datetime.fromtimestamp(changed, dt.UTC).isoformat(timespec="microseconds")
