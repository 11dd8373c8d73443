"""``NANOSHELL_TRACE=1``: every call of a hook or factory in one line on stderr, with plugin and time."""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from nanoshell.plugin.trouble import fresh_line

NOTABLE_MS = 1.0
"""From how long on every call of a factory is written, and not the first one alone."""


class Tracer:
    """Times calls and writes them, what was called within another one indented below it.

    The lines of nested calls are written together when the outermost has returned.
    """

    def __init__(self) -> None:
        self._thread = threading.local()
        self._known: set[tuple[str, str]] = set()

    @contextlib.contextmanager
    def call(self, plugin: str, what: str, *, factory: bool = False) -> Iterator[None]:
        """Time the block as the call ``what`` of ``plugin``.

        The toolbar asks for devices at every key, so that of a ``factory`` later calls that took less than a
        millisecond are left out.
        """
        lines, depth = self._state()
        place = len(lines)
        lines.append("")
        self._thread.depth = depth + 1
        raised = ""
        started = time.perf_counter()
        try:
            yield
        except BaseException as error:
            raised = f"  raised {type(error).__name__}"
            raise
        finally:
            took = 1000 * (time.perf_counter() - started)
            known = factory and (plugin, what) in self._known
            self._known.add((plugin, what))
            if raised or took >= NOTABLE_MS or not known:
                lines[place] = f"trace {took:9.2f} ms  {'  ' * depth}{plugin}  {what}{raised}"
            self._thread.depth = depth
            if not depth:
                self._thread.lines = []
                _write([line for line in lines if line])

    def around(self, function: Callable[..., Any], plugin: str, what: str) -> Callable[..., Any]:
        """Return the factory ``function`` with its calls traced."""
        updated = () if isinstance(function, type) else functools.WRAPPER_UPDATES

        @functools.wraps(function, updated=updated)
        def traced(*args: Any, **kwargs: Any) -> Any:
            with self.call(plugin, what, factory=True):
                return function(*args, **kwargs)

        return traced

    def _state(self) -> tuple[list[str], int]:
        if not hasattr(self._thread, "lines"):
            self._thread.lines, self._thread.depth = [], 0
        return self._thread.lines, self._thread.depth


def _write(lines: list[str]) -> None:
    if not lines:
        return
    # In one piece: at the prompt stderr is a proxy that puts whole lines above what is being typed.
    sys.stderr.write(fresh_line(sys.stderr) + "".join(f"{line}\n" for line in lines))
    sys.stderr.flush()
