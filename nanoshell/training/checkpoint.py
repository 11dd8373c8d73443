"""Checkpoints and snapshots as folders: whole or absent, the newest are kept. No torch here."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nanoshell.errors import CheckpointError
from nanoshell.files import explain_storage, make_folder, swap, sync_folder, write_text
from nanoshell.runs.directory import RunDirectory

FORMAT = 1
DOCUMENT = "trainer.json"
"""The trainer's state as far as it is no tensor; see `nanoshell.training.state`."""
_TENSOR_FILES = ("model.safetensors", "trainer.safetensors")
LATEST = "latest"
BEST = "best"
SNAPSHOTS_KEPT = 2
"""A reader may still map the last one while the next is written."""
_STEP_FOLDER = re.compile(r"step-(\d+)")
_PART = re.compile(r"\.step-.*|\..*\.part")


def step_name(step: int) -> str:
    """Return the folder name of a checkpoint or snapshot taken after ``step``."""
    return f"step-{step:06d}"


def read_document(directory: Path) -> dict[str, Any]:
    """Return ``trainer.json``. Raises `CheckpointError` where it is missing, damaged or of a newer format."""
    path = directory / DOCUMENT
    try:
        document = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        what = "holds weights alone" if directory.is_dir() else "does not exist"
        raise CheckpointError(
            f"{directory} {what}: training cannot go on from it",
            hint="name a run, or a folder in its checkpoints/",
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}", hint="take another checkpoint") from error
    if not isinstance(document, dict):
        raise CheckpointError(f"{path} is damaged: it holds no mapping", hint="take another checkpoint")
    version = document.get("format")
    if not isinstance(version, int) or version > FORMAT:
        raise CheckpointError(
            f"{path} has format {version!r}; this nanoshell reads formats up to {FORMAT}",
            hint="it was written by a newer nanoshell: upgrade, and resume again",
        )
    return document


def check_whole(directory: Path) -> dict[str, Any]:
    """Return ``trainer.json`` of a checkpoint whose files are all there and as long as their headers say.

    It reads no tensor. Raises `CheckpointError`.
    """
    document = read_document(directory)
    for name in _TENSOR_FILES:
        problem = _tensor_file_problem(directory / name)
        if problem:
            raise CheckpointError(
                f"{directory / name} is damaged or truncated ({problem})",
                hint="take another checkpoint of the run, or copy the file again",
            )
    return document


def _tensor_file_problem(path: Path) -> str:
    """Return what is wrong with a safetensors file, from its header and its size alone; "" if nothing.

    The format: 8 bytes with the length of the header, the header as JSON, and the tensors without a gap.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if length > size - 8:
                return f"its {size:,} bytes end within the header"
            header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        expected = 8 + length + max(ends, default=0)
    except FileNotFoundError:
        return "it is not there"
    except OSError as error:
        return str(error.strerror)
    except (ValueError, LookupError, TypeError, AttributeError):
        return "its header is no safetensors header"
    return "" if size == expected else f"it has {size:,} bytes, and its header says {expected:,}"


def write_folder(folder: Path, fill: Callable[[Path], None]) -> int:
    """Make ``folder`` hold what ``fill`` writes into the empty folder it is given, and return the bytes.

    The folder appears, or replaces one of its name, when everything is on the disk. Raises `StorageError`
    and whatever ``fill`` raises; nothing is left behind then.
    """
    with explain_storage(folder):
        make_folder(folder.parent)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            part.chmod(0o755 & ~_umask())
            fill(part)
            sync_folder(part)
            num_bytes = sum(file.stat().st_size for file in part.iterdir())
            if not folder.exists():
                part.rename(folder)
            elif not swap(part, folder):
                discard(folder)
                part.rename(folder)
            sync_folder(folder.parent)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return num_bytes


def discard(folder: Path) -> None:
    """Remove ``folder``. It loses its name first: nobody finds half a checkpoint under it."""
    doomed = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    folder.rename(doomed / "old")
    shutil.rmtree(doomed, ignore_errors=True)


def clear_parts(folder: Path) -> None:
    """Remove what a killed writer left in ``folder``. To be called by the holder of the run's lock."""
    if folder.is_dir():
        for path in folder.iterdir():
            if not _PART.fullmatch(path.name):
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def point_latest(run: RunDirectory, name: str) -> None:
    """Make ``checkpoints/latest`` name the checkpoint ``name``. Raises `StorageError`."""
    write_text(run.checkpoints_dir / LATEST, name + "\n")


def point_best(run: RunDirectory, name: str) -> None:
    """Make ``checkpoints/best`` name the checkpoint ``name``; "" names none. Raises `StorageError`."""
    path = run.checkpoints_dir / BEST
    if name:
        write_text(path, name + "\n")
    else:
        with explain_storage(path):
            path.unlink(missing_ok=True)


def keep_newest(folder: Path, count: int, newest: int, best: Path | None = None) -> None:
    """Remove folders of steps in ``folder``: those above ``newest``, which belong to a course that a resume
    left, and but for ``best`` the oldest until ``count`` are there (0 keeps them all).
    """
    found = sorted(
        (int(match[1]), path) for path in folder.iterdir() if (match := _STEP_FOLDER.fullmatch(path.name))
    )
    kept = [path for step, path in found if step <= newest]
    too_old = [path for path in kept[:-count] if path != best] if count else []
    with explain_storage(folder):
        for path in [path for step, path in found if step > newest] + too_old:
            discard(path)


def save_checkpoint(
    run: RunDirectory, step: int, fill: Callable[[Path], None], keep: int, *, keep_best: bool = False
) -> tuple[Path, int]:
    """Write the checkpoint of ``step``, make it the latest, drop the oldest; return its path and bytes.

    With ``keep_best`` the one that ``checkpoints/best`` names stays beside the ``keep`` newest.
    """
    path = run.checkpoints_dir / step_name(step)
    num_bytes = write_folder(path, fill)
    point_latest(run, path.name)
    keep_newest(run.checkpoints_dir, keep, step, run.best_checkpoint() if keep_best else None)
    return path, num_bytes


def clear_snapshots(run: RunDirectory) -> None:
    """Remove what earlier workers left, of their courses. To be called by the holder of the run's lock."""
    shutil.rmtree(run.snapshots_dir, ignore_errors=True)


def drop_above(run: RunDirectory, step: int) -> None:
    """Remove the checkpoints above ``step``, and keep all others. Raises `StorageError`."""
    if run.checkpoints_dir.is_dir():
        keep_newest(run.checkpoints_dir, 0, step)


def save_snapshot(run: RunDirectory, step: int, fill: Callable[[Path], None]) -> Path:
    """Return the snapshot of ``step``, writing it unless it is there."""
    path = run.snapshots_dir / step_name(step)
    if not path.is_dir():
        write_folder(path, fill)
        keep_newest(run.snapshots_dir, SNAPSHOTS_KEPT, step)
    return path


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
