"""Types for the parameters of commands: a value stays text, and completion offers the names that exist.

Every face completes through click's ``shell_complete``, so a command that says ``type=RUN`` completes at the
prompt and in bash, zsh and fish. A completer never fails: what cannot be listed is not offered.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from nanoshell.wording import human_bytes

if TYPE_CHECKING:
    from nanoshell.session import Session

if TYPE_CHECKING:
    TextType = click.ParamType[str]
    ChoiceType = click.Choice[str]
else:
    TextType = click.ParamType  # generic only in newer releases of click
    ChoiceType = click.Choice

Offer = tuple[str, str]
"""A name and one line about it."""

_YAML = (".yaml", ".yml")
_DATA = (".bin", ".txt", ".md", ".jsonl")

MOST_RUNS = 40
"""Newest runs that are offered: the status of each is read from its files."""

MOST_LETTERS = 110
"""Of the line about a command."""


class NameType(TextType):
    """A name among those that ``names(session, incomplete)`` yields now.

    ``files`` ("file" or "dir") offers paths as well, at the prompt only files with one of ``endings``.
    """

    def __init__(
        self,
        name: str,
        names: Callable[[Session, str], Iterable[Offer]],
        *,
        files: str | None = None,
        endings: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self._names = names
        self._files = files
        self._endings = endings

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str | None:
        return None if isinstance(param, click.Argument) else self.name.upper()

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the names that begin with ``incomplete``, each with its line as help."""
        found = [
            CompletionItem(name, help=summary or None)
            for name, summary in _quietly(self._names, ctx.obj, incomplete)
            if name.startswith(incomplete)
        ]
        if self._files:
            found.append(CompletionItem(incomplete, type=self._files, endings=self._endings))
        return found

    def __repr__(self) -> str:
        return self.name.upper()


class Choice(ChoiceType):
    """One of ``choices``, a line about each of which is shown beside it in completion."""

    def __init__(self, choices: Mapping[str, str]) -> None:
        super().__init__(list(choices))
        self._summaries = dict(choices)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the choices that begin with ``incomplete``, each with its line as help."""
        return [
            CompletionItem(name, help=summary)
            for name, summary in self._summaries.items()
            if name.startswith(incomplete)
        ]


class SettingValueType(NameType):
    """The value of a setting, whose name is the parameter ``setting_param`` of the same command."""

    def __init__(self, name: str, setting_param: str = "name") -> None:
        super().__init__(name, lambda _session, _incomplete: ())
        self._setting_param = setting_param

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the values that the setting can have, where they can be told."""
        values = functools.partial(_values_of, str(ctx.params.get(self._setting_param)))
        return NameType(self.name, values).shell_complete(ctx, param, incomplete)


def _quietly(names: Callable[[Session, str], Iterable[Offer]], session: Any, incomplete: str) -> list[Offer]:
    if session is None:
        return []
    try:
        return list(names(session, incomplete))
    except (
        Exception,
        SystemExit,
    ):  # whatever a plugin or a folder does: no completion is better than a broken prompt
        return []


def _presets(_session: Session, _incomplete: str) -> Iterator[Offer]:
    """Yield what `nanoshell.training.presets.list_presets` lists, without loading what reads a config."""
    from nanoshell.paths import preset_dirs

    seen: set[str] = set()
    for folder in preset_dirs():
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.suffix in _YAML and path.is_file() and path.stem not in seen:
                seen.add(path.stem)
                first = path.read_text("utf-8", "replace").partition("\n")[0]
                yield path.stem, first.lstrip("# ") if first.startswith("#") else str(path)


def _runs(session: Session, _incomplete: str) -> Iterator[Offer]:
    from nanoshell.runs.directory import list_runs

    runs = list_runs(session.runs_dir)
    if runs:
        yield "latest", f"the newest: {runs[0].name}"
    for run in runs[:MOST_RUNS]:
        status = run.status()
        yield run.name, f"{status.state}, step {status.step}"


def _models(session: Session, incomplete: str) -> Iterator[Offer]:
    name, at, _ = incomplete.partition("@")
    if at:
        run = session.find_run(name)
        for checkpoint in reversed(run.checkpoints()):
            yield f"{name}@{checkpoint.step}", human_bytes(checkpoint.num_bytes)
    else:
        yield from _runs(session, incomplete)


def _presets_and_models(session: Session, incomplete: str) -> Iterator[Offer]:
    if "@" not in incomplete:
        yield from _presets(session, incomplete)
    yield from _models(session, incomplete)


def _plugins(session: Session, _incomplete: str) -> Iterator[Offer]:
    return ((info.name, f"{info.origin}, {info.state}") for info in session.plugins.infos)


