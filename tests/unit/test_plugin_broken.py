"""Plugins that are broken in every way: each costs a line, and nothing that belongs to others."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nanoshell import cli, hookimpl
from nanoshell.chat.template import ChatTemplate
from nanoshell.data.source import DataSource
from nanoshell.errors import PluginError
from nanoshell.model.backend import Backend
from nanoshell.model.mixer import FeedForward, Mixer
from nanoshell.plugin import manager
from nanoshell.plugin.blame import REQUIRED
from nanoshell.plugin.manager import PluginInfo, Plugins, load_plugins
from nanoshell.tokenizer.base import Tokenizer

Write = Callable[[str, str], Path]
Hello = Callable[[str], str]


def info(plugins: Plugins, name: str) -> PluginInfo:
    (found,) = [plugin for plugin in plugins.infos if plugin.name == name]
    return found


def load(folder: Path) -> Plugins:
    return load_plugins(plugins_dir=folder, report=lambda line: None)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)", "the handler of SIGINT"),
        (
            "import io, sys\nsys.stdout = io.StringIO()\nsys.stderr = sys.stdin = None",
            "sys.stdin, sys.stdout",
        ),
        ("import os\nos.chdir('/')", "the current folder"),
        ("import sys\nsys.excepthook = print\nsys.argv = ['mine']", "sys.excepthook, sys.argv"),
    ],
)
@pytest.mark.parametrize("ending", ["", "raise ValueError('and it fails, too')"])
def test_what_loading_changes_in_the_process_is_put_back(
    write_plugin: Write, plugins_folder: Path, hello: Hello, code: str, said: str, ending: str
) -> None:
    def state() -> list[Any]:
        streams = [sys.stdin, sys.stdout, sys.stderr, sys.excepthook, sys.argv]
        return [*streams, signal.getsignal(signal.SIGINT), os.getcwd()]  # noqa: PTH109

    write_plugin("rude", f"{code}\n{ending}\n{hello('rude')}")
    before = state()
    plugins = load(plugins_folder)
    assert state() == before
    if not ending:
        assert said in info(plugins, "rude").reason
        assert info(plugins, "rude").reason.endswith("while it was loaded, which is put back")
        assert "rude" in plugins.commands
    else:
        assert info(plugins, "rude").reason.startswith("ValueError: and it fails, too")


def test_a_plugin_that_loads_slowly_is_told_with_the_limit_and_what_it_waits_for(
    write_plugin: Write,
    plugins_folder: Path,
    hello: Hello,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(manager, "SLOW_SECONDS", 0.05)
    monkeypatch.setattr(manager, "_HEAVY", ("colorsys",))
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    write_plugin("slow", f"import time, colorsys\ntime.sleep(0.06)\n{hello('slow')}")
    write_plugin("slower", f"import time\ntime.sleep(0.06)\n{hello('slower')}")
    plugins = load_plugins(plugins_dir=plugins_folder)
    first, second = capfd.readouterr().err.splitlines()
    assert first.startswith("nanoshell: plugin 'slow' (")
    assert "s to load, where 0.05 s is the limit: import colorsys inside the functions that need it" in first
    assert "0.05 s is the limit: it delays every start; to do without it: plugin disable slower" in second
    assert {"slow", "slower"} <= set(plugins.commands.names())
    # It is no mistake: a slow machine must not fail the tests of a plugin.
    assert load_plugins(plugins_dir=plugins_folder, strict=True, report=lambda line: None).warnings


@pytest.mark.parametrize(
    "error", ["GeneratorExit", "SystemExit(3)", "StopIteration", "type('Own', (BaseException,), {})"]
)
@pytest.mark.parametrize("place", ["", "    "])
def test_no_exception_of_a_plugin_ends_the_start(
    write_plugin: Write, plugins_folder: Path, hello: Hello, error: str, place: str
) -> None:
    """At the top of the module, and in the hook that registers."""
    write_plugin("a_bad", f"{hello('bad')}\n{place}raise {error}\n")
    write_plugin("b_good", hello("good"))
    plugins = load(plugins_folder)
    assert info(plugins, "a_bad").state == "quarantined"
    assert "bad" not in plugins.commands
    assert "good" in plugins.commands


def test_recursion_without_end_is_a_failure_like_others(
    write_plugin: Write, plugins_folder: Path, hello: Hello
) -> None:
    write_plugin("deep", f"def down(): return down()\n{hello('deep')}\n    down()\n")
    assert info(load(plugins_folder), "deep").reason.startswith("RecursionError")


CONTRACTS = {
    "data source": DataSource,
    "device": Backend,
    "tokenizer": Tokenizer,
    "chat template": ChatTemplate,
}


@pytest.mark.parametrize("kind", CONTRACTS)
def test_what_is_asked_of_an_object_is_what_its_contract_says(kind: str) -> None:
    members = {name for name in vars(CONTRACTS[kind]) if not name.startswith("_")}
    assert set(REQUIRED[kind]) == members


def test_what_is_asked_of_layers_is_what_their_contracts_say() -> None:
    for kind, contract in (("mixer", Mixer), ("feed_forward", FeedForward)):
        members = {name for name in vars(contract) if not name.startswith("_")}
        assert members <= set(REQUIRED[kind])
        assert set(REQUIRED[kind]) - members <= set(dir(torch.nn.Module))


def with_factory(hook: str, factory: Callable[..., Any], **options: Any) -> Plugins:
    made = types.ModuleType("made_up")
    made_hook = hookimpl(lambda register: register("thing", factory, **options))
    setattr(made, hook, made_hook)
    return load_plugins(extra=[("weak", made)], only=[], strict=True)


@pytest.mark.parametrize(
    ("hook", "made", "given", "said"),
    [
        (
            "register_sources",
            None,
            ("",),
            "data source 'thing': its factory returned nothing, which has no spec",
        ),
        ("register_tokenizers", "text", (), "tokenizer 'thing': its factory returned something of type str"),
        ("register_backends", 3, (), "device 'thing': its factory returned something of type int"),
        (
            "register_chat_templates",
            {},
            (),
            "chat template 'thing': its factory returned something of type dict",
        ),
        ("register_mixers", torch.nn.Linear(1, 1), (None, 0), "type Linear, which has no new_state"),
        ("register_mixers", lambda x: x, (None, 0), "which has no forward, named_parameters, new_state"),
    ],
)
def test_a_factory_that_returns_something_else_is_blamed_on_its_plugin(
    hook: str, made: Any, given: tuple[Any, ...], said: str
) -> None:
    plugins = with_factory(hook, lambda *arguments: made)
    with pytest.raises(PluginError) as caught:
        plugins.registry(hook).get("thing")(*given)
    assert caught.value.message.startswith("plugin 'weak' failed to make ")
    assert said in caught.value.message
    assert caught.value.hint


def test_a_feed_forward_needs_no_state_and_properties_are_not_asked() -> None:
    linear = torch.nn.Linear(1, 1)
    plugins = with_factory("register_mixers", lambda config, index: linear, kind="feed_forward")
    assert plugins.mixers.get("thing")(None, 0) is linear

    class Lazy:
        encode = stop_ids = None

        @property
        def name(self) -> str:
            raise AssertionError("nobody needs it yet")

    assert isinstance(with_factory("register_chat_templates", Lazy).chat_templates.get("thing")(), Lazy)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (0.5, "returned something of type float, which is no function of logits and history"),
        (lambda logits, history: None, "its step returned nothing"),
        (lambda logits, history: logits[0], "its step returned a tensor of shape (5,)"),
        (lambda logits, history: [1.0], "its step returned something of type list"),
    ],
)
def test_a_sampler_whose_step_returns_no_logits_is_blamed(step: Any, said: str) -> None:
    options = {"order": 1, "default": 1, "neutral": 0}
    factory = with_factory("register_samplers", lambda value: step, **options).samplers.get("thing")
    assert factory is not None
    with pytest.raises(PluginError) as caught:
        factory(1.0)(torch.zeros(2, 5), torch.zeros(2, 1))
    assert said in caught.value.message
    assert "plugin 'weak'" in caught.value.message


BROKEN_LATER = """
import click
from nanoshell import SourceInfo, hookimpl

