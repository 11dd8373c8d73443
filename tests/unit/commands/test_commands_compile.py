"""``set compile``: what a person sees of the compiled step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nanoshell.generation import native

SAMPLE = ("sample", "--max-tokens", "4", "--temperature", "0", "--json", "Hi")


def test_on_builds_it_and_all_can_see_that(nanoshell: Callable[..., Any], model: str) -> None:
    if native.compiler() is None:
        pytest.skip("there is no C++ compiler")
    nanoshell("set", "compile", "off")
    assert nanoshell("model", "load", model).code == 0
    plain = nanoshell(*SAMPLE)
    assert (plain.json["compiled"], plain.err) == (False, "")
    nanoshell("set", "compile", "on")
    first = nanoshell(*SAMPLE)
    assert first.err.startswith("compiling the step of decoding")
    assert first.json["compiled"]
    assert first.json["ids"] == plain.json["ids"]
    nanoshell("set", "compile", "auto")
    second = nanoshell(*SAMPLE)
    assert (second.json["compiled"], second.err) == (True, "")
    details = nanoshell("model", "load", model, "--json").json
    assert (details["compiled"], details["not_compiled"]) == (True, None)


@pytest.mark.parametrize("mode", ["on", "auto"])
def test_only_who_asked_for_it_hears_that_there_is_no_compiler(
    mode: str, nanoshell: Callable[..., Any], model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    nanoshell("set", "compile", mode)
    loaded = nanoshell("model", "load", model, "--json")
    assert loaded.json["compiled"] is False
    assert loaded.json["not_compiled"].startswith("no C++ compiler was found")
    assert loaded.err.count("no C++ compiler was found") == (mode == "on")
    assert len(loaded.err.splitlines()) == (mode == "on")
    assert "no: no C++ compiler" in " ".join(nanoshell("model", "load", model).out.split())