def _sampler_values(session: Session, incomplete: str) -> Iterator[Offer]:
    """Yield ``NAME=`` of every sampler, and once the name is there, its value as it is set."""
    name, chosen, _ = incomplete.partition("=")
    for entry in session.plugins.samplers:
        if not chosen:
            yield f"{entry.name}=", entry.summary
        elif entry.name == name:
            yield f"{name}={session.settings.get(name)}", "as it is"


def _config_keys(_session: Session, incomplete: str) -> Iterator[Offer]:
    """Yield ``KEY=`` of every key of a config, and once the key is there, the values that it can have."""
    from nanoshell.training.keys import key_summaries, value_summaries

    key, chosen, _ = incomplete.partition("=")
    if not chosen:
        yield from ((f"{name}=", summary) for name, summary in key_summaries().items())
        return
    name = key if "." in key else f"trainer.{key}"
    yield from ((f"{key}={value}", summary) for value, summary in value_summaries(name).items())


def _sources(session: Session, incomplete: str) -> Iterator[Offer]:
    """Yield the names of sources; one that is nothing alone has the colon after which it goes on.

    Once the colon is there, the parts that the source has said it has are offered.
    """
    name, colon, _ = incomplete.partition(":")
    for entry in session.plugins.sources:
        if colon and entry.name == name:
            yield from ((f"{name}:{part}", told) for part, told in entry.options.get("parts", {}).items())
        elif entry.name != "file":
            more = entry.options.get("spelling", "").startswith(f"{entry.name}:")
            yield f"{entry.name}:" if more else entry.name, entry.summary


def _devices(session: Session, _incomplete: str) -> Iterator[Offer]:
    yield "auto", "the best that this machine has"
    yield from ((entry.name, entry.summary) for entry in session.plugins.backends)


def _tokenizers(session: Session, incomplete: str) -> Iterator[Offer]:
    yield from _registered("tokenizers", session, incomplete)
    yield from _trained_tokenizers(session, incomplete)


def _trained_tokenizers(_session: Session, _incomplete: str) -> Iterator[Offer]:
    from nanoshell.tokenizer.store import trained_names

    yield from ((name, "trained here") for name in trained_names())


def _settings(session: Session, _incomplete: str) -> Iterator[Offer]:
    return ((setting.name, setting.summary) for setting in session.settings)


def _commands(session: Session, _incomplete: str) -> Iterator[Offer]:
    return (
        (entry.name, entry.value.get_short_help_str(MOST_LETTERS))
        for entry in session.plugins.commands
        if not entry.value.hidden
    )


def _conversations(session: Session, _incomplete: str) -> Iterator[Offer]:
    return ((summary.name, summary.title) for summary in session.store.list())


def _values_of(setting: str, session: Session, incomplete: str) -> Iterator[Offer]:
    """Yield the names that a setting takes, else its value and its default."""
    if setting == "device":
        yield from _devices(session, incomplete)
    elif setting == "tokenizer":
        yield from _tokenizers(session, incomplete)
    elif setting == "chat_template":
        yield from _registered("chat_templates", session, incomplete)
    else:
        value, known = session.settings.get(setting), next(s for s in session.settings if s.name == setting)
        told = {f"{known.default}": "the default", f"{value}": "as it is"}
        for name in dict.fromkeys((f"{value}", f"{known.default}", *known.choices)):
            yield name, "; ".join(filter(None, (known.choices.get(name), told.get(name))))


def _registered(kind: str, session: Session, _incomplete: str) -> Iterator[Offer]:
    return ((entry.name, entry.summary) for entry in getattr(session.plugins, kind))


CONFIG_KEY = NameType("key=value", _config_keys)
PRESET = NameType("preset", _presets, files="file", endings=_YAML)
RUN = NameType("run", _runs)
RUN_OR_DIR = NameType("run", _runs, files="dir")
MODEL = NameType("model", _models, files="dir")
SOURCE = NameType("source", _sources, files="file", endings=_DATA)
DEVICE = NameType("device", _devices)
SETTING = NameType("setting", _settings)
TOKENIZER = NameType("tokenizer", _tokenizers, files="file")
TRAINED_TOKENIZER = NameType("tokenizer", _trained_tokenizers)
SETTING_VALUE = SettingValueType("value")
COMMAND = NameType("command", _commands)
CONVERSATION = NameType("conversation", _conversations)
PRESET_OR_MODEL = NameType("model", _presets_and_models, files="file")
PLUGIN = NameType("plugin", _plugins)
SAMPLER_VALUE = NameType("sampler", _sampler_values)
