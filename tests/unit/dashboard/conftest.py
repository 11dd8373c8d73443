"""What tests of several panels look at."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nanoshell.testing import FakeRun

from .still import with_samples


@pytest.fixture
def written(nanoshell_fake_run: Callable[..., FakeRun]) -> FakeRun:
    """Return a run that has written texts."""
    return with_samples(nanoshell_fake_run)
