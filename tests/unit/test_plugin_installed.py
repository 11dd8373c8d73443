"""Entry points read from folders are those that the library of Python finds."""

from __future__ import annotations

import importlib.metadata
import sys
import zipfile
from pathlib import Path

import pytest

from nanoshell.plugin.installed import entry_points


def distribution(
    path: Path, folder: str, points: str, metadata: str = "Name: some-thing\nVersion: 1.5\n"
) -> None:
    (path / folder).mkdir(parents=True)
    (path / folder / "METADATA").write_text(metadata)
    (path / folder / "entry_points.txt").write_text(points)


@pytest.mark.parametrize("group", ["console_scripts", "pytest11", "nanoshell", "of nobody"])
def test_they_are_those_of_the_library(group: str) -> None:
    expected = [(point.name, point.value) for point in importlib.metadata.entry_points(group=group)]
    assert sorted((point.name, point.value) for point in entry_points(group)) == sorted(expected)


def test_of_a_distribution_that_stands_twice_on_the_path_the_first_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(
        tmp_path / "a", "some_thing-1.5.dist-info", "# x\n[other]\na = b\n[test-group]\none = math:pi\n"
    )
    distribution(tmp_path / "b", "Some.Thing-0.9.dist-info", "[test-group]\nolder = math\n")
    distribution(
        tmp_path / "b", "damaged-1.dist-info", "[test-group]\n two=math:sqrt [extra]\n", "\n\nName: no\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path / "a"), str(tmp_path / "b"), *sys.path])
    found = {point.name: point for point in entry_points("test-group")}
    assert found.keys() == {"one", "two"}
    assert (found["one"].distribution, found["one"].version) == ("some-thing", "1.5")
    assert (found["two"].distribution, found["two"].version) == ("unknown", "")
    assert round(float(str(found["one"].load())), 3) == 3.142
    assert callable(found["two"].load())


def test_where_an_archive_is_on_the_path_the_library_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        archive.writestr("packed-2.dist-info/METADATA", "Name: packed\nVersion: 2\n")
        archive.writestr("packed-2.dist-info/entry_points.txt", "[test-group]\nzipped = math:pi\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "packed.zip"), *sys.path])
    assert [(p.name, p.distribution, p.version) for p in entry_points("test-group")] == [
        ("zipped", "packed", "2")
    ]


@pytest.mark.parametrize("on_the_path", ["", "egged-3-py3.11.egg"])
def test_an_egg_is_seen_where_the_library_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_the_path: str
) -> None:
    info = tmp_path / "egged-3-py3.11.egg" / "EGG-INFO"
    info.mkdir(parents=True)
    (info / "PKG-INFO").write_text("Name: egged\nVersion: 3\n")
    (info / "entry_points.txt").write_text("[test-group]\nhatched = math:pi\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path / on_the_path), *sys.path])
    expected = [point.name for point in importlib.metadata.entry_points(group="test-group")]
    assert [(p.name, p.distribution, p.version) for p in entry_points("test-group")] == [
        (name, "egged", "3") for name in expected
    ]
    assert bool(expected) == bool(on_the_path)
