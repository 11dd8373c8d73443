"""``plugin``: what is listed, what is left out, what a doctor finds, and which command installs."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PathDistribution, version
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from nanoshell import check_plugins, cli
from nanoshell.errors import NanoshellError
from nanoshell.opening import open_session
from nanoshell.plugin.discovery import PluginInfo
from nanoshell_commands.asked import as_path, asked_for
from nanoshell_commands.installing import Installer, find_installer, held_versions

Install = Callable[..., Path]
Write = Callable[[str, str], Path]
Hello = Callable[[str], str]


@pytest.fixture
def say(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the program in this process and return exit code, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = cli.run(arguments)
        return (code, *capfd.readouterr())

    return run


@pytest.fixture
def seen_by_children(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let other processes find what is installed in the folder of the test."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))


def listed(say: Any) -> dict[str, dict[str, Any]]:
    code, out, _ = say("plugin", "list", "--json")
    assert code == 0
    return {row["name"]: row for row in json.loads(out)}


def test_a_list_tells_the_state_without_loading(install: Install, hello: Hello, say: Any) -> None:
    install("nanoshell-one", "1.5", {"one": "one_plugin"}, hello("one"))
    rows = listed(say)
    assert rows["one"]["state"] == "enabled"
    assert (rows["one"]["version"], rows["one"]["provider"]) == ("1.5", "nanoshell-one")
    assert (rows["one"]["registered"], rows["one"]["import_ms"]) == ({}, None)
    assert rows["samplers"]["state"] == "active"
    assert "temperature" in rows["samplers"]["registered"]["samplers"]
    assert "one_plugin" not in sys.modules


def test_where_plugins_are_loaded_the_list_knows_how_that_went(
    install: Install, hello: Hello, say: Any
) -> None:
    install("nanoshell-one", "1.5", {"one": "one_plugin"}, hello("one"))
    install("nanoshell-bad", "1", {"bad": "bad_plugin"}, "raise ValueError")
    code, out, _ = say("-c", ":plugins", "-c", ":plugin show one")
    assert code == 0
    assert "1 command" in out
    assert "quarantined" in out
    assert "commands  one" in out


def test_one_that_is_not_loaded_here_is_shown_from_a_process_of_its_own(
    install: Install, hello: Hello, say: Any, seen_by_children: None
) -> None:
    install("nanoshell-one", "1.5", {"one": "one_plugin"}, hello("one"))
    install("nanoshell-end", "1.5", {"end": "end_plugin"}, "import os\nos._exit(9)")
    code, out, _ = say("plugin", "show", "one", "--json")
    shown = json.loads(out)
    assert (code, shown["state"], shown["registered"]) == (0, "active", {"commands": ["one"]})
    assert shown["import_ms"] > 0
    _, out, _ = say("plugin", "show", "end")
    assert "loading ended the process with code 9" in out
    assert "one_plugin" not in sys.modules


def test_disable_and_enable_edit_the_setting_and_nothing_else(
    install: Install, hello: Hello, say: Any
) -> None:
    for name in ("one", "two"):
        install(f"nanoshell-{name}", "1", {name: f"{name}_plugin"}, hello(name))
    say("set", "disabled_plugins", "gone")
    code, out, _ = say("plugin", "disable", "nanoshell_one", "samplers")
    assert (code, out.startswith("one, samplers: disabled")) == (0, True)
    assert [name for name, row in listed(say).items() if row["state"] == "disabled"] == ["samplers", "one"]
    assert say("one")[0] == 2
    assert say("two")[0] == 0
    assert "it was not disabled" in say("plugin", "enable", "two")[1]
    assert say("plugin", "enable", "one", "gone")[0] == 0
    assert open_session().settings.get("disabled_plugins") == ["samplers"]
    say("plugin", "enable", "samplers")
    assert not open_session().settings.is_set("disabled_plugins")
    assert say("one")[0] == 0


def test_a_distribution_that_is_disabled_gives_one_plugin_back_alone(
    install: Install, hello: Hello, say: Any
) -> None:
    install("nanoshell-pair", "1", {"left": "left_plugin", "right": "right_plugin"}, hello("left"))
    say("plugin", "disable", "nanoshell-pair")
    assert open_session().settings.get("disabled_plugins") == ["left", "right"]
    say("set", "disabled_plugins", "nanoshell-pair")
    say("plugin", "enable", "left")
    assert open_session().settings.get("disabled_plugins") == ["right"]


def test_of_two_with_one_name_the_distribution_says_which(install: Install, hello: Hello, say: Any) -> None:
    install("stranger", "1", {"torch": "stranger_plugin"}, hello("strange"))
    code, _, err = say("plugin", "disable", "torch")
    assert code == 2
    assert "'torch' means 2 plugins: torch (nanoshell), torch (stranger)" in err
    assert say("plugin", "disable", "stranger")[0] == 0
    states = {info.provider: info.state for info in open_session().plugins.infos if info.name == "torch"}
    assert states == {"nanoshell": "active", "stranger": "disabled"}


def test_the_commands_themselves_come_back(say: Any) -> None:
    code, _, err = say("plugin", "disable", "notes", "commands")
    assert (code, "the way back is: nanoshell plugin enable commands" in err) == (2, True)
    assert open_session().settings.get("disabled_plugins") == []
    assert say("plugin", "disable", "commands", "--force")[0] == 0
    assert say("show", "device")[0] == 2
    assert say("plugin", "enable", "commands")[0] == 0
    assert say("show", "device")[0] == 0


@pytest.mark.parametrize("command", ["show", "disable", "enable", "uninstall"])
def test_an_unknown_name_is_told_with_the_nearest(say: Any, command: str) -> None:
    code, out, err = say("plugin", command, "sampler")
    assert (code, out) == (2, "")
    assert "unknown plugin 'sampler'; did you mean 'samplers'?" in err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("torch", "plugin 'torch' is a part of nanoshell"),
        ("click", "click is installed, and is no plugin of nanoshell"),
        ("mine", "plugin 'mine' is no installed package"),
    ],
)
def test_what_is_no_plugin_of_others_is_not_removed(
    write_plugin: Write, plugins_folder: Path, hello: Hello, say: Any, name: str, said: str
) -> None:
    write_plugin("mine", hello("mine"))
    code, _, err = say("--plugins-dir", str(plugins_folder), "plugin", "uninstall", name, "--yes")
    assert code == 2
    assert said in err
    assert "$ " not in err


def test_pip_and_uv_are_asked_for_the_same_each_in_its_words(tmp_path: Path) -> None:
    pip, uv = Installer("pip", ("python", "-m", "pip")), Installer("uv", ("uv", "pip"))
    file = tmp_path / "c.txt"
    assert pip.install(["a", "./b"], file, editable=True)[-6:] == [
        "--constraint", str(file), "--editable", "a", "--editable", "./b",
    ]  # fmt: skip
    assert "--upgrade" not in pip.install(["a"], file)
    assert pip.install(["a"], file, upgrade=True)[-2:] == ["--upgrade", "a"]
    only = pip.install(["a"], file).index("--upgrade-strategy")
    assert pip.install(["a"], file)[only + 1] == "only-if-needed"
    where = ["--python", sys.executable]
    assert uv.install(["a"], file) == ["uv", "pip", "install", *where, "--constraint", str(file), "a"]
    assert uv.install(["a"], file, upgrade=True)[-3:] == ["--upgrade-package", "a", "a"]
    assert uv.uninstall("a") == ["uv", "pip", "uninstall", *where, "a"]
    assert pip.uninstall("a") == [
        "python", "-m", "pip", "uninstall", "--yes", "--disable-pip-version-check", "a",
    ]  # fmt: skip


def test_torch_and_nanoshell_are_held_as_they_are() -> None:
    assert held_versions() == [f"torch=={version('torch')}", f"nanoshell=={version('nanoshell')}"]


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Pretend an environment: made by uv or not, with or without the programs pip and uv."""

    def pretend(*, config: str = "", installer: str = "pip", pip: bool = True, uv: bool = True) -> None:
        (tmp_path / "pyvenv.cfg").write_text(f"home = /usr/bin\n{config}")
        monkeypatch.setattr(sys, "prefix", str(tmp_path))
        monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}" if uv and name == "uv" else None)
        monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if pip else None)
        monkeypatch.delenv("UV", raising=False)
        monkeypatch.setattr(PathDistribution, "read_text", lambda self, name: f"{installer}\n")

    return pretend


