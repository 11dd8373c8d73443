"""The hooks: what a plugin may implement, each with the shape of the ``register`` that it is handed.

A plugin is a module (or a class instance) whose functions carry the `hookimpl` mark and the name of a hook::

    from nanoshell import hookimpl

    @hookimpl
    def register_commands(register):
        register(my_click_command)

Values are registered as *factories*, called when they are first needed, so that registering stays light: a
plugin module must not import torch, numpy or anything else that is slow at its top level.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import pluggy

if TYPE_CHECKING:
    import click

    from nanoshell.chat.conversation import Conversation
    from nanoshell.chat.template import ChatTemplate, Message
    from nanoshell.data.source import DataSource
    from nanoshell.generation.sampling import LogitsProcessor
    from nanoshell.model.backend import Backend
    from nanoshell.runs.directory import RunDirectory
    from nanoshell.session import Session
    from nanoshell.tokenizer.base import Tokenizer

PROJECT = "nanoshell"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

FaceName = Literal["prompt", "cli", "palette"]
EVERY_FACE: tuple[FaceName, ...] = ("prompt", "cli", "palette")


class RegisterCommand(Protocol):
    def __call__(
        self,
        command: click.Command,
        *,
        aliases: Sequence[str] = (),
        faces: Collection[FaceName] = EVERY_FACE,
        group: str = "Other",
        raw: bool = False,
        examples: Sequence[str] = (),
    ) -> None:
        """Register a click command under its own name.

        ``aliases`` are further names; ``faces`` says where it makes sense; ``group`` is its heading in the
        help; a ``raw`` command gets the rest of the line as one argument, unquoted; ``examples`` are command
        lines without the leading ``:`` or ``nanoshell``.
        """


class RegisterSource(Protocol):
    def __call__(
        self,
        name: str,
        factory: Callable[[str], DataSource],
        *,
        summary: str = "",
        spelling: str = "",
        parts: Mapping[str, str] = ...,
    ) -> None:
        """Register a data source: ``factory(rest)`` opens ``NAME:REST`` (``rest`` may be empty).

        ``spelling`` says in lists how a user writes it, where that is not its name alone: ``url:https://…``.
        ``parts`` are what ``REST`` is most often, with a line about each: completion offers them.
        """


class RegisterBackend(Protocol):
    def __call__(
        self, name: str, factory: Callable[[], Backend], *, summary: str = "", rank: int = 0
    ) -> None:
        """Register a device and its policy. ``auto`` takes the available one of highest ``rank``."""


class RegisterTokenizer(Protocol):
    def __call__(self, name: str, factory: Callable[[], Tokenizer], *, summary: str = "") -> None:
        """Register a tokenizer under the name that checkpoints use."""


class RegisterSampler(Protocol):
    def __call__(
        self,
        name: str,
        factory: Callable[..., LogitsProcessor] | None,
        *,
        order: int | None = None,
        default: float,
        neutral: float | None = None,
        minimum: float | None = None,
        maximum: float | None = None,
        integer: bool = False,
        uses: Sequence[str] = (),
        summary: str = "",
    ) -> None:
        """Register a step from logits to logits, controlled by the setting ``name``.

        ``factory(value)`` builds it, once for every reply; it is left out while the setting equals
        ``neutral``. Steps run by rising ``order``. A value outside ``minimum`` … ``maximum`` is refused
        before anything is built. ``uses`` names settings registered before, also of other samplers, whose
        values the factory gets as keyword arguments, and ``tokenizer`` for the model's. With None for the
        factory, no order and no neutral value, it is a setting for others to use.
        """


class RegisterOptimizer(Protocol):
    def __call__(self, name: str, factory: Callable[..., Any], *, summary: str = "") -> None:
        """Register an optimizer: ``factory(model, trainer_config)`` returns a `torch.optim.Optimizer`."""


class RegisterMixer(Protocol):
    def __call__(
        self,
        name: str,
        factory: Callable[..., Any],
        *,
        kind: Literal["mixer", "feed_forward"] = "mixer",
        summary: str = "",
    ) -> None:
        """Register a layer kind: ``factory(model_config, layer_index)`` builds it (`nanoshell.Mixer`)."""


class RegisterChatTemplate(Protocol):
    def __call__(self, name: str, factory: Callable[[], ChatTemplate], *, summary: str = "") -> None:
        """Register a way to turn messages into ids."""


class RegisterExporter(Protocol):
    def __call__(self, name: str, factory: Callable[..., Any], *, summary: str = "") -> None:
        """Register a format: ``factory(model_dir, target)`` writes the model to ``target``."""


class RegisterPanel(Protocol):
    def __call__(self, name: str, factory: Callable[..., Any], *, summary: str = "") -> None:
        """Register a panel of the dashboard: ``factory()`` returns a new `nanoshell.Panel`.

        It is called when a dashboard opens, and not before: Textual is first imported there.
        """


class RegisterRunSection(Protocol):
    def __call__(self, name: str, section: Callable[[RunDirectory], Any], *, summary: str = "") -> None:
        """Register what is shown beside a run's figures: ``section(run)`` returns a value as a command does.

        It reads the run's directory alone; None where there is nothing to show.
        """


class Hooks:
    """The specifications. Every hook is optional, and a plugin may take fewer arguments than it offers."""

    @hookspec
    def register_commands(self, register: RegisterCommand) -> None:
        """Bring click commands; each becomes ``:name``, ``nanoshell name`` and a palette entry."""

    @hookspec
    def register_sources(self, register: RegisterSource) -> None:
        """Bring data sources: where documents come from."""

    @hookspec
    def register_backends(self, register: RegisterBackend) -> None:
        """Bring backends: a device with its dtype, memory figures and synchronisation."""

    @hookspec
    def register_tokenizers(self, register: RegisterTokenizer) -> None:
        """Bring tokenizers."""

    @hookspec
    def register_samplers(self, register: RegisterSampler) -> None:
        """Bring samplers: steps from logits to logits, in a stated order."""

    @hookspec
    def register_optimizers(self, register: RegisterOptimizer) -> None:
        """Bring optimizers for ``trainer.optimizer``."""

    @hookspec
    def register_mixers(self, register: RegisterMixer) -> None:
        """Bring layer kinds: mixers (over positions) and feed-forwards (over channels)."""

    @hookspec
    def register_chat_templates(self, register: RegisterChatTemplate) -> None:
        """Bring chat templates."""

    @hookspec
    def register_exporters(self, register: RegisterExporter) -> None:
        """Bring formats to which a model can be exported."""

    @hookspec
    def register_panels(self, register: RegisterPanel) -> None:
        """Bring panels of the dashboard."""

    @hookspec
    def register_run_sections(self, register: RegisterRunSection) -> None:
        """Bring what is shown beside a run's figures, in ``runs show`` and in the dashboard."""

    @hookspec
    def session_started(self, session: Session) -> None:
        """Notice: a face has built its session and is about to take commands."""

    @hookspec
    def run_finished(self, session: Session, run: RunDirectory, status: str) -> None:
        """Notice: a run that this session started or followed has ended as ``status``."""

    @hookspec
    def message_finished(self, session: Session, conversation: Conversation, message: Message) -> None:
        """Notice: a reply is complete (or was interrupted) and stored in its conversation."""
