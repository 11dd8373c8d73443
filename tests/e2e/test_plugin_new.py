"""A new plugin's first minute: written, installed without network, loaded, its own tests passed, removed.

It happens in an environment of its own, which sees this one's libraries and installs nothing into it.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import jsonschema
import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment in which nanoshell, pip and all libraries of this one are found."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    command = [sys.executable, "-m", "venv", "--without-pip", str(folder)]
    subprocess.run(command, check=True, timeout=300)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    _see_this_one(folder / "lib" / version / "site-packages")
    return folder / "bin" / "python"


def _see_this_one(site: Path) -> None:
    """Let an environment see the libraries of this one."""
    here = sysconfig.get_path("purelib")
    # addsitedir and not a path alone: an editable nanoshell is found through a .pth file of that folder.
    (site / "this_one.pth").write_text(f"import site; site.addsitedir({here!r})\n")


def _environ(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which pip and uv have no network and build with the libraries of this one."""
    (tmp_path / "links").mkdir()
    offline = {
        "PIP_NO_INDEX": "1",
        # It sets the option --no-build-isolation to false, which means: do not isolate.
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_FIND_LINKS": str(tmp_path / "links"),
        "PIP_CACHE_DIR": str(tmp_path / "cache"),
        "UV_OFFLINE": "1",
        "UV_NO_INDEX": "1",
        "UV_NO_BUILD_ISOLATION": "1",
        "UV_CACHE_DIR": str(tmp_path / "cache-of-uv"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    inherited = {name: value for name, value in os.environ.items() if name not in ("UV", "VIRTUAL_ENV")}
    return {**inherited, **offline}


def _running(python: Path, folder: Path, env: dict[str, str]) -> Run:
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(python), *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=300
        )

    return call


@pytest.fixture
def run(python: Path, tmp_path: Path) -> Run:
    """Run that Python in the folder of the test. Who made this environment may have uv; here pip works."""
    env = _environ(tmp_path)
    folders = [folder for folder in env["PATH"].split(os.pathsep) if not shutil.which("uv", path=folder)]
    return _running(python, tmp_path, {**env, "PATH": os.pathsep.join(folders)})


@pytest.fixture
def run_beside_uv(tmp_path: Path) -> Run:
    """Run the Python of an environment that uv has made.

    uv looks at no other folder for what is installed, so that nanoshell and torch stand there by their names.
    """
    env = _environ(tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    command = ["uv", "venv", "--python", sys.executable, str(tmp_path / "venv")]
    subprocess.run(command, env=env, check=True, capture_output=True, timeout=300)
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    _see_this_one(site)
    for name in ("nanoshell", "torch"):
        real = distribution(name)
        folder = site / f"{name}-{real.version}.dist-info"
        folder.mkdir()
        folder.joinpath("METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {real.version}\n"
        )
        folder.joinpath("entry_points.txt").write_text(real.read_text("entry_points.txt") or "")
        folder.joinpath("RECORD").touch()
    return _running(python, tmp_path, env)


def held_against_its_schema(run: Run, command: str, printed: str) -> Any:
    """Return the document that ``command`` has printed, which is as ``spec`` describes it."""
    told = json.loads(run("-m", "nanoshell", "spec", *command.split(), "--json").stdout)
    schema = {**told["commands"][0]["document"], "$defs": told["$defs"]}
    document = json.loads(printed)
    jsonschema.Draft202012Validator(schema).validate(document)
    return document


def test_a_new_plugin_installs_loads_and_passes_its_own_tests_at_once(run: Run, tmp_path: Path) -> None:
    made = run("-m", "nanoshell", "plugin", "new", "my-haiku", "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["distribution"] == "nanoshell-my-haiku"

    done = run("-m", "nanoshell", "plugin", "install", "nanoshell-my-haiku")  # a folder, told from a name
    assert done.returncode == 0, done.stderr
    assert done.stdout == "my-haiku 0.1.0 is installed: 1 command, 1 source, 1 sampler\n"
    shown = done.stderr.splitlines()[0]
    assert shown.startswith("$ ")
    assert "-m pip install" in shown
    assert "--upgrade-strategy only-if-needed --constraint" in shown

    rows = {row["name"]: row for row in json.loads(run("-m", "nanoshell", "plugin", "--json").stdout)}
    assert (rows["my-haiku"]["state"], rows["my-haiku"]["version"]) == ("enabled", "0.1.0")
    counted = run("-m", "nanoshell", "my-haiku", "to be or not", "--json")
    assert counted.stderr == ""
    assert json.loads(counted.stdout)["words"] == 4

    code = (
        "from importlib.metadata import entry_points\n"
        "(point,) = entry_points(group='nanoshell', name='my-haiku')\n"
        "from nanoshell import open_session\n"
        "plugins = open_session().plugins\n"
        "assert point.load() is __import__('nanoshell_my_haiku')\n"
        "(info,) = [i for i in plugins.infos if i.name == 'my-haiku']\n"
        "assert 'torch' not in __import__('sys').modules\n"
        "print(info.state, info.reason, plugins.warnings, point.load().__file__)"
    )
    loaded = run("-c", code).stdout
    assert loaded.startswith("active  [] ")
    assert "site-packages" in loaded  # what was installed, not the folder in which we are

    tests = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "nanoshell-my-haiku")
    assert tests.returncode == 0, tests.stdout
    assert "8 passed" in tests.stdout

    again = run("-m", "nanoshell", "plugin", "install", "nanoshell-my-haiku==0.1.0", "--json")  # it is there
    (told,) = held_against_its_schema(run, "plugin install", again.stdout)
    assert (told["name"], told["state"], told["registered"]["commands"]) == (
        "my-haiku",
        "active",
        ["my-haiku"],
    )

    gone = run("-m", "nanoshell", "plugin", "uninstall", "my-haiku", "--yes", "--json")
    assert gone.returncode == 0, gone.stderr
    removed = held_against_its_schema(run, "plugin uninstall", gone.stdout)
    assert removed == {"distribution": "nanoshell-my-haiku", "plugins": ["my-haiku"]}
    assert "my-haiku" not in run("-m", "nanoshell", "plugin", "--json").stdout


@pytest.mark.skipif(not shutil.which("uv"), reason="needs uv on the PATH: pip install uv")
def test_in_an_environment_of_uv_uv_does_it(run_beside_uv: Run, tmp_path: Path) -> None:
    run = run_beside_uv
    assert run("-m", "nanoshell", "plugin", "new", "my-haiku").returncode == 0
    for folder in ("nanoshell-my-haiku", "./nanoshell-my-haiku"):  # the second time it is there
        done = run("-m", "nanoshell", "plugin", "install", folder, "--json")
        assert done.returncode == 0, done.stderr
        assert "uv pip install --python" in done.stderr.splitlines()[0]
        (told,) = held_against_its_schema(run, "plugin install", done.stdout)
        assert (told["name"], told["version"], told["state"]) == ("my-haiku", "0.1.0", "active")
    counted = run("-m", "nanoshell", "my-haiku", "to be or not", "--json")
    assert json.loads(counted.stdout)["words"] == 4

    project = tmp_path / "nanoshell-my-haiku" / "pyproject.toml"
    project.write_text(project.read_text().replace("dependencies = [", 'dependencies = ["torch>=99", '))
    refused = run("-m", "nanoshell", "plugin", "install", "./nanoshell-my-haiku")
    assert refused.returncode == 1
    assert "uv could not install" in refused.stderr
    assert "torch>=99" in refused.stderr

    gone = run("-m", "nanoshell", "plugin", "uninstall", "my-haiku", "--yes")
    assert gone.returncode == 0, gone.stderr
    assert "uv pip uninstall --python" in gone.stderr.splitlines()[0]
    assert "my-haiku" not in run("-m", "nanoshell", "plugin", "--json").stdout


def test_no_install_replaces_torch(run: Run, tmp_path: Path) -> None:
    """There is a newer torch to be had, and a plugin that wants it: pip would take it, were it not held."""
    wheel = tmp_path / "links" / "torch-2.13.99-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(
            "torch-2.13.99.dist-info/METADATA", "Metadata-Version: 2.1\nName: torch\nVersion: 2.13.99\n"
        )
        tag = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr("torch-2.13.99.dist-info/WHEEL", tag)
        archive.writestr("torch-2.13.99.dist-info/RECORD", "")
    assert run("-m", "nanoshell", "plugin", "new", "greedy").returncode == 0
    project = tmp_path / "nanoshell-greedy" / "pyproject.toml"
    wanting = project.read_text().replace("dependencies = [", 'dependencies = ["torch>=2.13.99", ')
    project.write_text(wanting)
    done = run("-m", "nanoshell", "plugin", "install", "./nanoshell-greedy")
    assert done.returncode == 1
    assert "pip could not install" in done.stderr
    assert "torch>=2.13.99" in done.stderr
    assert json.loads(run("-m", "nanoshell", "plugin", "--json").stdout)[-1]["name"] != "greedy"

    unheld = run("-m", "pip", "install", "--dry-run", "./nanoshell-greedy")
    assert "Would install" in unheld.stdout
    assert "torch-2.13.99" in unheld.stdout


@pytest.mark.parametrize("name", ["x", "haiku", "a-rather-long-name-of-a-plugin-2"])
def test_the_code_of_a_new_plugin_is_clean(run: Run, tmp_path: Path, name: str) -> None:
    made = run("-m", "nanoshell", "plugin", "new", name, "--dir", "somewhere/else")
    assert made.returncode == 0, made.stderr
    folder = tmp_path / "somewhere" / "else" / f"nanoshell-{name}"
    for check in (["ruff", "check", "--no-cache", "."], ["ruff", "format", "--no-cache", "--check", "."]):
        done = subprocess.run(
            [sys.executable, "-m", *check], cwd=folder, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout
    text = "".join(path.read_text() for path in folder.rglob("*.*"))
    assert "MODULE" not in text
    assert "$" not in text.replace("$ ", "")


@pytest.mark.campaign
def test_the_code_of_a_new_plugin_keeps_strict_types(run: Run, tmp_path: Path) -> None:
    assert run("-m", "nanoshell", "plugin", "new", "haiku").returncode == 0
    # With the options of this repository, whose check has kept what it knows of torch and nanoshell.
    config = Path(__file__).parents[2] / "pyproject.toml"
    cache = config.with_name(".mypy_cache")
    options = ["--config-file", str(config), "--cache-dir", str(cache), "--follow-imports", "silent"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "nanoshell_haiku", "tests"],
        cwd=tmp_path / "nanoshell-haiku",
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("My_Data", "did you mean 'my-data'?"),
        ("3d-", "did you mean 'd'?"),
        ("../up", "did you mean 'up'?"),
        ("-", "'-' cannot be the name of a plugin"),
        ("", "cannot be the name of a plugin"),
        ("train", "there is a command 'train' already"),
        ("generate", "there is a command 'generate' already"),
        ("samplers", "there is a plugin 'samplers' already"),
        ("nano-start", "there is a data source 'nano-start' already"),
    ],
)
def test_a_name_that_cannot_be_is_refused(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nanoshell.cli import run as program

    monkeypatch.chdir(tmp_path)
    assert program(["plugin", "new", name]) == 2
    assert said.lower() in capsys.readouterr().err.lower()
    assert list(tmp_path.iterdir()) == []


def test_the_next_steps_can_be_typed_whatever_the_folder_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nanoshell.cli import run as program

    monkeypatch.chdir(tmp_path)
    assert program(["plugin", "new", "haiku", "--dir", "of mine's", "--json"]) == 0
    install, tests, *_ = json.loads(capsys.readouterr().out)["next"]
    assert Path(shlex.split(install)[-1]).joinpath("pyproject.toml").is_file()
    assert shlex.split(tests)[-1] == shlex.split(install)[-1]


def test_a_folder_that_exists_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nanoshell.cli import run as program

    monkeypatch.chdir(tmp_path)
    (tmp_path / "nanoshell-haiku").mkdir()
    assert program(["plugin", "new", "haiku"]) == 2
    assert "nanoshell-haiku exists" in capsys.readouterr().err
    assert list((tmp_path / "nanoshell-haiku").iterdir()) == []


def test_the_scaffold_travels_in_the_wheel(tmp_path: Path) -> None:
    """hatchling packs whole folders, and every file of the scaffold must be among what it packs."""
    from hatchling.builders.wheel import WheelBuilder

    root = Path(__file__).parents[2]
    packed = {file.distribution_path for file in WheelBuilder(str(root)).recurse_included_files()}
    scaffold = root / "plugins" / "nanoshell_commands" / "scaffold"
    wanted = {f"nanoshell_commands/scaffold/{path.relative_to(scaffold)}" for path in scaffold.rglob("*.txt")}
    assert len(wanted) == 8
    assert wanted <= packed
