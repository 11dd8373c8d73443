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
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pluggy

from nanoshell.errors import NanoshellError, PluginError, nearest
from nanoshell.plugin.discovery import Candidate, Origin, forget_modules, installed_plugins, plugins_in
from nanoshell.plugin.hookspecs import PROJECT, Hooks
from nanoshell.plugin.registration import Registrar, register_for
from nanoshell.plugin.registry import Registry
from nanoshell.version import API_VERSION

if TYPE_CHECKING:
    import click

    from nanoshell.chat.template import ChatTemplate
    from nanoshell.data.source import DataSource
    from nanoshell.generation.sampling import LogitsProcessor
    from nanoshell.model.backend import Backend
    from nanoshell.runs.directory import RunDirectory
    from nanoshell.tokenizer.base import Tokenizer

Report = Callable[[str], None]
HOOKS = tuple(name for name in vars(Hooks) if not name.startswith("_"))
NOTICES = tuple(name for name in HOOKS if not name.startswith("register_"))
WAY_BACK = "nanoshell --safe unset disabled_plugins"
"""What enables every plugin again: it works also where the plugin that brings ``unset`` is disabled."""

_REASON_LENGTH = 300
_DISABLED = "listed in the setting disabled_plugins"


@dataclass
class PluginInfo:
    """A plugin as ``plugins`` shows it.

    ``provider`` is the distribution that brought it, or the path of its file. ``registered`` holds the names
    by kind ("commands", "sources", …, and "notices"). ``import_ms`` is what importing and registering took.
    ``reason`` says why it is quarantined or disabled, or what of it does not work.
    """

    name: str
    version: str
    provider: str
    origin: Origin
    registered: dict[str, list[str]] = field(default_factory=dict)
    import_ms: float = 0.0
    state: Literal["active", "quarantined", "disabled"] = "active"
    reason: str = ""


@dataclass(frozen=True)
class _Implementation:
    plugin: PluginInfo
    function: Callable[..., object]
    arguments: tuple[str, ...]
    rank: int


@dataclass(frozen=True)
class _Policy:
    """How trouble is told: by one line through ``report``, or, when ``strict``, by raising it."""

    report: Report
    strict: bool
    disabled: tuple[str, ...]
    lines: list[str]

    def tell(
        self, plugin: PluginInfo, what: str, cause: BaseException | None = None, *, advice: str = ""
    ) -> None:
        label = " ".join(
            part for part in (f"'{plugin.name}'", plugin.version, f"({plugin.provider})") if part
        )
        self.say(f"plugin {label} {what}; {advice or self._how_to_disable(plugin)}", cause)

    def _how_to_disable(self, plugin: PluginInfo) -> str:
        advice = f"to do without it: set disabled_plugins {','.join([*self.disabled, plugin.name])}"
        if (plugin.origin, plugin.name) == ("built-in", "commands"):  # it brings 'unset', too
            advice += f"; to have it back: {WAY_BACK}"
        return advice

    def say(self, text: str, cause: BaseException | None = None) -> None:
        line = f"nanoshell: {_one_line(text, 3 * _REASON_LENGTH)}"
        self.lines.append(line)
        if self.strict:
            raise PluginError(line.removeprefix("nanoshell: ")) from cause
        self.report(line)


