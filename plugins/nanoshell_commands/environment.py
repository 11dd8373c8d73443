"""What ``plugin doctor`` looks at besides plugins: Python, torch, compiler, terminal, settings, folders."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from nanoshell import Session

Finding = tuple[str, Literal["good", "warning", "broken"], str, str]
"""Name, verdict, what was found, and what to do about it."""

_TORCH = """
import time
began = time.perf_counter()
import torch
took = time.perf_counter() - began
devices = ["cpu"]
devices += [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
devices += ["mps"] if torch.backends.mps.is_available() else []
print(f"{torch.__version__}, imported in {took:.1f} s; {', '.join(devices)}")
"""
_TORCH_PATIENCE_SECONDS = 120


def environment_checks(session: Session) -> Iterator[Finding]:
    """Yield what was found of the environment. torch is imported in a process of its own."""
    from nanoshell import API_VERSION, __version__

    yield "nanoshell", "good", f"{__version__}, plugin interface {API_VERSION}", ""
    yield "python", "good", f"{sys.version.split()[0]}, {sys.executable}", ""
    yield _torch()
    yield _compiler()
    yield _installer()
    yield _terminal()
    yield _settings(session)
    yield from _folders(session)


def _torch() -> Finding:
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _TORCH],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TORCH_PATIENCE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "torch", "broken", f"is not imported within {_TORCH_PATIENCE_SECONDS} s", "install it anew"
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return "torch", "broken", said, "install it anew: https://pytorch.org/get-started/locally"
    return "torch", "good", done.stdout.strip(), ""


def _compiler() -> Finding:
    names = [name for name in (os.environ.get("CXX"), "g++", "clang++", "c++") if name]
    found = next((path for name in names if (path := shutil.which(name))), "")
    if found:
        return "compiler", "good", found, ""
    install = "xcode-select --install" if sys.platform == "darwin" else "sudo apt install g++"
    text = "there is no C++ compiler, so that nothing is compiled: training and replies are slower"
    return "compiler", "warning", text, f"for example: {install}"


def _installer() -> Finding:
    from nanoshell import NanoshellError
    from nanoshell_commands.installing import find_installer

    try:
        installer = find_installer()
    except NanoshellError as error:
        return "installer", "warning", error.message, error.hint
    return "installer", "good", f"{installer.name}, {' '.join(installer.program)}", ""


def _terminal() -> Finding:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return "terminal", "good", "none: this is a pipe or a script", ""
    size = shutil.get_terminal_size()
    term, encoding = os.environ.get("TERM", ""), sys.stdout.encoding
    text = f"{term or 'TERM is not set'}, {size.columns} x {size.lines}, {encoding}"
    if encoding.lower().replace("-", "") != "utf8":
        return "terminal", "warning", text, "set a UTF-8 locale, for example: export LC_ALL=C.UTF-8"
    if term in ("", "dumb"):
        return (
            "terminal",
            "warning",
            f"{text}: without colours and bars",
            "set TERM, as in: TERM=xterm",
        )
    if size.columns < 60:
        return "terminal", "warning", f"{text}: tables are hard to read", "make the window wider"
    return "terminal", "good", text, ""


def _settings(session: Session) -> Finding:
    path = session.settings.path
    if path is None or not path.exists():
        return "settings", "good", f"{path}: all as they were delivered", ""
    changed = [setting.name for setting in session.settings if session.settings.is_set(setting.name)]
    if not os.access(path, os.W_OK):
        return "settings", "broken", f"{path} cannot be written", f"chmod u+w {path}"
    return "settings", "good", f"{path}: {', '.join(changed) or 'none'} set", ""


def _folders(session: Session) -> Iterator[Finding]:
    from nanoshell import cache_dir, config_dir, data_dir

    folders = {"config": config_dir(), "data": data_dir(), "cache": cache_dir(), "runs": session.runs_dir}
    for name, folder in folders.items():
        yield _folder(name, folder.absolute(), private=name == "data")


def _folder(name: str, folder: Path, *, private: bool) -> Finding:
    label = f"{name} folder"
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        return label, "broken", f"{there} is a file, where a folder is wanted", "move it away"
    if not os.access(there, os.W_OK | os.X_OK):
        return label, "broken", f"{there} cannot be written", f"chmod u+rwx {there}, or choose another folder"
    if not folder.exists():
        return label, "good", f"{folder}: made when it is needed", ""
    mode = folder.stat().st_mode & 0o777
    if private and mode & 0o077:
        return label, "warning", f"{folder} can be read by others (mode {mode:o})", f"chmod 700 {folder}"
    return label, "good", str(folder), ""
