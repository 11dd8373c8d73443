"""Plugins as real files and real distributions, and a store of conversations, for tests of several rooms."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nanoshell.chat.history import ConversationStore
from nanoshell.data.source import DataSource, open_source
from nanoshell.plugin.registry import Registry

HELLO = """
import click
from nanoshell import hookimpl

@click.command()
def {name}():
    "Say {name}."
    click.echo("{name}")

@hookimpl
def register_commands(register):
    register({name})
"""


@pytest.fixture
def hello() -> Callable[[str], str]:
    """Return a function that gives the code of a plugin with one command: ``hello("name")``."""
    return lambda name: HELLO.format(name=name)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a function that installs: ``install("nanoshell-x", "1.0", {"x": "nanoshell_x"}, code)``."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def install(
        distribution: str, version: str, points: dict[str, str], code: str, metadata: bool = True
    ) -> Path:
        info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        if metadata:
            (info / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n\nText"
            )
        lines = "".join(f"{name} = {value}\n" for name, value in points.items())
        (info / "entry_points.txt").write_text(f"[nanoshell]\n{lines}")
        for value in points.values():
            module = value.partition(":")[0]
            monkeypatch.delitem(sys.modules, module, raising=False)
            (site / f"{module}.py").write_text(textwrap.dedent(code))
        return site

    return install


@pytest.fixture
def plugins_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "my-plugins"
    folder.mkdir()
    return folder


@pytest.fixture
def write_plugin(plugins_folder: Path) -> Callable[[str, str], Path]:
    """Return a function that writes a plugin file: ``write_plugin("name", code)``."""

    def write(name: str, code: str) -> Path:
        path = plugins_folder / f"{name}.py"
        path.write_text(textwrap.dedent(code))
        return path

    return write


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def open_(here: Path) -> Callable[[str], DataSource]:
    """Return a function that opens a source of our plugin by its spec."""
    import nanoshell_data

    registry: Registry[Callable[[str], DataSource]] = Registry("data source")
    nanoshell_data.register_sources(
        lambda name, factory, **about: registry.add(name, factory, provider="data", **about)
    )
    return lambda spec: open_source(spec, registry)


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    """The file of `store`, in a folder that is not there before the first use."""
    return tmp_path / "home" / "conversations.db"


@pytest.fixture
def store(store_path: Path) -> Iterator[ConversationStore]:
    """A store of conversations of its own."""
    store = ConversationStore(store_path)
    yield store
    store.close()