@pytest.mark.parametrize(
    ("given", "program"),
    [
        ({"config": "uv = 0.5.1\n"}, "uv"),
        ({"installer": "uv"}, "uv"),
        ({}, "pip"),
        ({"pip": False}, "uv"),
        ({"config": "uv = 0.5.1\n", "uv": False}, "pip"),
        ({"config": "version = 3.12\nprompt = uv\n"}, "pip"),
    ],
)
def test_who_made_the_environment_installs(environment: Any, given: dict[str, Any], program: str) -> None:
    environment(**given)
    assert find_installer().name == program


def test_without_any_installer_it_is_said_what_to_get(environment: Any) -> None:
    environment(config="uv = 0.5.1\n", pip=False, uv=False)
    with pytest.raises(NanoshellError, match="uv made this environment") as caught:
        find_installer()
    assert "ensurepip" in caught.value.hint


def checks(say: Any, *options: str) -> tuple[int, dict[tuple[str, str], dict[str, Any]]]:
    """Return the exit code of the doctor, and its checks by area and name, as its schema has them."""
    told = json.loads(say("--safe", "spec", "plugin", "doctor", "--json")[1])
    (command,) = told["commands"]
    schema = jsonschema.Draft202012Validator({**command["lines"], "$defs": told["$defs"]})
    code, out, _ = say(*options, "plugin", "doctor", "--json")
    found = [json.loads(line) for line in out.splitlines()]
    for check in found:
        schema.validate(check)
    return code, {(check["area"], check["name"]): check for check in found}


