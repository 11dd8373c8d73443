"""Which plugins are found, and which of them are loaded."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from nanoshell.errors import PluginError, UsageError
from nanoshell.plugin.manager import PluginInfo, Plugins, load_plugins
from nanoshell.version import API_VERSION

Install = Callable[..., Path]
Write = Callable[[str, str], Path]
Hello = Callable[[str], str]


def info(plugins: Plugins, name: str) -> PluginInfo:
    (found,) = [plugin for plugin in plugins.infos if plugin.name == name]
    return found


def test_an_installed_plugin_is_found_and_described(install: Install, hello: Hello) -> None:
    install("nanoshell-hello", "1.2.3", {"hello": "nanoshell_hello"}, hello("hello"))
    plugins = load_plugins(strict=True)
    found = info(plugins, "hello")
    assert (found.version, found.provider, found.origin) == ("1.2.3", "nanoshell-hello", "entry point")
    assert (found.registered, found.state, found.reason) == ({"commands": ["hello"]}, "active", "")
    assert found.import_ms > 0
    entry = plugins.commands.entry("hello")
    assert (entry.provider, entry.summary) == ("hello", "Say hello.")
    assert isinstance(entry.value, click.Command)


def test_the_environment_restricts_to_a_list(
    install: Install, monkeypatch: pytest.MonkeyPatch, hello: Hello
) -> None:
    for name in ("one", "two", "three"):
        install(f"nanoshell-{name}", "1", {name: f"plugin_{name}"}, hello(name))
    monkeypatch.setenv("NANOSHELL_PLUGINS", "one, nanoshell_two")
    plugins = load_plugins(strict=True)
    assert {"one", "two"} <= set(plugins.commands.names())
    assert info(plugins, "three").state == "disabled"
    assert info(plugins, "three").reason == "not listed in NANOSHELL_PLUGINS"
    assert "plugin_three" not in sys.modules
    assert info(plugins, "torch").state == "active"


def test_an_empty_list_means_only_ours(
    install: Install, write_plugin: Write, plugins_folder: Path, monkeypatch: pytest.MonkeyPatch, hello: Hello
) -> None:
    install("nanoshell-one", "1", {"one": "plugin_one"}, hello("one"))
    write_plugin("two", hello("two"))
    monkeypatch.setenv("NANOSHELL_PLUGINS", "")
    plugins = load_plugins(plugins_dir=plugins_folder)
    assert {plugin.origin for plugin in plugins.infos if plugin.state == "active"} == {"built-in"}
    assert {"one", "two"}.isdisjoint(plugins.commands.names())


def test_a_listed_plugin_that_is_not_there_is_told(
    install: Install, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], hello: Hello
) -> None:
    install("nanoshell-one", "1", {"hello": "plugin_one"}, hello("one"))
    monkeypatch.setenv("NANOSHELL_PLUGINS", "helo,hello")
    load_plugins()
    (line,) = capfd.readouterr().err.splitlines()
    assert line == "nanoshell: NANOSHELL_PLUGINS lists 'helo', which is not installed; did you mean 'hello'?"


def test_safe_loads_only_ours_and_all_of_ours(
    install: Install, write_plugin: Write, plugins_folder: Path, monkeypatch: pytest.MonkeyPatch, hello: Hello
) -> None:
    install("nanoshell-one", "1", {"one": "plugin_one"}, "raise SystemExit")
    write_plugin("two", hello("two"))
    monkeypatch.setenv("NANOSHELL_PLUGINS", "one,two")
    plugins = load_plugins(plugins_dir=plugins_folder, safe=True, disabled=["samplers"], strict=True)
    assert {plugin.name for plugin in plugins.infos if plugin.state == "active"} >= {"samplers", "torch"}
    assert info(plugins, "one").reason == "--safe loads only nanoshell's own plugins"
    assert info(plugins, "two").state == "disabled"
    assert "two" not in plugins.commands


def test_a_disabled_plugin_is_not_imported(install: Install, capfd: pytest.CaptureFixture[str]) -> None:
    install("nanoshell-bad", "1", {"bad": "bad_plugin"}, "print('imported')\nraise ValueError")
    install("nanoshell-worse", "1", {"worse": "worse_plugin"}, "raise ValueError")
    plugins = load_plugins(disabled=["bad"])
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines()[0].endswith("to do without it: plugin disable worse")
    assert info(plugins, "bad").state == "disabled"
    assert info(plugins, "bad").reason == "listed in the setting disabled_plugins"


def test_strict_raises(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("nanoshell-bad", "1", {"bad": "bad_plugin"}, "raise ValueError('why')")
    monkeypatch.setenv("NANOSHELL_STRICT", "0")
    assert info(load_plugins(report=lambda line: None), "bad").state == "quarantined"
    monkeypatch.setenv("NANOSHELL_STRICT", "1")
    with pytest.raises(PluginError, match=r"plugin 'bad' 1 .* ValueError: why") as caught:
        load_plugins()
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_folder_is_loaded_in_the_order_of_its_names(
    write_plugin: Write, plugins_folder: Path, hello: Hello
) -> None:
    for name in ("b-second", "c", "a_first"):
        write_plugin(name, f"__version__ = '7'\n{hello(name.replace('-', '_'))}")
    write_plugin("_helper", "raise ValueError")
    write_plugin(".hidden", "raise ValueError")
    (plugins_folder / "notes.txt").write_text("no plugin")
    (plugins_folder / "package").mkdir()
    plugins = load_plugins(plugins_dir=plugins_folder, strict=True)
    files = [plugin for plugin in plugins.infos if plugin.origin == "file"]
    assert [plugin.name for plugin in files] == ["a_first", "b-second", "c"]
    assert files[0].provider == str(plugins_folder / "a_first.py")
    assert files[0].version == "7"
    assert {"a-first", "b-second", "c"} <= set(plugins.commands.names())


def test_a_file_named_like_a_library_takes_no_library_away(
    write_plugin: Write, plugins_folder: Path, hello: Hello
) -> None:
    import json

    write_plugin("json", hello("json") + "\nimport json as library\nassert library.dumps\n")
    plugins = load_plugins(plugins_dir=plugins_folder, strict=True)
    assert "json" in plugins.commands
    assert sys.modules["json"] is json


def test_a_file_may_define_dataclasses(write_plugin: Write, plugins_folder: Path, hello: Hello) -> None:
    """They look their module up in sys.modules."""
    code = """
        from __future__ import annotations
        from dataclasses import dataclass

        @dataclass
        class A:
            x: int
        """
    write_plugin("shapes", textwrap.dedent(code) + hello("shapes"))
    assert "shapes" in load_plugins(plugins_dir=plugins_folder, strict=True).commands


def test_the_current_folder_is_not_searched(
    write_plugin: Write, plugins_folder: Path, monkeypatch: pytest.MonkeyPatch, hello: Hello
) -> None:
    write_plugin("here", hello("here"))
    monkeypatch.chdir(plugins_folder)
    assert "here" not in load_plugins().commands


def test_a_plugins_folder_that_is_none_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the plugins folder .*: No such file") as caught:
        load_plugins(plugins_dir=tmp_path / "nowhere")
    assert caught.value.exit_code == 2
    (tmp_path / "file.py").write_text("")
    with pytest.raises(UsageError, match="Not a directory"):
        load_plugins(plugins_dir=tmp_path / "file.py")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            f"nanoshell_api = {API_VERSION + 1}",
            f"it needs version {API_VERSION + 1} of the plugin interface, "
            f"and this nanoshell offers {API_VERSION}",
        ),
        ("nanoshell_api = 'two'", "nanoshell_api is a whole number, not 'two'"),
        (f"nanoshell_api = {API_VERSION}", ""),
    ],
)
def test_the_interface_version_is_checked(
    write_plugin: Write, plugins_folder: Path, line: str, reason: str, hello: Hello
) -> None:
    write_plugin("versioned", f"{line}\n{hello('versioned')}")
    plugins = load_plugins(plugins_dir=plugins_folder, report=lambda line: None)
    assert info(plugins, "versioned").reason == reason
    assert ("versioned" in plugins.commands) == (reason == "")


def test_a_class_named_by_an_entry_point_is_instantiated(install: Install) -> None:
    code = """
        from nanoshell import hookimpl

        class Plugin:
            __version__ = "3"

            @hookimpl
            def register_exporters(self, register):
                register("to-nowhere", self.export, summary="drops it")

            def export(self, model_dir, target):
                return None
        """
    install("nanoshell-class", "2", {"classy": "classy_plugin:Plugin"}, code)
    plugins = load_plugins(strict=True)
    assert plugins.exporters.entry("to-nowhere").summary == "drops it"
    assert info(plugins, "classy").version == "2"


def test_ours_are_loaded_first(install: Install, hello: Hello) -> None:
    install("aaa", "1", {"aaa": "aaa_plugin"}, hello("plugins"))
    plugins = load_plugins(report=lambda line: None)
    assert plugins.commands.entry("plugin").provider == "commands"
    assert info(plugins, "aaa").reason == "command 'plugins' is registered twice: by 'commands' and by 'aaa'"


def test_an_entry_point_to_nothing_is_left_out(install: Install) -> None:
    install("nanoshell-nothing", "2", {"nothing": "nothing_plugin:absent"}, "")
    plugins = load_plugins(report=lambda line: None)
    assert info(plugins, "nothing").reason.startswith(
        "AttributeError: module 'nothing_plugin' has no attribute"
    )


def test_missing_metadata_is_survived(install: Install, hello: Hello) -> None:
    install("nanoshell-bare", "2", {"bare": "bare_plugin"}, hello("bare"), metadata=False)
    found = info(load_plugins(strict=True), "bare")
    assert (found.provider, found.version, found.state) == ("unknown", "", "active")