class Words:
    spec = "words"
    def __init__(self, rest): pass
    def info(self): return SourceInfo(self.spec, "words", "some words", (), None)
    def fingerprint(self): return "1"
    def token_file(self): return None
    def documents(self):
        raise KeyError("no words today")
        yield

class Untold(Exception):
    def __str__(self):
        raise ValueError("not even this")

@click.command()
def untold():
    "Fail without words."
    raise Untold

@click.command()
def odd():
    "Return something odd."
    class Odd:
        def __str__(self):
            raise ValueError("no text")
    return Odd()

@hookimpl
def register_sources(register):
    register("words", Words)

@hookimpl
def register_commands(register):
    register(untold)
    register(odd)
"""


def test_what_comes_later_from_a_plugins_object_is_blamed_on_the_plugin(
    write_plugin: Write,
    plugins_folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(plugins_folder)
    write_plugin("weak", BROKEN_LATER)
    assert cli.run(["--plugins-dir", str(plugins_folder), "tokenize", "words", "-o", "words.bin"]) == 1
    said = capsys.readouterr().err
    assert "error in 'tokenize' of plugin 'commands', raised by plugin 'weak' (weak.py:12): KeyError" in said


@pytest.mark.parametrize(("command", "said"), [("untold", "Untold"), ("odd", "ValueError: no text")])
@pytest.mark.parametrize("option", [[], ["--json"]])
def test_what_cannot_be_told_or_shown_is_still_an_error_in_a_line(
    write_plugin: Write,
    plugins_folder: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    said: str,
    option: list[str],
) -> None:
    write_plugin("weak", BROKEN_LATER)
    assert cli.run(["--plugins-dir", str(plugins_folder), command, *option]) == 1
    shown = capsys.readouterr()
    assert f"error in '{command}' of plugin 'weak': {said}" in shown.err
    assert "Traceback" not in shown.err


def test_plugins_may_be_managed_whatever_they_do_at_import(
    install: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command imports none of them: one would leave a mark, and one would end the process."""
    mark = tmp_path / "mark"
    code = f"from pathlib import Path\nPath({str(mark)!r}).touch()\n"
    install("nanoshell-mark", "1", {"mark": "mark_plugin"}, code)
    install("nanoshell-end", "1", {"end": "end_plugin"}, "import os\nos._exit(7)")
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "file.py").write_text(textwrap.dedent(code))
    options = ["--plugins-dir", str(folder)]
    for arguments in (
        [*options, "plugin"],
        [*options, "plugins", "list", "--json"],
        [*options, "plugin", "disable", "mark", "nanoshell-end", "file"],
        [*options, "plugin", "--help"],
        [*options, "help", "plugin"],
    ):
        assert cli.run(arguments) == 0
    assert not mark.exists()
    assert cli.run(["show", "disabled_plugins", "--json"]) == 0
    out = capsys.readouterr().out
    assert '"value": ["mark", "end", "file"]' in out
    for name in ("mark", "end", "file"):
        assert f"{name} " in out