class Plugins:
    """What the loaded plugins brought, by kind, and the plugins themselves (`infos`, in the order of
    loading).

    ``warnings`` holds every line that was reported; ``arguments`` are the options of the program with which
    another process loads the same plugins.
    """

    def __init__(self, policy: _Policy) -> None:
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
        self._notices: dict[str, list[_Implementation]] = {name: [] for name in NOTICES}

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
            try:
                implementation.function(*(arguments[name] for name in implementation.arguments))
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a plugin's SystemExit must not end the shell either
                self._notices[notice].remove(implementation)
                what = f"failed in '{notice}', which is off from now on: {_why(error)}"
                _remark(implementation.plugin, what)
                self._policy.tell(implementation.plugin, what, error)

    def _load(self, candidate: Candidate) -> None:
        """Import one plugin and take what it registers: all of it or, where anything fails, nothing."""
        info = PluginInfo(candidate.name, candidate.version, candidate.provider, candidate.origin)
        known = frozenset(sys.modules)
        taken = next((i for i in self.infos if i.name == info.name and i.state == "active"), None)
        self.infos.append(info)
        try:
            if taken is not None:
                raise PluginError(
                    f"the plugin name '{info.name}' is used twice: by {taken.provider} and by {info.provider}"
                )
            # stdout is data: what a plugin prints while it loads must not get between a command's lines.
            with contextlib.redirect_stdout(sys.stderr), _timed(info):
                plugin = _import(candidate, info)
                implementations = _implementations(plugin, info)
                remarks = _mistakes(plugin)
                for implementation, hook in implementations:
                    if hook.startswith("register_"):
                        self._register(implementation, hook)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit in a plugin's top level is a failure of that plugin, too
            if taken is None:
                for hook in HOOKS:
                    if hook.startswith("register_"):
                        self.registry(hook).remove_provider(info.name)
                forget_modules(candidate, known)
            info.state, info.reason = "quarantined", _why(error)
            self._policy.tell(
                info, f"is left out: {info.reason}", error, advice=_rename(info) if taken else ""
            )
            return
        for implementation, hook in implementations:
            if hook in NOTICES:
                self._notices[hook].append(implementation)
                self._notices[hook].sort(key=lambda known: known.rank)
        self._list_registered(info, [hook for _, hook in implementations if hook in NOTICES])
        for remark in remarks:
            _remark(info, remark)
            self._policy.tell(info, remark)

    def _register(self, implementation: _Implementation, hook: str) -> None:
        registry = self.registry(hook)
        plugin = implementation.plugin
        registrar = Registrar(registry, plugin.name, guarded=plugin.origin != "built-in")
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
) -> Plugins:
    """Find and load plugins, and return what they bring. Ours come first, then installed ones, then files.

    ``plugins_dir`` adds the files of a folder. ``safe`` loads nothing but ours. ``only`` restricts all but
    ours to these names; None reads ``NANOSHELL_PLUGINS`` (names separated by commas), which restricts where
    it is set. ``disabled`` names plugins to leave out. ``extra`` are ``(name, module or instance)`` pairs
    that are there already. A plugin that fails is left out whole and told of in one line through ``report``
    (stderr by default); ``strict`` (None reads ``NANOSHELL_STRICT``) raises `PluginError` instead. Raises
    `UsageError` where ``plugins_dir`` cannot be read.
    """
    if strict is None:
        strict = os.environ.get("NANOSHELL_STRICT", "").lower() not in ("", "0", "no", "false")
    listed = os.environ.get("NANOSHELL_PLUGINS") if only is None else None
    if listed is not None:
        only = [name.strip() for name in listed.split(",") if name.strip()]
    policy = _Policy(report or _print_to_stderr, strict, tuple(disabled), [])
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
        if reason:
            info = PluginInfo(candidate.name, candidate.version, candidate.provider, candidate.origin)
            info.state, info.reason = "disabled", reason
            plugins.infos.append(info)
        else:
            plugins._load(candidate)
    for name, plugin in extra:
        plugins._load(_given(name, plugin))
    _report_unknown(policy, [] if safe else only or [], candidates)
    return plugins


def _print_to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


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


def _report_unknown(policy: _Policy, only: Sequence[str], candidates: list[Candidate]) -> None:
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
def _timed(info: PluginInfo) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        info.import_ms = 1000 * (time.perf_counter() - started)


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


def _implementations(plugin: object, info: PluginInfo) -> list[tuple[_Implementation, str]]:
    """Return the hooks that ``plugin`` implements, in the order of the specifications.

    Raises `PluginError` for an implementation that pluggy refuses (arguments that the hook does not offer) or
    that only makes sense in pluggy's own call loop.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Hooks)
    try:
        manager.register(plugin, info.name)
    except pluggy.PluginValidationError as error:
        raise PluginError(_plain_validation(str(error))) from error
    found = []
    for hook in HOOKS:
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            if implementation.wrapper or implementation.hookwrapper:
                raise PluginError(f"'{hook}' is marked as a wrapper, and hooks cannot be wrapped here")
            rank = 0 if implementation.tryfirst else 2 if implementation.trylast else 1
            arguments = tuple(implementation.argnames)
            found.append((_Implementation(info, implementation.function, arguments, rank), hook))
    return found


def _plain_validation(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(line for line in lines if not line.startswith(("Plugin ", "hookimpl definition")))


def _mistakes(plugin: object) -> list[str]:
    """Return remarks on what ``plugin`` seems to mean and does not get: mistyped hooks, forgotten marks."""
    remarks = []
    manager = pluggy.PluginManager(PROJECT)
    for name in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, name)
        if options is not None:
            name = options.get("specname") or name
            if name not in HOOKS and not options.get("optionalhook"):
                match = nearest(name, HOOKS)
                meant = f"; did you mean '{match}'?" if match else ""
                remarks.append(f"implements '{name}', which is no hook of this nanoshell{meant}")
        elif name in HOOKS:
            remarks.append(f"defines '{name}' without @hookimpl, so it is not called")
    if not remarks and not any(manager.parse_hookimpl_opts(plugin, name) for name in dir(plugin)):
        remarks.append("implements no hook")
    return remarks


def _rename(info: PluginInfo) -> str:
    """Return the advice for a name that is taken: disabling by that name would disable both plugins."""
    return f"rename {'the file' if info.origin == 'file' else 'its entry point'} to have both"


def _remark(info: PluginInfo, text: str) -> None:
    info.reason = f"{info.reason}; {text}" if info.reason else text


def _why(error: BaseException) -> str:
    """Return one line for ``error``: type and words, and where in the plugin it happened."""
    try:
        words = str(error)
    except Exception:  # an exception whose __str__ fails is still only a plugin's failure
        words = ""
    if isinstance(error, NanoshellError):
        return _one_line(words, _REASON_LENGTH)
    text = f"{type(error).__name__}: {words}" if words else type(error).__name__
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and f"{os.sep}nanoshell{os.sep}" not in frame.filename
    ]
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return _one_line(text, _REASON_LENGTH) + where


def _one_line(text: str, length: int) -> str:
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= length else line[: length - 2] + " …"
