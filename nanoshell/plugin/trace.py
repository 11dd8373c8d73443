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

HANGING_SECONDS = 1.0
"""After how long a call is told of that has not returned: it may never."""


class Tracer:
    """Times calls and writes them, what was called within another one indented below it.

    The lines of nested calls are written together when the outermost has returned. Where that takes longer
    than a second, the calls that run by then are told of before.
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
        lines, running = self._state()
        place, depth = len(lines), len(running)
        lines.append("")
        running.append(f"{'  ' * depth}{plugin}  {what}")
        watch = None if depth else _watch(running)
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
                lines[place] = f"trace {took:9.2f} ms  {running[depth]}{raised}"
            del running[depth:]
            if watch:
                watch.cancel()
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

    def _state(self) -> tuple[list[str], list[str]]:
        if not hasattr(self._thread, "lines"):
            self._thread.lines, self._thread.running = [], []
        return self._thread.lines, self._thread.running


def _watch(running: list[str]) -> threading.Timer:
    """Tell in a while which calls are ``running`` then. Return what tells it, to be cancelled."""
    tell = threading.Timer(
        HANGING_SECONDS, lambda: _write([f"trace   still runs  {call}" for call in list(running)])
    )
    tell.daemon = True  # who leaves must not wait for it
    tell.start()
    return tell


def _write(lines: list[str]) -> None:
    if not lines:
        return
    # In one piece: at the prompt stderr is a proxy that puts whole lines above what is being typed.
    sys.stderr.write(fresh_line(sys.stderr) + "".join(f"{line}\n" for line in lines))
    sys.stderr.flush()
