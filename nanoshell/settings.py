"""A user's settings: what may be set, its checks, and the TOML file that keeps it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from nanoshell.dtypes import DTYPE_ALIASES, DTYPE_CHOICES, DTYPES
from nanoshell.errors import ConfigError, UsageError, unknown_name
from nanoshell.files import atomic_write
from nanoshell.settings_text import line_of, syntax_error, with_value
from nanoshell.spelling import typed
from nanoshell.theme import THEME_SUMMARIES, THEMES

_MISSPELT = 0.82
"""So alike is a name to that of a setting which must have been meant: two of plugins are less so."""

Value = str | int | float | bool | list[str]


@dataclass(frozen=True)
class Setting:
    """One thing that can be set: its default, how text becomes a value, one line about it.

    ``choices`` are its values, where they can be listed, with a line about each.
    """

    name: str
    default: Value
    parse: Callable[[str], Value]
    summary: str
    group: str = "session"
    choices: Mapping[str, str] = field(default_factory=dict)


def number(
    name: str, *, minimum: float | None = None, maximum: float | None = None, integer: bool = False
) -> Callable[[str], Value]:
    """Return a parser for a number within bounds. It raises `UsageError` naming the bounds."""
    kind = "a whole number" if integer else "a number"
    bounds = [
        f"at least {minimum:g}" if minimum is not None else "",
        f"at most {maximum:g}" if maximum is not None else "",
    ]
    wanted = " ".join([kind, " and ".join(part for part in bounds if part)]).strip()

    def parse(text: str) -> Value:
        try:
            value = int(text) if integer else float(text)
        except ValueError:
            raise UsageError(f"{name} must be {wanted}, not '{text}'") from None
        below = minimum is not None and value < minimum
        above = maximum is not None and value > maximum
        if below or above or not math.isfinite(value):
            raise UsageError(f"{name} must be {wanted}, not {text}")
        return value

    return parse


def text(name: str) -> Callable[[str], Value]:
    """Return a parser that takes any text but an empty one."""

    def parse(value: str) -> Value:
        if not value.strip():
            raise UsageError(f"{name} must not be empty")
        return value

    return parse


def one_of(
    name: str, choices: Collection[str], aliases: Mapping[str, str] = MappingProxyType({})
) -> Callable[[str], Value]:
    """Return a parser that takes one of ``choices``, or of ``aliases``, which stand for one of them.

    It raises `UnknownNameError` with the nearest.
    """

    def parse(value: str) -> Value:
        meant = aliases.get(value, value)
        if meant not in choices:
            raise unknown_name(name, value, choices)
        return meant

    return parse


def names(name: str) -> Callable[[str], Value]:
    """Return a parser for a list of names separated by commas or spaces; an empty text is an empty list."""
    return lambda value: value.replace(",", " ").split()


def key_words(name: str) -> Callable[[str], Value]:
    """Return a parser for a list of ``ACTION=KEY``. It raises `UsageError` for a word that is none."""
    split = names(name)

    def parse(value: str) -> Value:
        words = split(value)
        for word in words if isinstance(words, list) else []:
            action, _, key = word.partition("=")
            if not action or not key:
                hint = f"{typed(f'unset {name}')} takes all of them away"
                raise UsageError(f"{name} takes words like pause=p, not '{word}'", hint=hint)
        return words

    return parse


COMPILE_MODES: Mapping[str, str] = MappingProxyType(
    {
        "auto": "built once it is worth the while",
        "on": "built at once, before the first token",
        "off": "never built",
    }
)
KEYS: Mapping[str, str] = MappingProxyType(
    {"emacs": "Ctrl-A, Ctrl-E, Alt-F, as in a shell", "vi": "Esc, then h, j, k, l; i types again"}
)
MOUSE: Mapping[str, str] = MappingProxyType(
    {"on": "tabs, charts and lists take clicks and the wheel", "off": "the terminal selects text as ever"}
)

CORE_SETTINGS = (
    Setting("device", "auto", text("device"), "where models compute: auto, cpu, cuda, mps"),
    Setting(
        "dtype",
        "auto",
        one_of("dtype", DTYPE_CHOICES, DTYPE_ALIASES),
        f"what a loaded model samples in: auto (as in its file), {', '.join(DTYPES)}",
        choices=DTYPE_CHOICES,
    ),
    Setting(
        "compile",
        "auto",
        one_of("compile", COMPILE_MODES),
        "decode by compiled code: auto (built once it is worth the while), on (built at once), off",
        choices=COMPILE_MODES,
    ),
    Setting("runs_dir", "runs", text("runs_dir"), "folder of the runs"),
    Setting("max_tokens", 200, number("max_tokens", minimum=1, integer=True), "longest reply, in tokens"),
    Setting("tokenizer", "cl100k_base", text("tokenizer"), "splits text into tokens"),
    Setting("chat_template", "roles", text("chat_template"), "lays out a conversation as tokens"),
    Setting("keys", "emacs", one_of("keys", KEYS), "keys of the prompt: emacs or vi", choices=KEYS),
    Setting(
        "dashboard_keys",
        [],
        key_words("dashboard_keys"),
        "keys of the dashboard: pause=p,chart.export=w",
    ),
    Setting(
        "dashboard_mouse",
        "on",
        one_of("dashboard_mouse", MOUSE),
        "the mouse in the dashboard; off leaves it to the terminal, which selects text",
        choices=MOUSE,
    ),
    Setting(
        "theme", "terminal", one_of("theme", THEMES), "colours by what is shown", choices=THEME_SUMMARIES
    ),
    Setting("disabled_plugins", [], names("disabled_plugins"), "plugins that are not loaded, by name"),
)


@dataclass(frozen=True)
class SettingsProblem:
    """What is wrong with a settings file: on which line, counted from 1, where that is known.

    ``fatal`` says that nothing of the file can be read, else one value has its default instead.
    """

    line: int | None
    message: str
    hint: str = ""
    fatal: bool = False


class Settings:
    """Values by name over their defaults; `set` checks and keeps them.

    Names in the file that nothing here knows are kept as they are: their plugin may be absent today. What
    cannot be used in it raises `ConfigError`; where the settings are ``forgiving``, it is left out, and
    ``problems`` lists it.
    """

    def __init__(self, path: Path | None, *, forgiving: bool = False) -> None:
        self.path = path
        self.problems: list[SettingsProblem] = []
        self._forgiving = forgiving
        self._known: dict[str, Setting] = {}
        self._values: dict[str, Value] = {}
        self._temporary: dict[str, Value] = {}
        self._pending: dict[str, Value] = {}
        self.reload(CORE_SETTINGS)

    def reload(self, known: Iterable[Setting] = ()) -> None:
        """Read the file again, for the settings that are defined and those in ``known``."""
        settings = [*self._known.values(), *known]
        self.problems = []
        self._values = {}
        self._pending, problem = self._load()
        if problem is not None:
            if not self._forgiving:
                raise ConfigError(problem.message, hint=problem.hint)
            self.problems.append(problem)
        for setting in settings:
            self.define(setting)

    def template(self) -> str:
        """Return the text of a settings file that sets nothing, and names all that can be set."""
        import tomli_w

        lines = [
            f"# {tomli_w.dumps({setting.name: setting.default}).strip()}  # {setting.summary}"
            for setting in self._known.values()
        ]
        return "\n".join(
            ["# Settings of nanoshell. Take away the first # of a line to set it.", "", *lines, ""]
        )

    def complaints(self) -> list[str]:
        """Return a line for each of ``problems``, with what is used instead and what to do.

        And one for each unknown name that is misspelt; of others the plugin may be absent today.
        """
        mend = f"mend it with: {typed('config edit')}"
        return [*self._misspelt(mend)] + [
            f"{problem.message}; the defaults are used; {mend}"
            if problem.fatal
            else f"{self.path}:{problem.line or 1}: {problem.message}; its default is used; {mend}"
            for problem in self.problems
        ]

    def _misspelt(self, mend: str) -> Iterator[str]:
        import difflib

        for name in self.unknown_names:
            if near := difflib.get_close_matches(name, self._known, n=1, cutoff=_MISSPELT):
                where = f"{self.path}:{line_of(self._text(), name) or 1}"
                yield f"{where}: no setting is called '{name}'; did you mean '{near[0]}'? {mend}"

    @property
    def unknown_names(self) -> list[str]:
        """The names in the file that no setting has."""
        return list(self._pending)

    def define(self, setting: Setting) -> None:
        """Make ``setting`` known, and take its value from the file where the file has one."""
        self._known[setting.name] = setting
        if setting.name not in self._pending:
            return
        stored = self._pending.pop(setting.name)
        written = ",".join(map(str, stored)) if isinstance(stored, list) else str(stored)
        try:
            self._values[setting.name] = setting.parse(written)
        except UsageError as error:
            if not self._forgiving:
                raise ConfigError(f"{self.path}: {error.message}", hint=error.hint) from None
            line = line_of(self._text(), setting.name)
            self.problems.append(SettingsProblem(line, error.message, error.hint))

    def get(self, name: str) -> Value:
        """Return the value of ``name``, or its default. Raises `UnknownNameError`."""
        setting = self._setting(name)
        return self._temporary.get(name, self._values.get(name, setting.default))

    def text(self, name: str) -> str:
        """Return the value of ``name`` as text."""
        return str(self.get(name))

    def words(self, name: str) -> list[str]:
        """Return the value of ``name`` as words."""
        value = self.get(name)
        return value if isinstance(value, list) else str(value).split()

    def number(self, name: str) -> float:
        """Return the value of ``name`` as a float. Raises `UsageError` where it is no number."""
        value = self.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise UsageError(f"{name} is no number: {value!r}")
        return float(value)

    def set(self, name: str, value: str) -> Value:
        """Check ``value``, keep it, in the file too, and return it.

        Raises `UnknownNameError`, `UsageError`, `StorageError`.
        """
        parsed = self._setting(name).parse(value)
        self._values[name] = parsed
        self._temporary.pop(name, None)
        self._store(name, parsed)
        return parsed

    def check(self, name: str, value: str) -> Value:
        """Return what ``value`` would be as ``name``. Raises `UnknownNameError` and `UsageError`."""
        return self._setting(name).parse(value)

    def override(self, name: str, value: str) -> None:
        """Check ``value`` and use it in this process only (an option of the command line)."""
        self._temporary[name] = self._setting(name).parse(value)

    @contextlib.contextmanager
    def overridden(self, name: str, value: str) -> Iterator[None]:
        """Use ``value`` as `override` does, in the block alone."""
        before = self._temporary.get(name)
        self.override(name, value)
        try:
            yield
        finally:
            self._temporary.pop(name)
            if before is not None:
                self._temporary[name] = before

    def unset(self, name: str) -> Value:
        """Return ``name`` to its default, in the file too, and return that."""
        setting = self._setting(name)
        self._values.pop(name, None)
        self._temporary.pop(name, None)
        self._store(name, None)
        return setting.default

    def is_set(self, name: str) -> bool:
        """Return whether ``name`` differs from its default by the user's word."""
        return name in self._values or name in self._temporary

    def __iter__(self) -> Iterator[Setting]:
        return iter(self._known.values())

    def _store(self, name: str, value: Value | None) -> None:
        """Change one name in the file as it is now: another shell may have changed others meanwhile."""
        if self.path is None:
            return
        self._read()  # what cannot be read is not written over
        text = with_value(self._text(), name, value)
        with atomic_write(self.path.resolve(), private=True) as file:  # a link stays one
            file.write(text.encode())

    def _setting(self, name: str) -> Setting:
        if name not in self._known:
            raise unknown_name("setting", name, self._known)
        return self._known[name]

    def _text(self) -> str:
        return self.path.read_text("utf-8") if self.path is not None and self.path.exists() else ""

    def _read(self) -> dict[str, Value]:
        values, problem = self._load()
        if problem is not None:
            told = any(problem.message == known.message for known in self.problems)
            message = "nothing can be kept: the file of the settings is broken" if told else problem.message
            raise ConfigError(message, hint=f"mend it with: {typed('config edit')}, or move it away")
        return values

    def _load(self) -> tuple[dict[str, Value], SettingsProblem | None]:
        """Return what the file holds, and why it holds nothing where it cannot be read."""
        import tomllib

        hint = f"mend the file, or move it away: {self.path}"
        try:
            text = self._text()
            return tomllib.loads(text), None
        except tomllib.TOMLDecodeError as error:
            line, what = syntax_error(error, text)
            where = f"{self.path}:{line}" if line else str(self.path)
            return {}, SettingsProblem(line, f"cannot read the settings: {where}: {what}", hint, fatal=True)
        except (UnicodeDecodeError, OSError) as error:
            why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
            message = f"cannot read the settings: {self.path}: {why}"
            return {}, SettingsProblem(None, message, hint, fatal=True)
