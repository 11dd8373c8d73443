"""Loads plugins, keeps what they bring, and keeps a broken one from harming the rest.

pluggy marks and checks the hooks; the calls are made here, because pluggy stops at the first implementation
that raises, and one broken plugin must cost nothing but itself.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanoshell.errors import PluginError, nearest
from nanoshell.plugin.discovery import (
    Candidate,
    PluginInfo as PluginInfo,
    forget_modules,
    installed_plugins,
    plugins_in,
)
from nanoshell.plugin.hookspecs import Hooks
from nanoshell.plugin.implementations import (
    HOOKS as HOOKS,
    NOTICES as NOTICES,
    Implementation,
    implementations,
    mistakes,
)
from nanoshell.plugin.registration import Registrar, register_for
from nanoshell.plugin.registry import Registry
from nanoshell.plugin.surroundings import Surroundings
from nanoshell.plugin.trouble import (
    Policy,
    Report,
    fresh_line,
    how_to_disable,
    how_to_rename,
    remark,
    why,
)
from nanoshell.version import API_VERSION

if TYPE_CHECKING:
    import click

    from nanoshell.chat.template import ChatTemplate
    from nanoshell.data.source import DataSource
    from nanoshell.generation.sampling import LogitsProcessor
    from nanoshell.model.backend import Backend
    from nanoshell.plugin.trace import Tracer
    from nanoshell.runs.directory import RunDirectory
    from nanoshell.tokenizer.base import Tokenizer

WAY_BACK = "nanoshell --safe unset disabled_plugins"
"""What enables every plugin again: it works also where the plugin that brings ``unset`` is disabled."""

SLOW_SECONDS = 1.0
"""A plugin that takes longer to load is told of: it delays every start."""

_DISABLED = "listed in the setting disabled_plugins"
_HEAVY = ("torch", "tensorflow", "jax", "transformers", "pandas", "scipy", "sklearn", "matplotlib", "numpy")
"""Libraries that take long to import: the usual reasons for a slow plugin, the slowest first."""


class Plugins:
    """What the loaded plugins brought, by kind, and the plugins themselves (`infos`, in the order of
    loading).

    ``warnings`` holds every line that was reported; ``arguments`` are the options of the program with which
    another process loads the same plugins.
    """

    def __init__(self, policy: Policy) -> None:
        self.commands: Registry[click.Command] = Registry("command")
        self.sources: Registry[Callable[[str], DataSource]] = Registry("data source")
        self.backends: Registry[Callable[[], Backend]] = Registry("device")
        self.tokenizers: Registry[Callable[[], Tokenizer]] = Registry("tokenizer")
        self.samplers: Registry[Callable[..., LogitsProcessor] | None] = Registry("sampler")
        self.optimizers: Registry[Callable[..., Any]] = Registry("optimizer")
        self.mixers: Registry[Callable[..., Any]] = Registry("layer kind")
        self.chat_templates: Registry[Callable[[], ChatTemplate]] = Registry("chat template")
        self.exporters: Registry[Callable[..., Any]] = Registry("exporter")
        self.panels: Registry[Callable[..., Any]] = Registry("panel")
        self.run_sections: Registry[Callable[[RunDirectory], Any]] = Registry("run section")
        self.infos: list[PluginInfo] = []
        self.warnings = policy.lines
        self.arguments: tuple[str, ...] = ()
        self._policy = policy
        self._notices: dict[str, list[Implementation]] = {name: [] for name in NOTICES}
        self._tracer = _tracer()

    def registry(self, hook: str) -> Registry[Any]:
        """Return the registry that the hook ``register_<kinds>`` fills."""
        found: Registry[Any] = getattr(self, hook.removeprefix("register_"))
        return found

    def disabled_by_settings(self) -> list[str]:
        """Return the names of the plugins that the setting ``disabled_plugins`` leaves out."""
        return [info.name for info in self.infos if info.state == "disabled" and info.reason == _DISABLED]

    def notify(self, notice: str, **arguments: Any) -> None:
        """Call every implementation of ``notice``; one that fails is told of and not called again."""
        expected = set(inspect.signature(getattr(Hooks, notice)).parameters) - {"self"}
        if set(arguments) != expected:
            raise TypeError(f"notice '{notice}' takes {sorted(expected)}, not {sorted(arguments)}")
        for implementation in list(self._notices[notice]):
            plugin = implementation.plugin
            try:
                with self._traced(plugin.name, notice):
                    implementation.function(*(arguments[name] for name in implementation.arguments))
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a plugin's SystemExit must not end the shell either
                self._notices[notice].remove(implementation)
                what = f"failed in '{notice}', which is off from now on: {why(error)}"
                remark(plugin, what)
                self._policy.tell(plugin, what, error)

    def _traced(self, plugin: str, what: str) -> AbstractContextManager[None]:
        return contextlib.nullcontext() if self._tracer is None else self._tracer.call(plugin, what)

    def load(self, candidate: Candidate) -> None:
        """Import one plugin and take what it registers: all of it or, where anything fails, nothing."""
        info = candidate.info()
        known = frozenset(sys.modules)
        taken = next((i for i in self.infos if i.name == info.name and i.state == "active"), None)
        self.infos.append(info)
        remarks: list[str] = []
        try:
            if taken is not None:
                raise PluginError(
                    f"the plugin name '{info.name}' is used twice: by {taken.provider} and by {info.provider}"
                )
            with self._traced(info.name, "load"), _contained(info, remarks), _timed(info):
                found = self._take(candidate, info, remarks)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit in a plugin's top level is a failure of that plugin, too
            if taken is None:
                for hook in HOOKS:
                    if hook.startswith("register_"):
                        self.registry(hook).remove_provider(info.name)
                forget_modules(candidate, known)
            info.state, info.reason = "quarantined", why(error)
            advice = how_to_rename(info) if taken else ""
            self._policy.tell(info, f"is left out: {info.reason}", error, advice=advice)
            return
        for implementation, hook in found:
            if hook in NOTICES:
                self._notices[hook].append(implementation)
                self._notices[hook].sort(key=lambda known: known.rank)
        self._list_registered(info, [hook for _, hook in found if hook in NOTICES])
        for text in remarks:
            remark(info, text)
            self._policy.tell(info, text)
        if info.import_ms > 1000 * SLOW_SECONDS and info.origin != "built-in":
            slow = _slowness(info, known)
            remark(info, slow)
            self._policy.mention(info, f"{slow}; {how_to_disable(info)}")

    def _take(
        self, candidate: Candidate, info: PluginInfo, remarks: list[str]
    ) -> list[tuple[Implementation, str]]:
        """Import ``candidate``, let it register, and return what it implements."""
        with self._traced(info.name, "import"):
            plugin = _import(candidate, info)
        found = implementations(plugin, info)
        remarks += mistakes(plugin)
        for implementation, hook in found:
            if hook.startswith("register_"):
                with self._traced(info.name, hook):
                    self._register(implementation, hook)
        return found

    def _register(self, implementation: Implementation, hook: str) -> None:
        registry = self.registry(hook)
        plugin = implementation.plugin
        registrar = Registrar(registry, plugin.name, guarded=plugin.origin != "built-in", tracer=self._tracer)
        try:
            register = register_for(hook, registrar, registry)
            implementation.function(*(register for _ in implementation.arguments))
        finally:
            registrar.close()

    def _list_registered(self, info: PluginInfo, notices: list[str]) -> None:
        for hook in HOOKS:
            if hook.startswith("register_"):
                names = [entry.name for entry in self.registry(hook) if entry.provider == info.name]
                if names:
                    info.registered[hook.removeprefix("register_")] = names
        if notices:
            info.registered["notices"] = notices


def load_plugins(
    *,
    plugins_dir: Path | None = None,
    safe: bool = False,
    only: Sequence[str] | None = None,
    disabled: Collection[str] = (),
    strict: bool | None = None,
    extra: Sequence[tuple[str, object]] = (),
    report: Report | None = None,
    load_others: bool = True,
) -> Plugins:
    """Find and load plugins, and return what they bring. Ours come first, then installed ones, then files.

    ``plugins_dir`` adds the files of a folder. ``safe`` loads nothing but ours. ``only`` restricts all but
    ours to these names; None reads ``NANOSHELL_PLUGINS`` (names separated by commas), which restricts where
    it is set. ``disabled`` names plugins to leave out. ``extra`` are ``(name, module or instance)`` pairs
    that are there already. Without ``load_others`` all plugins are found and ours alone are imported, the
    disabled ones too: so they can be managed, whatever is wrong with them. A plugin that fails is left out
    whole and told of in one line through ``report`` (stderr by default); ``strict`` (None reads
    ``NANOSHELL_STRICT``) raises `PluginError` instead. Raises `UsageError` where ``plugins_dir`` cannot be
    read.
    """
    if strict is None:
        strict = _wanted("NANOSHELL_STRICT")
    listed = os.environ.get("NANOSHELL_PLUGINS") if only is None else None
    if listed is not None:
        only = [name.strip() for name in listed.split(",") if name.strip()]
    policy = Policy(report or _print_to_stderr, strict, [])
    plugins = Plugins(policy)
    plugins.arguments = ("--safe",) if safe else ()
    candidates = installed_plugins()
    if not any(candidate.origin == "built-in" for candidate in candidates):
        policy.say("its own plugins are not installed, so it can do nothing: run 'pip install nanoshell'")
    if plugins_dir is not None:
        candidates += plugins_in(plugins_dir.expanduser())
        plugins.arguments += ("--plugins-dir", str(plugins_dir.expanduser().resolve()))
    for candidate in candidates:
        reason = _left_out(candidate, safe, only, disabled)
        ours = candidate.origin == "built-in"
        if not load_others and not ours:
            plugins.infos.append(candidate.info("disabled" if reason else "enabled", reason))
        elif reason and load_others:
            plugins.infos.append(candidate.info("disabled", reason))
        else:
            plugins.load(candidate)
            if reason:
                plugins.infos[-1].state, plugins.infos[-1].reason = "disabled", reason
    for name, plugin in extra:
        plugins.load(_given(name, plugin))
    _report_unknown(policy, [] if safe else only or [], candidates)
    return plugins


def _print_to_stderr(line: str) -> None:
    """Print ``line``, on a terminal broken between words."""
    if sys.stderr.isatty():
        import shutil
        import textwrap

        width = max(20, shutil.get_terminal_size().columns)
        line = textwrap.fill(
            line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
    print(fresh_line(sys.stderr) + line, file=sys.stderr)


def _left_out(candidate: Candidate, safe: bool, only: Sequence[str] | None, disabled: Collection[str]) -> str:
    """Return why ``candidate`` is not to be loaded, or ""."""
    ours = candidate.origin == "built-in"
    if safe:
        return "" if ours else "--safe loads only nanoshell's own plugins"
    if candidate.called(disabled):
        return _DISABLED
    if only is not None and not ours and not candidate.called(only):
        return "not listed in NANOSHELL_PLUGINS"
    return ""


def _report_unknown(policy: Policy, only: Sequence[str], candidates: list[Candidate]) -> None:
    for name in only:
        if not any(candidate.called([name]) for candidate in candidates):
            match = nearest(name, [candidate.name for candidate in candidates])
            policy.say(
                f"NANOSHELL_PLUGINS lists '{name}', which is not installed"
                + (f"; did you mean '{match}'?" if match else "")
            )


def _given(name: str, plugin: object) -> Candidate:
    version = str(getattr(plugin, "__version__", ""))
    return Candidate(name, version, type(plugin).__name__, "given", f"<given {name}>", lambda: plugin)


@contextlib.contextmanager
def _contained(info: PluginInfo, remarks: list[str]) -> Iterator[None]:
    """Keep what a plugin does while it is loaded from the rest, and remark on what had to be put back.

    stdout is data: what a plugin prints must not get between a command's lines.
    """
    with contextlib.redirect_stdout(sys.stderr):
        if info.origin == "built-in":
            yield
            return
        before = Surroundings()
        try:
            yield
        finally:
            if changed := before.restore():
                remarks.append(f"changed {', '.join(changed)} while it was loaded, which is put back")


@contextlib.contextmanager
def _timed(info: PluginInfo) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        info.import_ms = 1000 * (time.perf_counter() - started)


def heavy_imports(known: Collection[str]) -> list[str]:
    """Return the libraries that take long to import and are loaded now, without the ``known`` modules."""
    return [name for name in _HEAVY if name in sys.modules and name not in known]


def _slowness(info: PluginInfo, known: Collection[str]) -> str:
    """Return what is to be said of a plugin that loads slowly, naming a library that it may wait for."""
    heavy = heavy_imports(known)
    cause = f"import {heavy[0]} inside the functions that need it" if heavy else "it delays every start"
    return f"took {info.import_ms / 1000:.1f} s to load, where {SLOW_SECONDS:g} s is the limit: {cause}"


def _wanted(variable: str) -> bool:
    return os.environ.get(variable, "").lower() not in ("", "0", "no", "false")


def _tracer() -> Tracer | None:
    """Return what writes each call of a hook where ``NANOSHELL_TRACE`` asks for it."""
    if not _wanted("NANOSHELL_TRACE"):
        return None
    from nanoshell.plugin.trace import Tracer

    return Tracer()


def _import(candidate: Candidate, info: PluginInfo) -> object:
    plugin = candidate.load()
    if not info.version:
        info.version = str(getattr(plugin, "__version__", ""))
    wanted = getattr(plugin, "nanoshell_api", None)
    if wanted is not None and not isinstance(wanted, int):
        raise PluginError(f"nanoshell_api is a whole number, not {wanted!r}")
    if wanted is not None and wanted > API_VERSION:
        raise PluginError(
            f"it needs version {wanted} of the plugin interface, and this nanoshell offers {API_VERSION}"
        )
    return plugin
