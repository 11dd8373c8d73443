"""`config`: the settings file by hand; a file that is broken is told, and costs nobody the shell."""

from __future__ import annotations

import json
import shlex
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, strategies as st

from nanoshell import paths
from nanoshell.settings import Settings
from nanoshell.settings_text import line_of, with_value

Program = Callable[..., Any]


@pytest.fixture
def file() -> Path:
    path = paths.config_dir() / "settings.toml"
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture
def editor(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make the user's editor one that replaces the whole file by a text, and writes to stdout meanwhile."""

    def use(text: str) -> None:
        code = f"import sys; open(sys.argv[1], 'w').write({text!r}); print('drawn on the screen')"
        monkeypatch.setenv("EDITOR", f"{sys.executable} -c {shlex.quote(code)}")
        monkeypatch.delenv("VISUAL", raising=False)

    return use


def test_the_path_is_printed_whether_there_is_a_file_or_not(program: Program) -> None:
    assert program("config", "path").out == f"{paths.config_dir() / 'settings.toml'}\n"
    assert json.loads(program("config", "show", "--json").out)["exists"] is False


def test_what_is_edited_holds_at_once(program: Program, editor: Any, file: Path) -> None:
    editor("# mine\ntop_k = 7  # few\n")
    result = program("config", "edit", "--json")
    told = json.loads(result.out)
    assert (result.code, told["problems"], told["unknown"]) == (0, [], [])
    assert json.loads(program("show", "top_k", "--json").out)["value"] == 7
    program("set", "top_k", "9")
    program("set", "device", "cpu")
    assert file.read_text() == '# mine\ntop_k = 9  # few\ndevice = "cpu"\n'
    program("unset", "top_k")
    assert program("config", "show").out == '# mine\ndevice = "cpu"\n'


def test_a_new_file_names_all_that_can_be_set_and_goes_where_nothing_was(
    program: Program, monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    seen = file.with_name("seen")
    code = f"import shutil, sys; shutil.copy(sys.argv[1], {str(seen)!r})"
    monkeypatch.setenv("VISUAL", f"{sys.executable} -c {shlex.quote(code)}")
    assert program("config", "edit").code == 0
    lines = [line.removeprefix("# ") for line in seen.read_text().splitlines()[1:]]
    written = tomllib.loads("\n".join(lines))
    defaults = {setting.name: setting.default for setting in Settings(None)}
    assert {name: written.get(name) for name in defaults} == defaults
    assert "temperature" in written
    assert not file.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('device = "cpu"\ntop_k == 3\n', "settings.toml:2: invalid value in 'top_k == 3'"),
        ('device = "cpu"\n\ntop_k = "many"\n', "settings.toml:3: top_k must be a whole number"),
        ('theme = "x"\ntop_k = -1\n', "settings.toml:2: top_k must be a whole number at least 0"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_the_text_is_kept(
    program: Program, editor: Any, file: Path, text: str, said: str
) -> None:
    editor(text)
    result = program("config", "edit")
    assert (result.code, result.out) == (2, "")
    assert said in result.err
    assert "your text is kept" in result.err
    assert file.read_text() == text


BROKEN = 'device = "cpu"\ntop_k == 3\n'


def test_a_broken_file_costs_nobody_the_shell(program: Program, editor: Any, file: Path) -> None:
    file.write_text(BROKEN)
    for line in (("show", "top_k"), ("--safe", "show", "top_k"), ("config", "path"), ("-c", ":show top_k")):
        result = program(*line)
        assert result.code == 0
        assert "settings.toml:2: invalid value" in result.err
        assert "mend it with: " in result.err
    refused = program("set", "top_k", "3")
    assert (refused.code, file.read_text()) == (2, BROKEN)
    editor("top_k = 3\n")
    assert program("config", "edit").code == 0
    assert program("show", "top_k").err == ""


def test_of_a_file_with_one_wrong_value_the_others_hold(program: Program, file: Path) -> None:
    file.write_text('top_k = "many"\ntemperature = 0.25\n')
    result = program("show", "temperature", "--json")
    assert json.loads(result.out)["value"] == 0.25
    assert "settings.toml:1: top_k must be a whole number" in result.err
    assert "its default is used" in result.err
    assert program("set", "top_k", "3").code == 0
    assert program("show", "top_k").err == ""


def test_names_that_no_setting_has_are_told_with_the_nearest(program: Program, editor: Any) -> None:
    editor("temprature = 1\n")
    result = program("config", "edit")
    assert result.code == 0
    assert "no setting is called 'temprature'; did you mean 'temperature'?" in result.err


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            "no-such-editor-anywhere",
            "the editor of the variable VISUAL is not there: no-such-editor-anywhere",
        ),
        ("false", "the editor false ended with code 1"),
        ("vi 'unclosed", "is not there: vi 'unclosed"),
    ],
)
def test_an_editor_that_fails_is_told(
    program: Program, monkeypatch: pytest.MonkeyPatch, value: str, said: str
) -> None:
    monkeypatch.setenv("VISUAL", value)
    result = program("config", "edit")
    assert result.code == 2
    assert said in result.err


NAMES = st.sampled_from(["alpha", "beta", "gamma"])
VALUES = st.one_of(
    st.integers(-5, 5), st.text("ab#'\"=[]\n", max_size=6), st.lists(st.text("a#", max_size=2))
)
BESIDE = st.lists(
    st.sampled_from(["# alpha = 1", "", "  # note", "delta = [\n  1, # one\n  2,\n]", "[table]"])
)


@given(st.dictionaries(NAMES, VALUES), BESIDE, NAMES, st.none() | VALUES)
def test_a_change_of_one_value_leaves_all_others(
    values: dict[str, Any], beside: list[str], name: str, value: Any
) -> None:
    import tomli_w

    lines = [tomli_w.dumps({key: kept}).strip() for key, kept in values.items()]
    text = "\n".join([*lines[:1], *dict.fromkeys(beside), *lines[1:]])
    try:
        before = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        assume(False)
    after = tomllib.loads(with_value(text, name, value))
    wanted = {key: kept for key, kept in before.items() if key != name}
    assert after == (wanted if value is None else wanted | {name: value})


def test_what_stands_around_a_value_stays() -> None:
    text = "# top\nalpha = 1  # one\n\n'beta' = 2\n[table]\nalpha = 3\n"
    assert with_value(text, "alpha", 5) == text.replace("alpha = 1", "alpha = 5")
    assert with_value(text, "beta", None) == text.replace("'beta' = 2\n", "")
    assert with_value(text, "gamma", "c") == text.replace("[table]", 'gamma = "c"\n[table]')
    assert (line_of(text, "beta"), line_of(text, "table")) == (4, None)
