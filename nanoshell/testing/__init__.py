"""For the tests of plugins: fixtures, contract tests, and loading that forgives nothing. It is public."""

from __future__ import annotations

from nanoshell.testing.loading import plugins_with as plugins_with
