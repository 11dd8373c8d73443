"""`check_run_section` and `check_exporter`: a plain one passes, each broken one is told."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import pytest

from nanoshell import RunDirectory, rare_events
from nanoshell.testing import check_exporter, check_run_section, write_run
from nanoshell.testing.exporters import RULES as EXPORTER_RULES
from nanoshell.testing.sections import SECTION_RULES
from tests.unit.testing.broken import assert_told

CALLS = itertools.count()


def alerts(run: RunDirectory) -> list[str] | None:
    return [event["message"] for event in rare_events(run.events_path) if event["type"] == "alert"] or None


def unready(run: RunDirectory) -> str:
    return run.events_path.read_text()  # which a new run has not


def writing(run: RunDirectory) -> None:
    (run.path / "seen").write_text("yes")


def counting(run: RunDirectory) -> int:
    return next(CALLS)


class Unshowable:
    def __rich__(self) -> str:
        raise RuntimeError("no words")


class Plain:
    pass


BROKEN_SECTIONS: list[tuple[str, Any]] = [
    ("reads", unready),
    ("leaves alone", writing),
    ("again", counting),
    ("shows", lambda run: [UNSHOWABLE]),
    ("json", lambda run: KEPT),
]
KEPT, UNSHOWABLE = Plain(), Unshowable()


def test_a_section_that_keeps_every_rule(tmp_path: Path) -> None:
    check_run_section(alerts)
    seen: list[str] = []
    check_run_section(lambda run: seen.append(run.path.parent.name), write_run(tmp_path / "mine"))
    assert "mine" in seen


@pytest.mark.parametrize(("rule", "section"), BROKEN_SECTIONS)
def test_a_broken_section_is_told(rule: str, section: Any) -> None:
    assert_told(lambda: check_run_section(section), rule, SECTION_RULES)


def copy_weights(model_dir: Path, target: Path) -> None:
    target.write_bytes((model_dir / "model.safetensors").read_bytes())


def nowhere(model_dir: Path, target: Path) -> None: ...


def beside(model_dir: Path, target: Path) -> None:
    copy_weights(model_dir, target)
    target.with_suffix(".log").write_text("done")


def cleaning(model_dir: Path, target: Path) -> None:
    copy_weights(model_dir, target)
    (model_dir / "config.json").unlink(missing_ok=True)


def stamping(model_dir: Path, target: Path) -> None:
    target.write_text(str(next(CALLS)))


def at_home(model_dir: Path, target: Path) -> None:
    if Path(os.getcwd()) == target.parent.parent:  # noqa: PTH109
        raise FileNotFoundError("template.txt")
    copy_weights(model_dir, target)


BROKEN_EXPORTERS: list[tuple[str, Any]] = [
    ("writes", nowhere),
    ("writes", beside),
    ("leaves alone", cleaning),
    ("again", stamping),
    ("anywhere", at_home),
]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "config.json").write_text("{}")
    return folder


def test_an_exporter_that_keeps_every_rule(model: Path) -> None:
    check_exporter(copy_weights, model, suffix=".st")


@pytest.mark.parametrize(("rule", "factory"), BROKEN_EXPORTERS)
def test_a_broken_exporter_is_told(rule: str, factory: Any, model: Path) -> None:
    here = Path.cwd()
    assert_told(lambda: check_exporter(factory, model), rule, EXPORTER_RULES)
    assert Path.cwd() == here


def test_every_rule_is_broken_once() -> None:
    assert {rule for rule, _ in BROKEN_SECTIONS} == set(SECTION_RULES)
    assert {rule for rule, _ in BROKEN_EXPORTERS} == set(EXPORTER_RULES)
