"""What the faces share: settings, plugins, the chosen data and model, runs, the conversation.

A face opens one `Session` (`nanoshell.opening`) and hands it to every command. It holds no widget and prints
nothing; long work speaks through its `narrator`. torch is loaded by the first method that needs a model.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from nanoshell import paths
from nanoshell.errors import UsageError
from nanoshell.last import absolute, keep_state, last_state
from nanoshell.narrator import Narrator, SilentNarrator
from nanoshell.plugin.manager import Plugins
from nanoshell.reply import Reply, ReplyOptions, answer, reply
from nanoshell.settings import Settings
from nanoshell.spelling import typed

if TYPE_CHECKING:
    from nanoshell.chat.conversation import Conversation
    from nanoshell.chat.history import ConversationStore
    from nanoshell.chat.template import ChatTemplate
    from nanoshell.data.corpus import Corpus
    from nanoshell.data.source import DataSource
    from nanoshell.following import Following
    from nanoshell.generation.batch import Batch
    from nanoshell.generation.request import GenerateOptions, GenerationRequest, WrittenText
    from nanoshell.generation.row import Generation
    from nanoshell.loading import LoadedModel
    from nanoshell.model.backend import Backend
    from nanoshell.runs.directory import RunDirectory, RunStatus
    from nanoshell.runs.locate import ModelLocation
    from nanoshell.tokenizer.base import Tokenizer
    from nanoshell.training.launch import TrainRequest


@dataclass
class Session:
    """One person's work: `open_session` builds it.

    ``last_written`` is the last reply or sample, finished or not: what ``why`` explains.
    """

    plugins: Plugins
    settings: Settings
    history: bool = True
    narrator: Narrator = field(default_factory=SilentNarrator)
    data: str | None = None
    model_name: str | None = None
    last_written: WrittenText | None = None
    _tokenizer: Tokenizer | None = None
    _loaded: LoadedModel | None = None

    @property
    def runs_dir(self) -> Path:
        """The folder of the runs."""
        return Path(self.settings.text("runs_dir")).expanduser()

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the settings, built when first needed. A model brings its own.

        One that the user trained is read every time: it may have been trained anew meanwhile.
        """
        name, registered = self.settings.text("tokenizer"), self.plugins.tokenizers
        if self._tokenizer is None or self._tokenizer.name != name or name not in registered:
            from nanoshell.tokenizer.store import find_tokenizer

            self._tokenizer = find_tokenizer(name, registered)
        return self._tokenizer

    @cached_property
    def template(self) -> ChatTemplate:
        """The chat template of the settings."""
        return self.plugins.chat_templates.get(self.settings.text("chat_template"))()

    @cached_property
    def store(self) -> ConversationStore:
        """Where conversations are kept; in memory alone without history."""
        from nanoshell.chat.history import ConversationStore

        if not self.history:
            return ConversationStore(None)
        return ConversationStore(paths.private_folder(paths.data_dir()) / "conversations.db")

    @cached_property
    def conversation(self) -> Conversation:
        """The current conversation; assign another to switch."""
        from nanoshell.chat.conversation import Conversation

        return Conversation(name=self.store.new_name())

    def take_up_conversation(self) -> Conversation | None:
        """Make the conversation that was changed last the current one, and return it.

        None where this session has one already, or none is kept that says anything. Raises as the store does.
        """
        last = None if "conversation" in vars(self) else self.store.last()
        if last is None or not last.messages:
            return None
        self.conversation = last
        return last

    # Data

    def open_source(self, spec: str | None = None) -> DataSource:
        """Return the data source named ``spec``, or the chosen one. Raises `DataError`, `UsageError`."""
        from nanoshell.data.source import open_source

        wanted = spec or self.data
        if wanted is None:
            raise UsageError("no data is chosen", hint=f"try: {typed('data use nano-start')}")
        return open_source(wanted, self.plugins.sources)

    def use_data(self, spec: str) -> DataSource:
        """Choose ``spec`` for the commands that follow, and remember it for the next start."""
        source = self.open_source(spec)
        self.data = source.spec
        self.remember()
        return source

    def prepare_corpus(self, spec: str | None = None, *, special: bool = False) -> Corpus:
        """Return the source as token ids on disk, tokenizing it where that has not been done."""
        from nanoshell.data.corpus import prepare_corpus

        source = self.open_source(spec)
        return prepare_corpus(source, self.tokenizer, self.template, special=special, narrator=self.narrator)

    # Runs

    @cached_property
    def following(self) -> Following:
        """The runs that this session has started or was attached to."""
        from nanoshell.following import Following

        return Following()

    def train(self, request: TrainRequest) -> RunDirectory:
        """Validate ``request``, start its worker, follow it, and make its weights the session's model."""
        from nanoshell.training.launch import start_run

        run = start_run(request, self.plugins, self.narrator)
        self.following.add(run, before=self._model_before(run))
        self.data = request.source or self.data
        self.model_name = str(run.path)
        self.remember()
        return run

    def find_run(self, reference: str) -> RunDirectory:
        """Return the run named ``reference`` (a name, a path, or ``latest``). Raises `RunError`."""
        from nanoshell.runs.directory import find_run

        return find_run(self.runs_dir, reference)

    def follow(self, run: RunDirectory, *, everything: bool = False) -> None:
        """Count ``run``, started elsewhere or by an earlier session, among those of this one."""
        self.following.add(run, everything=everything)

    def unfollow(self, run: RunDirectory) -> bool:
        """Follow ``run`` no more, and return whether it was followed. It goes on."""
        return self.following.drop(run)

    def steered_run(self, reference: str | None = None) -> RunDirectory:
        """Return the run that ``reference`` names, else the one that is meant where none is named.

        That is the run in progress that this session follows (of several the one in the toolbar), else the
        only one in progress in the folder. Raises `MissingRunError` where there is none, `UsageError` naming
        them where there are several.
        """
        return self.find_run(reference) if reference else self.following.meant(self.runs_dir, self.model_name)

    def ask_run(self, run: RunDirectory, action: str, **arguments: Any) -> str:
        """Ask the worker of ``run`` for ``action`` and return the id of the request. Raises `RunError`."""
        return self.following.ask(run, action, **arguments)

    def extend_ended(self, run: RunDirectory, **by: Any) -> str:
        """Resume ``run`` to train longer ``by`` ``steps`` or ``epochs``, and return the id of the request.

        Raises as `train` does.
        """
        from nanoshell.runs.control import new_request
        from nanoshell.training.request import TrainRequest

        request = new_request("extend", **by)
        self.following.expect(request["id"])
        self.train(TrainRequest(None, None, self.runs_dir, resume=str(run.path.resolve()), extend=request))
        return str(request["id"])

    def runs_in_progress(self) -> list[tuple[RunDirectory, RunStatus]]:
        """Return the followed runs that have not ended, with their status."""
        return self.following.in_progress()

    def finished_runs(self) -> list[tuple[RunDirectory, RunStatus]]:
        """Return the followed runs that have ended since the last call, telling plugins of each."""
        ended = [(run, status) for run, status in self.following.with_status() if status.ended]
        for run, status in ended:
            self.run_ended(run, status.state)
        return ended

    def run_ended(self, run: RunDirectory, state: str) -> str:
        """Tell plugins that ``run`` has ended as ``state``, and stop following it.

        One that leaves no weights is the chosen model no more: the one before it is again. Returns a sentence
        that says so, '' where it is not so.
        """
        from nanoshell.runs.locate import is_of_run, model_name

        before = self.following.model_before(run)
        self.following.drop(run)
        self.plugins.notify("run_finished", session=self, run=run, status=state)
        if run.latest_checkpoint() is not None or not is_of_run(self.model_name, run):
            return ""
        self.run_removed(run)
        self.model_name = before
        self.remember()
        again = f"the model is {model_name(before)} again" if before else "no model is chosen now"
        return f"{run.name} has no weights: {again}"

    def _model_before(self, run: RunDirectory) -> str | None:
        """Return the model that is chosen before ``run`` is, by this session or by the last one."""
        from nanoshell.runs.locate import is_of_run, last_model

        before = self.model_name or (last_model() if self.history else None)
        return None if is_of_run(before, run) else before

    def run_removed(self, run: RunDirectory) -> None:
        """Let go of the chosen model, and of the last start's, where it was one of ``run``."""
        from nanoshell.runs.locate import is_of_run

        if is_of_run(self.model_name, run):
            self.model_name = None
        if is_of_run(last_state().get("model"), run):
            self.forget("model")

    # Models

    def locate_model(self, reference: str) -> ModelLocation:
        """Return the model directory that ``reference`` names: ``latest``, a run, ``RUN@STEP``, or a folder.

        A run that is training is asked for a snapshot of its newest weights. Raises `UnknownNameError`,
        `RunError`, `CheckpointError`.
        """
        from nanoshell.runs.locate import locate_model

        return locate_model(self.runs_dir, reference)

    def use_model(self, reference: str) -> LoadedModel:
        """Load the model that ``reference`` names, choose it for what follows, and remember it."""
        loaded = self._load(self.locate_model(reference))
        self.model_name = str(Path(reference).resolve()) if Path(reference).exists() else reference
        self.remember()
        return loaded

    def model(self, reference: str | None = None) -> LoadedModel:
        """Return the chosen model, or that of ``reference`` without choosing it, loaded where needed."""
        wanted = reference or self.model_name
        if wanted is None:
            raise UsageError(
                "no model is loaded",
                hint=f"try: {typed('demo')}, {typed('train')}, or {typed('model load latest')}",
            )
        return self._load(self.locate_model(wanted))

    @property
    def loaded(self) -> LoadedModel | None:
        """The model that is in memory, chosen or not; None where none is. Asking loads nothing."""
        return self._loaded

    def abandon_model(self) -> None:
        """Let go of the model in memory, which somebody may still work with: the next is loaded anew."""
        self._loaded = None

    def backend(self) -> Backend:
        """Return the backend of the ``device`` setting. Raises `DeviceError`."""
        from nanoshell.model.backend import choose_backend

        return choose_backend(self.settings.text("device"), self.plugins.backends)

    def _load(self, location: ModelLocation) -> LoadedModel:
        from nanoshell.loading import check_dtype, load

        backend, dtype, compiled = self.backend(), self.settings.text("dtype"), self.settings.text("compile")
        if self._loaded is not None:
            if self._loaded.is_of(location.path, str(backend.device()), dtype, compiled):
                return self._loaded
            check_dtype(backend, dtype)
            # Memory may not hold two models. The old one's replies and compiled steps refer to themselves,
            # so that it stays until they are collected.
            self._loaded = None
            gc.collect()
        self._loaded = load(
            location, self.plugins, backend, dtype=dtype, compiled=compiled, narrator=self.narrator
        )
        return self._loaded

    # Generation and chat

    def sampling(self, overrides: Mapping[str, float] | None = None) -> dict[str, float]:
        """Return the value of every sampler's setting, ``overrides`` on top. Raises `UnknownNameError`."""
        values = {entry.name: self.settings.number(entry.name) for entry in self.plugins.samplers}
        for name, value in (overrides or {}).items():
            self.plugins.samplers.entry(name)
            values[name] = value
        return values

    def generate(
        self, prompt: str, *, model: LoadedModel | None = None, **options: Unpack[GenerateOptions]
    ) -> Generation:
        """Continue ``prompt`` with ``model``, by default the chosen one; iterate over the result."""
        return self.generate_batch([prompt], model=model, **options).rows[0]

    def generate_batch(
        self,
        prompts: Sequence[str],
        *,
        n: int = 1,
        model: LoadedModel | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Batch:
        """Continue each of ``prompts`` ``n`` times, all at once; see `Engine.generate_batch` for the rows."""
        loaded = model or self.model()
        engine = loaded.engine
        requests = [self._request(prompt, engine.tokenizer, options) for prompt in prompts]
        batch = engine.generate_batch(requests, n=n)
        self.last_written = replace(
            batch.rows[0].written, model=loaded.label, tokenizer=engine.tokenizer.fingerprint
        )
        return batch

    def _request(self, prompt: str, tokenizer: Tokenizer, options: GenerateOptions) -> GenerationRequest:
        from nanoshell.chat.template import role_ids
        from nanoshell.generation.request import GenerationRequest

        special, max_tokens = options.get("special", False), options.get("max_tokens")
        ids = tokenizer.encode_special(prompt) if special else tokenizer.encode(prompt)
        start = [tokenizer.end_of_text] if options.get("start_of_document", True) else []
        return GenerationRequest(
            prompt=start + ids,
            max_tokens=int(self.settings.number("max_tokens")) if max_tokens is None else max_tokens,
            sampling=self.sampling(options.get("sampling")),
            seed=options.get("seed"),
            stop_ids=role_ids(tokenizer) | {tokenizer.end_of_text},
            stop=tuple(options.get("stop", ())),
            allow_special=special,
            logit_bias=options.get("logit_bias", {}),
            top_logprobs=options.get("top_logprobs", 0),
        )

    def reply(self, text: str, **options: Unpack[ReplyOptions]) -> Reply:
        """Add ``text`` as the user's turn and return the assistant's, to be iterated."""
        return reply(self, text, **options)

    def answer(self, **options: Unpack[ReplyOptions]) -> Reply:
        """Return the assistant's turn after the conversation as it stands (whose last turn is the user's)."""
        return answer(self, **options)

    # Between starts

    def close(self) -> None:
        """Close what is open. The session can go on: it is opened again when needed."""
        if "store" in vars(self):
            self.store.close()

    def remember(self) -> None:
        """Keep the names of model and data for the next start. Failing to is no reason to fail.

        What this session has not chosen stays as the last one left it.
        """
        if not self.history:
            return
        state = last_state() | {"runs_dir": str(self.runs_dir.resolve())}
        if self.model_name is not None:
            state["model"] = absolute(self.model_name)
        if self.data is not None:
            named = self.data.partition(":")[0] in self.plugins.sources
            state["data"] = self.data if named else absolute(self.data)
        keep_state(state)

    def forget(self, *names: str) -> None:
        """Forget the ``model`` or ``data`` of the last session, because it is gone."""
        keep_state({name: kept for name, kept in last_state().items() if name not in names})
