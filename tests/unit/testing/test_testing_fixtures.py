"""The fixtures: isolated, light to load, and a session that says what was printed."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

import nanoshell.testing
from nanoshell import PluginError, find_run, hookimpl, open_source
from nanoshell.testing import Shell, TinyDataset, open_shell, train_model
from nanoshell.testing.dataset import LINES, TURNS

Open = Callable[..., Shell]


def plugin(*commands: click.Command, **notices: Callable[..., None]) -> types.ModuleType:
    made = types.ModuleType("made")

    @hookimpl
    def register_commands(register: Any) -> None:
        for command in commands:
            register(command)

    made.register_commands = register_commands  # type: ignore[attr-defined]
    for name, notice in notices.items():
        setattr(made, name, hookimpl(notice))
    return made


def test_loading_the_pytest_plugin_costs_nothing_and_does_nothing(tmp_path: Path) -> None:
    """In a project that has nothing to do with nanoshell: no heavy module, no fixture that acts by itself."""
    (tmp_path / "test_else.py").write_text(
        "import os, sys\n"
        "def test_else(request):\n"
        "    heavy = {'torch', 'click', 'numpy', 'rich', 'prompt_toolkit', 'pydantic', 'nanoshell.session'}\n"
        "    assert 'nanoshell.testing.fixtures' in sys.modules\n"
        "    assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "    assert 'NANOSHELL_HOME' not in os.environ\n"
        "    assert request.fixturenames == ['request']\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "nanoshell.testing.fixtures",
    ]
    environment = {"PATH": "", "PYTHONPATH": ":".join(sys.path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [*command, "--rootdir", ".", "test_else.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_names_of_the_kit_are_there() -> None:
    names = [name for name in dir(nanoshell.testing) if name in nanoshell.testing._HOME]
    assert sorted(names) == sorted(nanoshell.testing._HOME)
    for name in names:
        assert getattr(nanoshell.testing, name).__doc__, name
    with pytest.raises(AttributeError, match="check_everything"):
        nanoshell.testing.check_everything  # noqa: B018


def test_the_home_is_fresh(nanoshell_home: Path, nanoshell_session: Open) -> None:
    assert list(nanoshell_home.iterdir()) == []
    assert nanoshell_session()(":set temperature 0.3").code == 0
    assert (nanoshell_home / "config" / "settings.toml").is_file()


def test_plugins_are_loaded_beside_ours_and_nothing_is_forgiven(nanoshell_plugins: Any) -> None:
    mine = plugin(click.Command("mine", callback=lambda: None))
    plugins = nanoshell_plugins(mine)
    assert plugins.commands.entry("mine").provider == "made"
    assert "nano-start" in plugins.sources
    mine.register_comands = mine.register_commands
    with pytest.raises(PluginError, match="did you mean 'register_commands'"):
        nanoshell_plugins(mine)


def test_the_dataset_is_two_files(nanoshell_dataset: TinyDataset, nanoshell_plugins: Any) -> None:
    sources = nanoshell_plugins().sources
    (text,) = open_source(str(nanoshell_dataset.text), sources).documents()
    assert text.text.splitlines() == list(LINES)
    conversations = list(open_source(str(nanoshell_dataset.messages), sources).documents())
    assert [tuple(turn.content for turn in one.messages) for one in conversations] == list(TURNS)


def test_the_model_answers_as_it_was_taught(nanoshell_model: Path, nanoshell_session: Open) -> None:
    for question, answer in TURNS:
        shell = nanoshell_session(model=nanoshell_model)
        assert shell(":set temperature 0").code == 0
        assert shell(question).out == f"{answer}\n"


def test_equal_models_come_of_equal_calls(tmp_path: Path) -> None:
    weights = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        weights.append((train_model(tmp_path / name, steps=2) / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_lines_share_a_session(nanoshell_session: Open, tmp_path: Path) -> None:
    shell = nanoshell_session()
    said = shell(":set top_k 5")
    assert (said.code, said.err) == (0, "")
    assert shell(":show top_k --json").json["value"] == 5
    assert Path.cwd() == tmp_path
    assert shell.session.settings.number("top_k") == 5


def test_a_line_that_fails_ends_the_others(nanoshell_session: Open) -> None:
    said = nanoshell_session()(":tokens a", ":tokns b", ":tokens c")
    assert said.code == 2
    assert said.out.count("\n") >= 1
    assert "did you mean 'tokens'" in said.err
    with pytest.raises(AssertionError, match="this is no JSON"):
        said.json  # noqa: B018


def test_standard_input_is_given(nanoshell_session: Open) -> None:
    echo = click.Command("echo", callback=lambda: sys.stdin.read().upper())
    assert nanoshell_session(plugin(echo))(":echo", stdin="größe\n").out == "GRÖSSE\n"


def test_streams_are_lines(nanoshell_session: Open) -> None:
    class Two:
        def show(self, screen: Any) -> None: ...

        def document(self) -> None:
            return None

        def lines(self) -> Any:
            yield from ({"n": 1}, {"n": 2})

    shell = nanoshell_session(plugin(click.Command("two", callback=Two)))
    assert shell(":two --json").lines == [{"n": 1}, {"n": 2}]


def test_notices_are_heard(nanoshell_session: Open) -> None:
    def session_started(session: Any) -> None:
        session.narrator.note("good morning")

    assert nanoshell_session(plugin(session_started=session_started)).started.err == "good morning\n"


def test_the_run_is_where_the_session_looks(nanoshell_run: Any, nanoshell_session: Open) -> None:
    shell = nanoshell_session()
    assert find_run(shell.session.runs_dir, "latest").name == nanoshell_run.name == "tiny-1"
    assert "tiny-1" in shell(":runs").out


def test_data_and_plugins_of_a_folder_are_chosen(
    nanoshell_session: Open, nanoshell_dataset: TinyDataset, plugins_folder: Path, hello: Callable[[str], str]
) -> None:
    (plugins_folder / "hi.py").write_text(hello("hi"))
    shell = nanoshell_session(data=nanoshell_dataset.text, plugins_dir=plugins_folder)
    assert shell(":hi").out == "hi\n"
    assert str(nanoshell_dataset.text) in shell(":data info").out


def test_a_shell_can_be_opened_without_pytest(own_home: Path) -> None:
    shell = open_shell()
    assert shell(":tokens hi --json").json["ids"]
    shell.close()
