"""The pytest plugin: fixtures for the tests of plugins. pytest loads it wherever nanoshell is installed."""

from __future__ import annotations