def test_a_doctor_finds_each_disease(
    install: Install,
    write_plugin: Write,
    plugins_folder: Path,
    hello: Hello,
    say: Any,
    seen_by_children: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nanoshell_commands.environment._TORCH", "print('not today')")
    monkeypatch.delitem(sys.modules, "nanoshell_plugins_dir_loud", raising=False)  # another test's
    say("set", "disabled_plugins", "off,nothing")
    install("nanoshell-well", "1.5", {"well": "well_plugin"}, hello("well"))
    install("nanoshell-bad", "1", {"bad": "bad_plugin"}, "import no_such_library")
    install("nanoshell-end", "1", {"end": "end_plugin"}, "import os\nprint('bye', flush=True)\nos._exit(7)")
    install("nanoshell-kill", "1", {"kill": "kill_plugin"}, "import os\nos.kill(os.getpid(), 11)")
    install("nanoshell-off", "1", {"off": "off_plugin"}, "raise ValueError")
    write_plugin("clash", hello("well"))
    write_plugin("loud", "print('HELLO')\n" + hello("loud") + "\n@hookimpl\ndef register_command(): pass\n")
    write_plugin("newer", f"nanoshell_api = 99\n{hello('newer')}")
    monkeypatch.chdir(plugins_folder.parent)
    code, found = checks(say, "--plugins-dir", plugins_folder.name)
    assert code == 1
    plugins = {name: check for (area, name), check in found.items() if area == "plugins"}
    broken = {name: check["text"] for name, check in plugins.items() if check["verdict"] == "broken"}
    assert not any(
        check["verdict"] == "broken" for (area, _), check in found.items() if area == "environment"
    )
    assert set(broken) == {"bad", "end", "kill", "clash", "newer"}
    assert "ModuleNotFoundError: No module named 'no_such_library' (bad_plugin.py:1)" in broken["bad"]
    assert broken["end"] == "loading ended the process with code 7; it said: bye"
    assert broken["kill"] == "loading ended the process by SIGSEGV"
    assert "'well' is registered twice: by 'well' and by 'clash'" in broken["clash"]
    assert "needs version 99 of the plugin interface" in broken["newer"]
    assert plugins["well"]["registered"] == {"commands": ["well"]}
    assert plugins["well"]["verdict"] == "good"
    assert plugins["loud"]["verdict"] == "warning"
    assert "did you mean 'register_commands'?" in plugins["loud"]["text"]
    assert "it prints while it is loaded: HELLO" in plugins["loud"]["text"]
    assert plugins["off"]["verdict"] == "good"
    assert "there is no plugin of that name" in plugins["nothing"]["text"]
    assert found["environment", "torch"]["text"] == "not today"
    assert plugins["torch"]["registered"].keys() >= {"backends", "optimizers", "mixers"}
    # A look at one name: threads of other tests may import meanwhile, and iterating would fail.
    assert "nanoshell_plugins_dir_loud" not in sys.modules


def test_where_all_is_well_the_doctor_says_so(say: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanoshell_commands.environment._TORCH", "print('not today')")
    code, out, _ = say("plugin", "doctor")
    assert code == 0
    assert out.endswith("nothing is broken\n")
    assert "not today" in out


def test_a_broken_torch_is_found(say: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanoshell_commands.environment._TORCH", "import no_such_torch")
    code, out, _ = say("plugin", "doctor")
    assert code == 1
    assert "No module named 'no_such_torch'" in out


@pytest.mark.parametrize("signal_number", [signal.SIGRTMIN + 3, signal.SIGUSR1])
def test_a_signal_that_ended_loading_is_told_whether_or_not_it_has_a_name(
    write_plugin: Write, plugins_folder: Path, signal_number: int
) -> None:
    path = write_plugin("shot", f"import os\nos.kill(os.getpid(), {int(signal_number)})")
    found = check_plugins(PluginInfo("shot", "", str(path), "file"), plugins_dir=str(plugins_folder))
    by = "SIGUSR1" if signal_number == signal.SIGUSR1 else f"signal {signal.SIGRTMIN + 3}"
    assert found.death == f"loading ended the process by {by}"


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["nanoshell-one"], True),
        (["nanoshell_One[fast, slow]==1.5; python_version > '3'"], True),
        (["Nanoshell.one>=1"], True),
        (["nanoshell-one ~= 1.0"], True),
        (["nanoshell-one @ https://example.org/x"], True),
        (["https://example.org/nanoshell_one-1.5-py3-none-any.whl"], True),
        (["dist/nanoshell_one-1.5-py3-none-any.whl"], True),
        (["~/nanoshell-one-1.5.tar.gz"], True),
        (["nanoshell-one-more", "nanoshell"], False),
        (["git+https://example.org/one.git"], False),
        (["."], False),
    ],
)
def test_what_is_asked_for_is_told_by_its_name(
    install: Install, hello: Hello, words: Any, meant: bool
) -> None:
    install("nanoshell-one", "1.5", {"one": "one_plugin"}, hello("one"))
    assert asked_for("nanoshell-one", words) is meant


