"""How the contract tests are tested: for each rule a thing that breaks it, and it alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest


def assert_told(check: Callable[[], Any], rule: str, rules: Mapping[str, str]) -> None:
    """``check()`` must fail, and its message name ``rule`` and say what it is."""
    with pytest.raises(AssertionError) as caught:
        check()
    first = str(caught.value).splitlines()[0]
    assert f"breaks the rule '{rule}': {rules[rule]}" in first, str(caught.value)
