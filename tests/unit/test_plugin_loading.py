"""Isolation: whatever one plugin does, the rest goes on, and a person is told in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nanoshell.plugin.manager import PluginInfo, Plugins, load_plugins
from nanoshell.version import __version__

Install = Callable[..., Path]
Write = Callable[[str, str], Path]
Hello = Callable[[str], str]


def info(plugins: Plugins, name: str) -> PluginInfo:
    (found,) = [plugin for plugin in plugins.infos if plugin.name == name]
    return found


def test_our_own_plugins_load_without_a_word() -> None:
    plugins = load_plugins(strict=True, only=[])
    assert plugins.warnings == []
    ours = [plugin for plugin in plugins.infos if plugin.origin == "built-in"]
    assert {plugin.name for plugin in ours} >= {"commands", "data", "samplers", "torch"}
    assert {(plugin.version, plugin.provider, plugin.state) for plugin in ours} == {
        (__version__, "nanoshell", "active")
    }
    assert {"cl100k_base"} <= set(plugins.tokenizers.names())
    assert {"cpu", "cuda", "mps"} <= set(plugins.backends.names())


def test_the_import_time_is_that_of_the_import(install: Install, hello: Hello) -> None:
    install("slow", "1", {"slow": "slow_plugin"}, "import time\ntime.sleep(0.05)\n" + hello("slow"))
    assert info(load_plugins(), "slow").import_ms >= 50


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (
            "import no_such_library",
            "ModuleNotFoundError: No module named 'no_such_library' (bad_plugin.py:1)",
        ),
        ("def broken(:", "SyntaxError: "),
        ("x = 1\n\nraise SystemExit('enough')", "SystemExit: enough (bad_plugin.py:3)"),
        ("raise ValueError('two\\nlines\\x1b[31m')", "ValueError: two lines [31m (bad_plugin.py:1)"),
        ("class E(Exception):\n def __str__(self): raise RuntimeError\nraise E", "E (bad_plugin.py:3)"),
        ("import asyncio\nraise asyncio.CancelledError", "CancelledError (bad_plugin.py:2)"),
    ],
)
def test_a_plugin_that_cannot_be_imported_costs_one_line_and_nothing_else(
    install: Install, capfd: pytest.CaptureFixture[str], code: str, reason: str, hello: Hello
) -> None:
    install("nanoshell-bad", "0.3", {"bad": "bad_plugin"}, code)
    install("nanoshell-good", "1.0", {"good": "good_plugin"}, hello("good"))
    plugins = load_plugins()
    out, err = capfd.readouterr()
    assert out == ""
    (line,) = [line for line in err.splitlines() if "'bad'" in line]
    assert line.startswith(f"nanoshell: plugin 'bad' 0.3 (nanoshell-bad) is left out: {reason}")
    assert line.endswith("to do without it: plugin disable bad")
    assert (info(plugins, "bad").state, info(plugins, "bad").registered) == ("quarantined", {})
    assert info(plugins, "bad").reason.startswith(reason)
    assert "good" in plugins.commands
    assert "bad_plugin" not in sys.modules


def test_a_plugin_that_fails_to_register_is_rolled_back_whole(
    write_plugin: Write, plugins_folder: Path, capfd: pytest.CaptureFixture[str], hello: Hello
) -> None:
    write_plugin(
        "half",
        """
        from nanoshell import hookimpl

        @hookimpl
        def register_sources(register):
            register("half-source", lambda rest: None)

        @hookimpl
        def register_tokenizers(register):
            register("half-tokenizer", lambda: None)
            raise RuntimeError("no second one")

        @hookimpl
        def session_started(session):
            raise AssertionError("a quarantined plugin gets no notice")
        """,
    )
    write_plugin("zzz", hello("after"))
    plugins = load_plugins(plugins_dir=plugins_folder)
    assert "half-source" not in plugins.sources
    assert "half-tokenizer" not in plugins.tokenizers
    assert "after" in plugins.commands
    assert info(plugins, "half").reason == "RuntimeError: no second one (half.py:11)"
    plugins.notify("session_started", session=None)
    assert len(capfd.readouterr().err.splitlines()) == len(plugins.warnings) == 1


def test_a_failing_import_leaves_no_module_behind(install: Install, hello: Hello) -> None:
    site = install("nanoshell-pack", "1", {"pack": "nanoshell_pack"}, "")
    (site / "nanoshell_pack.py").unlink()
    package = site / "nanoshell_pack"
    package.mkdir()
    (package / "__init__.py").write_text("from nanoshell_pack import part\nraise ValueError")
    (package / "part.py").write_text("")
    assert info(load_plugins(), "pack").state == "quarantined"
    assert [name for name in sys.modules if name.startswith("nanoshell_pack")] == []
    (package / "__init__.py").write_text("from nanoshell_pack import part\n" + hello("pack"))
    os.utime(package / "__init__.py", (1, 1))  # another time stamp, so that the byte code is not reused
    assert info(load_plugins(), "pack").state == "active"


def test_names_registered_twice_are_refused_naming_both(
    write_plugin: Write, plugins_folder: Path, hello: Hello
) -> None:
    write_plugin("first", hello("greet"))
    write_plugin(
        "second",
        hello("greet") + "\n@hookimpl\ndef register_panels(register): register('p', dict)\n",
    )
    plugins = load_plugins(plugins_dir=plugins_folder, report=lambda line: None)
    assert plugins.commands.entry("greet").provider == "first"
    second = info(plugins, "second")
    assert second.state == "quarantined"
    assert second.reason == "command 'greet' is registered twice: by 'first' and by 'second'"
    assert "p" not in plugins.panels


def test_a_plugin_cannot_take_the_name_of_one_of_ours(install: Install, hello: Hello) -> None:
    install("stranger", "9", {"torch": "stranger_plugin"}, hello("strange"))
    plugins = load_plugins(report=lambda line: None)
    ours, stranger = (plugin for plugin in plugins.infos if plugin.name == "torch")
    assert (ours.provider, ours.state) == ("nanoshell", "active")
    assert stranger.reason == "the plugin name 'torch' is used twice: by nanoshell and by stranger"
    assert "strange" not in plugins.commands
    assert "cpu" in plugins.backends


def test_a_plugin_cannot_take_the_command_or_alias_of_another(
    write_plugin: Write, plugins_folder: Path, hello: Hello
) -> None:
    write_plugin("a", hello("a").replace("register(a)", "register(a, aliases=['aa', 'also'])"))
    write_plugin("b", hello("also"))
    write_plugin("c", hello("c").replace("register(c)", "register(c, aliases=('aa',))"))
    write_plugin("d", hello("d").replace("register(d)", "register(d, aliases=('d',))"))
    plugins = load_plugins(plugins_dir=plugins_folder, report=lambda line: None)
    assert [info(plugins, name).reason for name in "abcd"] == [
        "",
        "command 'also' is registered twice: by 'a' and by 'b'",
        "command 'aa' is registered twice: by 'a' and by 'c'",
        "command 'd' has the same alias twice",
    ]
    assert {"b", "c", "d"}.isdisjoint(plugins.commands.names())


def test_a_mistyped_hook_is_told_with_the_nearest_and_the_rest_of_the_plugin_works(
    write_plugin: Write, plugins_folder: Path, capfd: pytest.CaptureFixture[str], hello: Hello
) -> None:
    write_plugin("typo", hello("typo") + "\n@hookimpl\ndef register_backend(register): pass\n")
    plugins = load_plugins(plugins_dir=plugins_folder)
    (line,) = capfd.readouterr().err.splitlines()
    assert (
        "implements 'register_backend', which is no hook of this nanoshell; did you mean 'register_backends'?"
        in line
    )
    assert "typo" in plugins.commands
    assert info(plugins, "typo").state == "active"
    assert info(plugins, "typo").reason.endswith("did you mean 'register_backends'?")


def test_what_a_plugin_prints_while_loading_is_no_data(
    write_plugin: Write, plugins_folder: Path, capfd: pytest.CaptureFixture[str], hello: Hello
) -> None:
    write_plugin("loud", "print('LOUD IMPORT')\n" + hello("loud") + "    print('LOUD HOOK')\n")
    load_plugins(plugins_dir=plugins_folder, strict=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == ["LOUD IMPORT", "LOUD HOOK"]


def test_ctrl_c_while_loading_is_not_a_plugins_failure(write_plugin: Write, plugins_folder: Path) -> None:
    write_plugin("slow", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_plugins(plugins_dir=plugins_folder)


def test_loading_imports_nothing_heavy() -> None:
    program = (
        "import sys; from nanoshell.plugin.manager import load_plugins; load_plugins(strict=True, only=[])\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'rich', 'prompt_toolkit', 'huggingface_hub', 'yaml',\n"
        "         'tiktoken', 'textual', 'safetensors', 'email.parser'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_file_with_the_name_of_one_of_ours_is_to_be_renamed(
    write_plugin: Write, plugins_folder: Path, hello: Hello
) -> None:
    """By the name that both have, disabled_plugins would take ours away."""
    write_plugin("data", hello("mine"))
    (line,) = load_plugins(plugins_dir=plugins_folder, report=lambda line: None).warnings
    assert line.endswith("; rename the file to have both")
    assert "disable" not in line


def test_nobody_is_told_to_disable_the_commands_by_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    import nanoshell_commands

    monkeypatch.setattr(nanoshell_commands, "nanoshell_api", 999, raising=False)
    plugins = load_plugins(report=lambda line: None, only=[])
    (line,) = plugins.warnings
    assert line.endswith("; it is a part of nanoshell: install nanoshell anew")


def test_without_our_commands_an_unknown_command_tells_the_way_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from nanoshell.cli import run

    assert run(["set", "disabled_plugins", "commands"]) == 0
    capsys.readouterr()
    assert run(["unset", "disabled_plugins"]) == 2
    assert "nanoshell --safe unset disabled_plugins" in capsys.readouterr().err
    assert run(["--safe", "unset", "disabled_plugins"]) == 0
    assert run(["show", "disabled_plugins"]) == 0
