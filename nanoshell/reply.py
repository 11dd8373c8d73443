"""The assistant's turn of a conversation: what is asked of the model, and the reply while it is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict, Unpack

if TYPE_CHECKING:
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
    """The assistant's next turn, token by token; however it ends, the conversation has kept it."""

    def __init__(self, session: Session, generation: Generation, dropped: int) -> None:
        self._session = session
        self.generation = generation
        self.dropped = dropped

    def __iter__(self) -> Iterator[GeneratedToken]:
        try:
            yield from self.generation
        except KeyboardInterrupt:
            self.generation.interrupt()
        finally:
            self._keep()

    def _keep(self) -> None:
        session = self._session
        interrupted = self.generation.finish_reason == "interrupted"
        message = session.conversation.add("assistant", self.generation.text, interrupted=interrupted)
        session.store.save(session.conversation)
        session.plugins.notify(
            "message_finished", session=session, conversation=session.conversation, message=message
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
    session.store.save(session.conversation)
    session.last_written = replace(generation.written, model=loaded.label)
    return Reply(session, generation, fitted.dropped)
