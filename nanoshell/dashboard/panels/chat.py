"""The conversation of the prompt, gone on with in the dashboard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Input, Static

from nanoshell.command.render import counted
from nanoshell.dashboard.panel import Action, Panel
from nanoshell.dashboard.panels.exporting import copy_from
from nanoshell.dashboard.panels.textdiff import shown
from nanoshell.dashboard.panels.writing import PULSE_SECONDS, Writing

if TYPE_CHECKING:
    from textual.timer import Timer
    from textual.widget import Widget

    from nanoshell.chat.conversation import Conversation
    from nanoshell.chat.template import Message
    from nanoshell.dashboard.course import Snapshot
    from nanoshell.generation.request import GeneratedToken
    from nanoshell.reply import Reply
    from nanoshell.session import Session

_LONGEST = 100
"""Messages that are shown of a conversation, the newest; `chat show` has them all."""

_USER, _QUIET = "bold", "dim"
_LAST_WORD_SECONDS = 2.0
_GLANCE_SECONDS = 0.5


@dataclass(frozen=True)
class _Said:
    """A part of a reply, and whether it is a ``special`` token."""

    text: str
    special: bool


class _Talk:
    """A reply of ``model`` as `Writing` takes it: its tokens, and the way to interrupt them."""

    def __init__(self, reply: Reply, model: str) -> None:
        self.reply = reply
        self.model = model

    def __iter__(self) -> Iterator[GeneratedToken]:
        return iter(self.reply)

    def interrupt(self) -> None:
        self.reply.generation.interrupt()


class ChatPanel(Panel):
    """The session's conversation, and a line for what is said next.

    ``with_run`` talks to the newest weights of the focused run, otherwise it is the session's model, where
    one is chosen.
    """

    panel_id = "chat"
    title = "Chat"
    place = "chat"
    about = (
        "The conversation of the prompt: what is said here is said there. Enter sends the line; Esc or "
        "Ctrl-C ends a reply and keeps what has come; else Ctrl-C clears the line. It is with the model "
        "chosen at the prompt, without one with the newest weights of the run in focus; Ctrl-T goes from "
        "the one to the other. Up, Down, PgUp and PgDn scroll. Esc leaves the line, so that other keys "
        "work, and Enter comes back. Ctrl-Y, or y once the line is left, copies the last reply."
    )
    actions: ClassVar[tuple[Action, ...]] = (
        Action("interrupt", "End the reply", ("escape",), "Chat", writes=True, footer=True),
        Action("talk", "Say something", ("enter",), "Chat", writes=True, footer=True),
        Action(
            "other_model", "Chosen model or run", ("ctrl+t",), "Chat", writes=True, footer=True, short="Model"
        ),
        Action("clear", "End the reply, or clear the line", ("ctrl+c",), "Chat", writes=True),
        Action("copy", "Copy the last reply", ("ctrl+y", "y"), "Chat"),
        Action("line_up", "Up", ("up",), "Chat"),
        Action("line_down", "Down", ("down",), "Chat"),
        Action("page_up", "A page up", ("pageup",), "Chat"),
        Action("page_down", "A page down", ("pagedown",), "Chat"),
    )
    DEFAULT_CSS = """
    ChatPanel { layout: vertical; }
    ChatPanel > #who { height: 1; width: 1fr; }
    ChatPanel VerticalScroll { height: 1fr; }
    ChatPanel VerticalScroll > Static { width: 1fr; height: auto; }
    ChatPanel .reply { margin-bottom: 1; }
    ChatPanel Input { height: 1; width: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.with_run = False
        self._run_path = ""
        self._run_name = ""
        self._label = ""
        self._seen: tuple[Conversation, tuple[Message, ...]] | None = None
        self._writing: Writing | None = None
        self._talk: _Talk | None = None
        self._question = ""
        self._said: list[_Said] = []
        self._pulse: Timer | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="who")
        yield VerticalScroll(id="talk", can_focus=False)
        yield Input(placeholder="Say something", compact=True)

    def on_mount(self) -> None:
        self._pulse = self.set_interval(PULSE_SECONDS, self._take, pause=True)
        self.every(_GLANCE_SECONDS, self._glance)
        self.query_one("#talk", VerticalScroll).anchor()
        self.query_one(Input).display = self.session is not None
        self._glance()
        self._introduce()

    async def on_unmount(self) -> None:
        if self._writing is not None:
            self._writing.interrupt()
            self._let_go(self._writing)

    @property
    def session(self) -> Session | None:
        """The session whose conversation this is; None where the dashboard only reads."""
        return None if self.desk.read_only else self.desk.session

    @property
    def replying(self) -> bool:
        """Whether a reply is being written."""
        return self._writing is not None

    def update(self, snapshot: Snapshot) -> None:
        course = snapshot.focused
        self._run_name = course.run.name if course else ""
        self._run_path = str(course.run.path) if course else ""
        self._introduce()

    # What is on the screen

    def _introduce(self) -> None:
        """Say which conversation this is, and whom it is with."""
        session = self.session
        if session is None:
            text = "there is no chat here: open the dashboard from the prompt, with :dashboard"
        else:
            text = (
                f"{session.conversation.name}, with {self._label or self._partner(session) or 'no model yet'}"
            )
        self.query_one("#who", Static).update(Content.styled(self._drawn(text), _QUIET))

    def _partner(self, session: Session) -> str:
        from nanoshell.runs.locate import model_name

        if self._with_run(session):
            return f"the newest of {self._run_name}"
        return model_name(session.model_name) if session.model_name else ""

    def _with_run(self, session: Session) -> bool:
        return bool(self._run_path) and (self.with_run or session.model_name is None)

    def _glance(self) -> None:
        """Show the conversation where it is another than was shown: a command may have changed it."""
        session = self.session
        if session is None or self.replying:
            return
        conversation = session.conversation
        now = (conversation, tuple(conversation.messages))
        if self._seen is not None and self._seen[0] is conversation and _same(self._seen[1], now[1]):
            return
        self._seen = now
        self.call_later(self._lay_out, now[1])
        self._introduce()

    async def _lay_out(self, messages: Sequence[Message]) -> None:
        talk = self.query_one("#talk", VerticalScroll)
        lines: list[Static] = []
        if len(messages) > _LONGEST:
            earlier = f"{counted(len(messages) - _LONGEST, 'earlier message')}: chat show"
            lines.append(Static(Content.styled(earlier, _QUIET), classes="reply"))
        lines += map(self._message, messages[-_LONGEST:])
        if not messages:
            lines.append(Static(Content.styled("nothing has been said yet", _QUIET)))
        async with self.batch():
            await talk.remove_children()
            await talk.mount(*lines)

    def _message(self, message: Message) -> Static:
        if message.role == "user":
            return self._line(message.content)
        if message.role == "system":
            return Static(Content.styled(f"system: {self._drawn(message.content)}", _QUIET), classes="reply")
        note = "\n(interrupted)" if message.interrupted else ""
        content = Content.assemble(self._drawn(message.content), (note, _QUIET))
        return Static(content, classes="reply")

    def _line(self, text: str) -> Static:
        return Static(Content.styled(f"> {self._drawn(text)}", _USER))

    def _drawn(self, text: str) -> str:
        return shown(text, ascii_only=self.desk.ascii)

    # Talking

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        """Say what was typed, and let the model reply."""
        event.stop()
        session, text = self.session, event.value
        if session is None or not text.strip():
            return
        if self.replying:
            self.desk.tell("a reply is being written; Esc ends it", severity="warning")
        elif text.startswith(":"):
            self.desk.tell("commands are in the palette: Ctrl-P", severity="warning")
        elif session.model_name is None and not self._run_path:
            self.desk.tell("there is no model to talk to: choose one with model load", severity="warning")
        else:
            event.input.value = ""
            await self._ask(session, text)

    async def _ask(self, session: Session, text: str) -> None:
        reference = self._run_path if self._with_run(session) else None
        self._question, self._said, self._talk = text, [], None

        def begin() -> _Talk:
            loaded = session.model(reference)
            self._talk = _Talk(session.reply(text, model=loaded), loaded.label)
            return self._talk

        talk = self.query_one("#talk", VerticalScroll)
        if self._seen is not None and not self._seen[1]:
            await talk.remove_children()
        waiting = "..." if session.loaded is not None else "loading the model ..."
        await talk.mount(self._line(text), Static(Content.styled(waiting, _QUIET), classes="reply"))
        talk.anchor()
        self._writing = Writing(begin).start()
        if self._pulse is not None:
            self._pulse.resume()
        self.refresh_bindings()

    def _take(self) -> None:
        """Show what has been said since the last time."""
        writing, talk = self._writing, self._talk
        if writing is None:
            return
        ended = writing.ended
        came = [
            _Said(token.text, talk is not None and token.id in talk.reply.special_ids)
            for token in writing.take()
        ]
        if came:
            self._said += came
            self._show_reply()
        if ended:
            self._let_go(writing)
            self._finish(writing)

    def _show_reply(self) -> None:
        parts = ((self._drawn(said.text), _QUIET if said.special else "") for said in self._said)
        replies = self.query("#talk > .reply")
        if replies:
            replies.last(Static).update(Content.assemble(*parts))

    def _finish(self, writing: Writing) -> None:
        """Tell how the reply ended; a question that could not be answered is there to be sent again."""
        if writing.error:
            self.desk.tell(writing.error, severity="error")
        if self._talk is None:
            line = self.query_one(Input)
            line.value = line.value or self._question
        else:
            reply, self._label = self._talk.reply, self._talk.model
            if reply.trouble:
                self.desk.tell(reply.trouble, severity="warning")
            if reply.dropped:
                oldest = counted(reply.dropped, "turn")
                self.desk.tell(f"the context is full: the model no longer sees the oldest {oldest}")
        self._seen = None
        self._glance()
        self._introduce()
        self.refresh_bindings()

    def _let_go(self, writing: Writing) -> None:
        """Wait a moment for the end of ``writing``; a step that hangs is left behind, and its reply kept."""
        self._writing = None
        if self._pulse is not None:
            self._pulse.pause()
        if not writing.wait(_LAST_WORD_SECONDS):
            if self._talk is not None:
                self._talk.reply.close()
                self._talk.reply.leave_behind()
            elif self.session is not None:
                self.session.abandon_model()

    # Actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Return whether ``action`` can be done: nothing is interrupted where nothing is written."""
        if action == "interrupt" and not self.replying:
            return False
        if action == "talk" and self.session is None:
            return False
        return super().check_action(action, parameters)

    def action_interrupt(self) -> None:
        """End the reply, and keep what has come."""
        if self._writing is not None:
            self._writing.interrupt()

    def action_clear(self) -> None:
        """End the reply, else clear the line. Ctrl-C never quits here: a reply may end just before it."""
        if self.replying:
            self.action_interrupt()
        else:
            self.query_one(Input).value = ""

    def first_focus(self) -> Widget:
        """Return the line to type in, where one can be said."""
        line = self.query_one(Input)
        return line if line.display else self

    def action_copy(self) -> None:
        """Copy the last reply, as far as it has come."""
        messages = self.session.conversation.messages if self.session is not None else []
        last = next((message.content for message in reversed(messages) if message.role == "assistant"), "")
        coming = "".join(said.text for said in self._said if not said.special) if self.replying else ""
        copy_from(self, coming or last, "last reply")

    def action_talk(self) -> None:
        """Type what is said next."""
        self.first_focus().focus()

    def action_other_model(self) -> None:
        """Talk to the newest weights of the focused run, or to the chosen model again."""
        session = self.session
        if session is None:
            return
        self._label = ""
        if not self.with_run and not self._run_path:
            self.desk.tell("no run is shown", severity="warning")
        elif self.with_run and session.model_name is None:
            self.desk.tell("no model is chosen at the prompt", severity="warning")
        else:
            self.with_run = not self.with_run
        self._introduce()

    def action_line_up(self) -> None:
        """Scroll up by a line."""
        self._scroll(-1)

    def action_line_down(self) -> None:
        """Scroll down by a line."""
        self._scroll(1)

    def action_page_up(self) -> None:
        """Scroll up by a page."""
        self._scroll(-self.query_one("#talk").size.height)

    def action_page_down(self) -> None:
        """Scroll down by a page."""
        self._scroll(self.query_one("#talk").size.height)

    def _scroll(self, by: int) -> None:
        self.query_one("#talk", VerticalScroll).scroll_relative(y=by, animate=False)


def _same(before: Sequence[Message], now: Sequence[Message]) -> bool:
    return len(before) == len(now) and all(one is other for one, other in zip(before, now, strict=True))
