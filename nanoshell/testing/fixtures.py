"""The pytest plugin: fixtures for the tests of plugins. pytest loads it wherever nanoshell is installed.

So it imports next to nothing, and does nothing to tests that do not ask for one of its fixtures.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from nanoshell.plugin.manager import Plugins
    from nanoshell.runs.directory import RunDirectory
    from nanoshell.testing.dataset import TinyDataset
    from nanoshell.testing.run import FakeRun
    from nanoshell.testing.shell import Shell

FOREIGN = (
    "NANOSHELL_PLUGINS",
    "NANOSHELL_OFFLINE",
    "NANOSHELL_STRICT",
    "NANOSHELL_TRACE",
    "NO_COLOR",
    "FORCE_COLOR",
    "COLUMNS",
    "LINES",
    "HF_HUB_OFFLINE",
    "HF_ENDPOINT",
)
"""What of the environment would change what nanoshell does: taken out of it."""


@pytest.fixture
def nanoshell_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh, empty home: settings, history and caches of the machine are out of sight, and so are its
    variables that steer nanoshell."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("NANOSHELL_HOME", str(home))
    monkeypatch.setenv("HF_HOME", str(home / "huggingface"))
    for name in FOREIGN:
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def nanoshell_plugins(nanoshell_home: Path) -> Callable[..., Plugins]:
    """A function that loads plugins: ``nanoshell_plugins(my_module)`` returns `Plugins` with nanoshell's own
    and the given modules or instances, nothing else; ``plugins_dir`` adds the files of a folder. Whatever is
    wrong with one is raised."""
    from nanoshell.testing.loading import plugins_with

    return plugins_with


@pytest.fixture(scope="session")
def nanoshell_dataset(tmp_path_factory: pytest.TempPathFactory) -> TinyDataset:
    """A tiny dataset: paths of a ``text`` (five lines) and of ``messages`` (four conversations)."""
    from nanoshell.testing.dataset import write_dataset

    return write_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture(scope="session")
def nanoshell_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a tiny model that was trained on the conversations of the tiny dataset, once for all
    tests: do not write into it."""
    from nanoshell.testing.model import train_model

    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("nanoshell-model")
        patch.setenv("NANOSHELL_HOME", str(folder / "home"))
        return train_model(folder)


@pytest.fixture
def nanoshell_run(tmp_path: Path) -> RunDirectory:
    """A run that is finished, as its directory has it: events and no checkpoint. It lies in ``runs``, where
    ``nanoshell_session`` finds it as ``tiny-1`` and as ``latest``."""
    from nanoshell.testing.run import write_run

    return write_run(tmp_path / "runs")


@pytest.fixture
def nanoshell_fake_run(tmp_path: Path) -> Iterator[Callable[..., FakeRun]]:
    """A function that begins a run which the test writes live: ``fake = nanoshell_fake_run()``, and then
    ``fake.step(10)``, ``fake.eval()``, ``fake.crash()``. It takes a name and what else `FakeRun` takes, and
    lies in ``runs`` too."""
    from nanoshell.testing.run import FakeRun

    with contextlib.ExitStack() as made:
        yield lambda name="fake", **options: made.enter_context(FakeRun(tmp_path / "runs", name, **options))


@pytest.fixture
def nanoshell_session(
    nanoshell_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Shell]]:
    """A function that opens a scripted session: ``shell = nanoshell_session(my_module)``, and then
    ``shell(":tokens hi").out``. It takes ``model``, ``data`` and ``plugins_dir`` by name, and its folder is
    ``tmp_path``."""
    from nanoshell.testing.shell import open_shell

    monkeypatch.chdir(tmp_path)
    opened: list[Shell] = []

    def open_one(
        *plugins: object,
        plugins_dir: Path | None = None,
        model: Path | str | None = None,
        data: Path | str | None = None,
    ) -> Shell:
        opened.append(open_shell(*plugins, plugins_dir=plugins_dir, model=model, data=data))
        return opened[-1]

    yield open_one
    for shell in opened:
        shell.close()
