"""Three prompts out of a dataset whose answers stand in it, put to a model at temperature 0."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanoshell import Conversation, GeneratedToken, Generation, Message, Session

COMPLETION_SOURCE = "nano-start:completions"
QUESTION_SOURCE = "nano-start:qa"
CHAT_SOURCE = "nano-start:chat"

PREFERRED_PROMPT = "The capital of France is"
PREFERRED_QUESTION = "Why is the sky blue?"
PREFERRED_OPENING = "Why do birds sing?"

_ANSWER_ROOM = 12
"""Tokens beyond the expected answer: enough to show where a wrong one wanders, without a page of it."""


@dataclass(frozen=True)
class Turn:
    """One prompt or user message, what the data has as its answer, and what the model said."""

    prompt: str
    expected: str
    text: str = ""

    @property
    def right(self) -> bool:
        """Whether the model said what the data has."""
        return self.text.strip() == self.expected.strip()


@dataclass(frozen=True)
class Task:
    """A prompt out of the dataset: a text to continue, a question, or a chat of several turns."""

    kind: str
    turns: list[Turn]
    system: str = ""


@dataclass(frozen=True)
class Answer:
    """A task with what the model said."""

    kind: str
    prompt: str
    expected: list[str]
    text: list[str]
    right: bool
    system: str = field(default="")


Tell = Callable[[str, str], None]
"""Writes (text, style) as it comes."""


def tasks(session: Session, max_positions: int) -> list[Task]:
    """Return a completion, a question and a chat from the embedded dataset, short enough for the model."""
    chat = _chat(session, max_positions)
    return [_completion(session), _question(session), *([chat] if chat else [])]


def _completion(session: Session) -> Task:
    texts = [document.text for document in session.open_source(COMPLETION_SOURCE).documents()]
    whole = next((text for text in texts if text.startswith(PREFERRED_PROMPT)), texts[0])
    prompt = PREFERRED_PROMPT if whole.startswith(PREFERRED_PROMPT) else _first_words(whole)
    return Task("completion", [Turn(prompt, whole[len(prompt) :])])


def _first_words(text: str) -> str:
    words = text.split(" ")
    return " ".join(words[: max(1, len(words) * 2 // 3)])


def _question(session: Session) -> Task:
    pairs = [_pairs(document.messages) for document in session.open_source(QUESTION_SOURCE).documents()]
    found = next((pair for pair in pairs if pair[0].prompt == PREFERRED_QUESTION), pairs[0])
    return Task("question", found)


def _chat(session: Session, max_positions: int) -> Task | None:
    """Return a conversation of a system turn and two exchanges that the model can see whole, if any."""
    fitting = []
    for document in session.open_source(CHAT_SOURCE).documents():
        system, *rest = document.messages
        if system.role != "system" or len(_pairs(rest)) < 2:
            continue
        length = 1 + len(session.template.encode(document.messages[:5], session.tokenizer))
        fitting.append((length, Task("chat", _pairs(rest)[:2], system.content)))
    if not fitting:
        return None
    shortest = min(fitting, key=lambda entry: entry[0])
    # Three quarters: a reply is promised a quarter of the positions, or the oldest turns are left out.
    short = [task for length, task in fitting if length <= max_positions * 3 // 4]
    return next((task for task in short if task.turns[0].prompt == PREFERRED_OPENING), shortest[1])


def _pairs(messages: Sequence[Message]) -> list[Turn]:
    turns = [message for message in messages if message.role != "system"]
    return [
        Turn(asked.content, answer.content)
        for asked, answer in zip(turns[::2], turns[1::2], strict=False)
        if asked.role == "user" and answer.role == "assistant"
    ]


def greedy(session: Session) -> dict[str, float]:
    """Return settings under which the likeliest token is always taken, whatever the user has set."""
    neutral = {entry.name: float(entry.options["neutral"]) for entry in session.plugins.samplers}
    return {**neutral, "temperature": 0.0}


def answer(session: Session, task: Task, tell: Tell) -> Answer:
    """Put ``task`` to the session's model, telling what is said as it comes, and return it."""
    if task.kind == "completion":
        said = [_continue(session, task.turns[0], tell)]
    else:
        said = _talk(session, task, tell)
    return Answer(
        kind=task.kind,
        prompt=task.turns[0].prompt,
        expected=[turn.expected.strip() for turn in said],
        text=[turn.text.strip() for turn in said],
        right=len(said) == len(task.turns) and all(turn.right for turn in said),
        system=task.system,
    )


def _continue(session: Session, turn: Turn, tell: Tell) -> Turn:
    room = len(session.tokenizer.encode(turn.expected)) + _ANSWER_ROOM
    generation = session.generate(turn.prompt, max_tokens=room, sampling=greedy(session), seed=0)
    tell(turn.prompt, "")
    _tell_all(generation, tell)
    return Turn(turn.prompt, turn.expected, generation.text)


def _talk(session: Session, task: Task, tell: Tell) -> list[Turn]:
    """Hold the conversation of ``task`` apart from the user's own: nothing is kept, no plugin is told."""
    from nanoshell import Conversation

    conversation = Conversation(name=task.kind)
    said: list[Turn] = []
    if task.system:
        conversation.set_system(task.system)
        tell(f"system     {task.system}\n", "nano.quiet")
    for turn in task.turns:
        tell("user       ", "nano.quiet")
        tell(turn.prompt + "\n", "")
        tell("assistant  ", "nano.quiet")
        conversation.add("user", turn.prompt)
        generation = _reply(session, conversation)
        _tell_all(generation, tell)
        conversation.add("assistant", generation.text)
        said.append(Turn(turn.prompt, turn.expected, generation.text))
    return said


def _reply(session: Session, conversation: Conversation) -> Generation:
    """Return the assistant's next turn as `Session.answer` would, in a conversation apart."""
    from nanoshell import GenerationRequest

    engine = session.model().engine
    most = int(session.settings.number("max_tokens"))
    reserve = min(most, max(8, engine.max_positions // 4))
    return engine.generate(
        GenerationRequest(
            prompt=conversation.fit(session.template, engine.tokenizer, engine.max_positions, reserve).ids,
            max_tokens=most,
            sampling=session.sampling(greedy(session)),
            seed=0,
            stop_ids=session.template.stop_ids(engine.tokenizer),
        )
    )


def _tell_all(tokens: Iterable[GeneratedToken], tell: Tell) -> None:
    for token in tokens:
        tell(token.text, "nano.accent")
    tell("\n", "")
