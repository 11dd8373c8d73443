"""`check_backend` passes a plain one, also where there is no such device, and names each broken rule."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nanoshell import MemoryFigures
from nanoshell.testing import check_backend
from nanoshell.testing.backends import RULES
from tests.unit.testing.broken import assert_told


class Plain:
    name = "plain"

    def unavailable_reason(self) -> str | None:
        return None

    def describe(self) -> str:
        return "a plain processor"

    def device(self) -> Any:
        return torch.device("cpu")

    def default_dtype(self) -> str:
        return "float32"

    def supports_dtype(self, dtype: str) -> bool:
        return dtype in ("float32", "bfloat16")

    def memory(self) -> Any:
        return MemoryFigures(10, None, 100)

    def synchronize(self) -> Any:
        return None


def with_(**changes: Any) -> Any:
    """Return a class like `Plain` whose methods return other values; a callable is the method itself."""
    methods = {
        name: value if callable(value) else (lambda self, value=value: value)
        for name, value in changes.items()
    }
    return type("Changed", (Plain,), methods)


def fails(self: Any) -> Any:
    raise OSError("no driver")


BROKEN: list[tuple[str, Any]] = [
    ("builds", fails),
    ("builds", type("Bare", (), {"name": "bare"})),
    ("reason", with_(unavailable_reason=fails)),
    ("reason", with_(unavailable_reason="")),
    ("words", with_(describe=None)),
    ("device", with_(device="cpu")),
    ("dtype", with_(default_dtype="float16")),
    ("dtype", with_(supports_dtype=lambda self, dtype: True)),
    ("memory", with_(memory=MemoryFigures(200, None, 100))),
    ("memory", with_(memory=(1, 2, 3))),
    ("computes", with_(device=torch.device("meta"))),
    ("waits", with_(synchronize=3)),
]


def test_a_backend_that_keeps_every_rule() -> None:
    check_backend(Plain)
    check_backend(with_(unavailable_reason="there is no such device here", device=fails))


@pytest.mark.parametrize(("rule", "factory"), BROKEN)
def test_a_broken_backend_is_told(rule: str, factory: Any) -> None:
    assert_told(lambda: check_backend(factory), rule, RULES)


def test_every_rule_is_broken_once() -> None:
    assert {rule for rule, _ in BROKEN} == set(RULES)