@pytest.mark.parametrize(
    ("origin", "word"),
    [
        ("https://example.org/one.git", "git+https://me@example.org/one.git@v2#subdirectory=x"),
        ("ssh://git@example.org/one.git", "git+ssh://git@example.org/one.git"),
        ("https://example.org/one.git", "one @ git+https://example.org/one.git@main"),
        ("file:///HERE", "."),
        ("file:///HERE", ".[fast]"),
        ("file:///HERE", "file:///HERE"),
        ("file:///HERE/a%20b", "./a b"),
    ],
)
def test_what_has_no_name_is_told_by_its_origin(
    install: Install, hello: Hello, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: str, word: str
) -> None:
    site = install("nanoshell-one", "1.5", {"one": "one_plugin"}, hello("one"))
    noted = site / "nanoshell_one-1.5.dist-info" / "direct_url.json"
    here = str(tmp_path.resolve()).lstrip("/")
    noted.write_text(json.dumps({"url": origin.replace("HERE", here)}))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    asked = as_path(word.replace("HERE", here))
    assert asked_for("nanoshell-one", [asked])
    noted.write_text(json.dumps({"url": "https://example.org/other"}))
    assert not asked_for("nanoshell-one", [asked])


def test_an_install_of_what_is_there_and_of_what_is_disabled_tells_that(
    install: Install, hello: Hello, say: Any, seen_by_children: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanoshell_commands.installing.run", lambda command, failure: None)
    install("nanoshell-one", "1.5", {"one": "one_plugin"}, hello("one"))
    _, out, _ = say("plugin", "install", "nanoshell-one==1.5", "--json")
    assert [(told["name"], told["state"]) for told in json.loads(out)] == [("one", "active")]
    say("plugin", "disable", "one")
    _, out, _ = say("plugin", "install", "nanoshell-one>=1", "--json")
    assert [(told["name"], told["state"]) for told in json.loads(out)] == [("one", "disabled")]
    _, out, _ = say("plugin", "install", "nanoshell-one[all]")
    assert out == "one 1.5 is installed, and disabled; to have it: nanoshell plugin enable one\n"
    assert "no plugin came with click" in say("plugin", "install", "click")[2]


def test_loading_that_does_not_end_is_ended(write_plugin: Write, plugins_folder: Path) -> None:
    path = write_plugin("stuck", "import time\nprint('stuck', flush=True)\ntime.sleep(600)")
    stuck = PluginInfo("stuck", "", str(path), "file")
    found = check_plugins(stuck, plugins_dir=str(plugins_folder), patience=2)
    assert (found.infos, found.death) == ((), "loading did not end within 2 s")


def test_what_a_plugin_leaves_running_does_not_keep_the_check(
    write_plugin: Write, plugins_folder: Path, hello: Hello
) -> None:
    code = "import threading\nthreading.Thread(target=threading.Event().wait).start()\n"
    path = write_plugin("thread", code + hello("thread"))
    (found,) = check_plugins(
        PluginInfo("thread", "", str(path), "file"), plugins_dir=str(plugins_folder)
    ).infos
    assert found.state == "active"
