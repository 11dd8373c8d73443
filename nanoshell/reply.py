"""The assistant's turn of a conversation: what is asked of the model, and the reply while it is written."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict, Unpack

if TYPE_CHECKING:
    from nanoshell.chat.template import Message
    from nanoshell.generation.request import GeneratedToken
    from nanoshell.generation.row import Generation
    from nanoshell.loading import LoadedModel
    from nanoshell.session import Session


class ReplyOptions(TypedDict, total=False):
    """What can be chosen for one reply, by keyword; ``sampling`` holds what differs from the settings."""

    sampling: Mapping[str, float] | None
    seed: int | None
    stop: Sequence[str]
    logit_bias: Mapping[int, float] | None
    model: LoadedModel | None


class Reply:
    """The assistant's next turn, token by token; however it ends, the conversation has kept it.

    A face that has them computed aside puts another iterator in the place of ``tokens``.
    Until it has ended it is kept, as interrupted, as far as it has come. ``trouble`` says why the ended reply
    could not be kept, '' where it was or where that has been said before.
    """

    def __init__(self, session: Session, generation: Generation, dropped: int, model: LoadedModel) -> None:
        from nanoshell.chat.keeping import ReplyKeeper

        self._session = session
        self._conversation = session.conversation
        self._keeper = ReplyKeeper(session.store, session.conversation, lambda: self._message(ended=False))
        self._label, self._step = model.label, model.step
        self.generation = generation
        self.tokens: Iterator[GeneratedToken] = generation
        self.special_ids = frozenset(model.engine.tokenizer.special_tokens.values())
        self.dropped = dropped
        self.trouble = ""
        self._kept = False
        before = session.conversation.id, session.conversation.name
        if trouble := self._keeper.begin():
            session.narrator.note(trouble)
        elif before[0] not in (None, session.conversation.id):
            session.narrator.note(
                f"{before[1]} was changed elsewhere meanwhile: this goes on as {session.conversation.name}"
            )

    def __iter__(self) -> Iterator[GeneratedToken]:
        try:
            for token in self.tokens:
                self._keeper.grow()
                yield token
        except KeyboardInterrupt:
            self.generation.interrupt()
        finally:
            self._keep()

    def close(self) -> None:
        """Keep the reply as far as it has come, as interrupted, where it has not been kept already."""
        if not self._kept:
            self.generation.interrupt()
            self._keep()

    def leave_behind(self) -> None:
        """Let go of the model: a computation for which nobody waits any more is still at work with it."""
        self._session.abandon_model()

    def _keep(self) -> None:
        """Keep the reply, once; one that failed before it said anything is none."""
        if self._kept:
            return
        self._kept = True
        said = self.generation.finish_reason or self.generation.tokens or self.generation.interrupted
        message = self._message(ended=True) if said else None
        self.trouble = self._keeper.finish(message)
        if message is not None:
            self._session.plugins.notify(
                "message_finished", session=self._session, conversation=self._conversation, message=message
            )

    def _message(self, *, ended: bool) -> Message:
        from nanoshell.chat.template import Message, Origin

        generation, request = self.generation, self.generation.request
        tokens = list(generation.tokens)  # in a draft it grows meanwhile
        origin = Origin(
            model=self._label,
            step=self._step,
            seed=generation.seed,
            tokens=len(generation.ids) if ended else len(tokens),
            prompt_tokens=generation.prompt_tokens,
            max_tokens=request.max_tokens,
            sampling=dict(request.sampling),
            stop=request.stop,
            logit_bias=dict(request.logit_bias),
        )
        return Message(
            "assistant",
            "".join(token.text for token in tokens),
            interrupted=not ended or generation.finish_reason in ("", "interrupted"),
            created=time.time(),
            origin=origin,
        )


def reply(session: Session, text: str, **options: Unpack[ReplyOptions]) -> Reply:
    """Add ``text`` as the user's turn and return the assistant's, to be iterated."""
    options["model"] = options.get("model") or session.model()  # a missing one must not leave a question
    session.conversation.add("user", text)
    try:
        return answer(session, **options)
    except BaseException:
        session.conversation.undo()
        raise


def answer(session: Session, **options: Unpack[ReplyOptions]) -> Reply:
    """Return the assistant's turn after the conversation as it stands (whose last turn is the user's)."""
    from nanoshell.generation.request import GenerationRequest

    loaded = options.get("model") or session.model()
    engine = loaded.engine
    positions, longest = engine.max_positions, int(session.settings.number("max_tokens"))
    reserve = min(longest, max(8, positions // 4))
    fitted = session.conversation.fit(session.template, engine.tokenizer, positions, reserve)
    request = GenerationRequest(
        prompt=fitted.ids,
        max_tokens=longest,
        sampling=session.sampling(options.get("sampling")),
        seed=options.get("seed"),
        stop_ids=session.template.stop_ids(engine.tokenizer),
        stop=tuple(options.get("stop", ())),
        logit_bias=options.get("logit_bias") or {},
    )
    generation = engine.generate(request)  # checks the request: what it refuses is not kept
    session.last_written = replace(
        generation.written, model=loaded.label, tokenizer=engine.tokenizer.fingerprint
    )
    return Reply(session, generation, fitted.dropped, loaded)
