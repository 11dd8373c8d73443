"""How a command's line is typed where the running command was: what hints spell for their reader."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_PREFIX: ContextVar[str] = ContextVar("prefix", default="")


def typed(line: str) -> str:
    """Return a command's ``line`` (``train --config nano``) as it is typed where the running command was.

    That is ``:train …`` at the prompt, ``nanoshell train …`` on the command line; elsewhere it stays bare.
    """
    return _PREFIX.get() + line


@contextlib.contextmanager
def spelled_with(prefix: str) -> Iterator[None]:
    """Let `typed` put ``prefix`` before a line while the block runs."""
    token = _PREFIX.set(prefix)
    try:
        yield
    finally:
        _PREFIX.reset(token)
