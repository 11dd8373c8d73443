"""Writes are whole or absent, and a system error becomes a sentence."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from nanoshell.errors import StorageError
from nanoshell.files import atomic_write, write_text


def test_a_write_that_fails_midway_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "kept.txt"
    write_text(path, "old")
    with pytest.raises(ValueError), atomic_write(path) as file:
        file.write(b"half")
        raise ValueError
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept.txt"]


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "new.bin") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_folders_are_made_and_modes_are_as_asked(tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        write_text(tmp_path / "a" / "b" / "public.txt", "x")
        write_text(tmp_path / "private.txt", "x", private=True)
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "a" / "b" / "public.txt").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "private.txt").stat().st_mode) == 0o600


def test_a_file_in_place_of_the_folder_is_explained(tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("")
    with pytest.raises(StorageError, match=r"cannot write .*blocked/inner.txt") as caught:
        write_text(tmp_path / "blocked" / "inner.txt", "x")
    assert caught.value.hint


def test_a_full_disk_is_explained(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    from nanoshell.files import explain_storage

    with (
        pytest.raises(StorageError, match="the disk is full"),
        explain_storage(full),
        full.open("wb", 0) as file,
    ):
        file.write(b"x")
