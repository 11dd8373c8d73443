"""The texts that a run writes while it learns: by prompt and step, compared, and asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Input, Static

from nanoshell.command.render import counted
from nanoshell.dashboard.course import SampleText
from nanoshell.dashboard.panel import Action, Panel
from nanoshell.dashboard.panels.samplebook import Asked, SampleBook, nearest, place
from nanoshell.dashboard.panels.textdiff import Piece, compare, shown
from nanoshell.dashboard.panels.writing import PULSE_SECONDS, Writing

if TYPE_CHECKING:
    from textual.timer import Timer

    from nanoshell.dashboard.course import Course, Sight, Snapshot
    from nanoshell.session import Session

_PROMPT, _CHANGED, _QUIET = "bold", "bold underline", "dim"
_ENDS = {"length": "", "context": "context is full", "interrupted": "interrupted"}
_HERE = "here"
_LAST_WORD_SECONDS = 2.0


class SamplesPanel(Panel):
    """The samples of the focused run. ``prompt`` is the one shown, ``position`` which of its texts.

    ``position`` is None for the newest, which it then stays. ``pinned`` is the text on the left where two are
    compared, None where one is shown.
    """

    panel_id = "samples"
    title = "Samples"
    place = "samples"
    about = (
        "Every text that the run wrote, by prompt and by step. Left and Right go through the steps and "
        "take the crosshair of the charts along, and the crosshair brings its step here. d shows two "
        "steps side by side: words that differ are underlined; m keeps the step that is shown as the left "
        "one. t begins a prompt of your own: a run that trains is asked and answers after its step, and "
        "the newest checkpoint of one that has ended is loaded here."
    )
    actions: ClassVar[tuple[Action, ...]] = (
        Action("step_back", "Earlier step", ("left",), "Samples", footer=True),
        Action("step_on", "Later step", ("right",), "Samples", footer=True),
        Action("first", "First step", ("home",), "Samples"),
        Action("newest", "Newest step, and stay there", ("end",), "Samples"),
        Action("next_prompt", "Next prompt", ("right_square_bracket",), "Samples", footer=True),
        Action("previous_prompt", "Previous prompt", ("left_square_bracket",), "Samples"),
        Action("compare", "Compare two steps, or show one", ("d",), "Samples", footer=True),
        Action("pin", "Compare with this step", ("m",), "Samples"),
        Action("try_prompt", "Try a prompt", ("t",), "Samples", writes=True, footer=True),
        Action("interrupt", "Stop writing", ("escape", "ctrl+c"), "Samples", writes=True),
        Action("text_up", "Text up", ("up",), "Samples"),
        Action("text_down", "Text down", ("down",), "Samples"),
    )
    DEFAULT_CSS = """
    SamplesPanel { layout: vertical; }
    SamplesPanel > Static { height: 1; width: 1fr; }
    SamplesPanel > Horizontal { height: 1fr; }
    SamplesPanel VerticalScroll { width: 1fr; height: 1fr; }
    SamplesPanel VerticalScroll > Static { width: 1fr; height: auto; }
    SamplesPanel #before { padding-right: 2; }
    SamplesPanel Input { height: 1; width: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.prompt = ""
        self.position: int | None = None
        self.pinned: SampleText | None = None
        self.book = SampleBook()
        self._course: Course | None = None
        self._samples: tuple[SampleText, ...] = ()
        self._tried: dict[str, list[SampleText]] = {}
        self._asked: dict[str, Asked] = {}
        self._moved: float | None = None
        self._writing: Writing | None = None
        self._writes_for = ""
        self._pulse: Timer | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="prompt")
        yield Static(id="steps")
        with Horizontal():
            with VerticalScroll(id="before", can_focus=False):
                yield Static()
            with VerticalScroll(id="text", can_focus=False):
                yield Static()
        yield Static(id="said")
        yield Input(placeholder="Try a prompt on the newest checkpoint", compact=True)

    def on_mount(self) -> None:
        self._pulse = self.set_interval(PULSE_SECONDS, self._take, pause=True)
        self.query_one(Input).display = not self.desk.read_only
        if self.desk.read_only:
            self._say("the dashboard only reads: no prompt can be tried")
        self._show()

    def on_unmount(self) -> None:
        if self._writing is not None:
            self._writing.interrupt()
            self._let_go(self._writing)

    # What the dashboard hands over

    def update(self, snapshot: Snapshot) -> None:
        course = snapshot.focused
        before = self._course.run.name if self._course else None
        self._course = course
        other = course is None or course.run.name != before
        if other:
            self.prompt, self.position, self.pinned, self._samples = "", None, None, ()
        if course is None:
            self.book = SampleBook()
        elif other or self._samples is not course.samples:
            self._samples = course.samples
            self._collect()
        if other:
            self._moved = None
            self._seek(self.desk.sight)
        self._show()

    def look(self, sight: Sight) -> None:
        self._seek(sight)
        self._show()

    def _seek(self, sight: Sight) -> None:
        """Show the text that is nearest to the crosshair, where that has moved."""
        if self._course is None or sight.cursor is None or sight.cursor == self._moved:
            return
        self._moved = sight.cursor
        if positions := [place(sample, sight.axis, self._course) for sample in self.shown_samples]:
            self.position = nearest(positions, sight.cursor)

    def _collect(self) -> None:
        """Order what the run wrote and what was tried here; what was asked for comes to the front."""
        before, count = self.sample, len(self.shown_samples)
        name = self._course.run.name if self._course else ""
        self.book = SampleBook([*self._samples, *self._tried.get(name, ())])
        asked = self._asked.get(name)
        if asked is not None and self._course is not None and asked.answered(self._course):
            del self._asked[name]
            self.prompt, self.position, self.pinned = asked.prompt, None, None
            self._say("")
        elif self.position is not None and before is not None and len(self.shown_samples) != count:
            # A text that comes in between moves the others, and the one that is read stays.
            samples = self.shown_samples
            self.position = samples.index(before) if before in samples else None
        if self.prompt not in self.book.prompts:
            self.prompt = self.book.next_prompt("", 0)

    @property
    def shown_samples(self) -> list[SampleText]:
        """The texts of the prompt that is shown, by rising step."""
        return list(self.book.of(self.prompt))

    @property
    def sample(self) -> SampleText | None:
        """The text that is shown, of two the right one; None where there is none."""
        samples = self.shown_samples
        if not samples:
            return None
        last = len(samples) - 1
        return samples[last if self.position is None else min(self.position, last)]

    # What is on the screen

    def _show(self) -> None:
        if not self.is_mounted:
            return
        sample, narrow = self.sample, self.desk.ascii
        self.query_one("#before").display = self.pinned is not None
        about, steps, right = self._about(), Content(""), Content("")
        if sample is not None and self.pinned is not None:
            steps = Content(f"step {self.pinned.step:,} | step {sample.step:,}{self._count()}")
            before, after = compare(self.pinned.text, sample.text)
            self.query_one("#before > Static", Static).update(_text(self.pinned, before, narrow))
            right = _text(sample, after, narrow)
        elif sample is not None:
            steps = Content(f"step {sample.step:,}{self._count()}{_ended(sample)}")
            right = _text(sample, [Piece(sample.text, False)], narrow)
        self.query_one("#prompt", Static).update(about)
        self.query_one("#steps", Static).update(steps)
        self.query_one("#text > Static", Static).update(right)

    def _about(self) -> Content:
        if self._course is None:
            return Content.styled("no run is shown", _QUIET)
        prompts = self.book.prompts
        if not prompts:
            return Content.styled(
                f"{self._course.run.name} has written no sample yet"
                + ("" if self.desk.read_only else "; t tries a prompt"),
                _QUIET,
            )
        line = " ".join(shown(self.prompt, ascii_only=self.desk.ascii).split()) or "(no prompt)"
        count = f"prompt {prompts.index(self.prompt) + 1} of {len(prompts)}  "
        return Content.assemble((count, _QUIET), (line, _PROMPT))

    def _count(self) -> str:
        samples = self.shown_samples
        index = len(samples) - 1 if self.position is None else min(self.position, len(samples) - 1)
        newest = ", the newest" if index == len(samples) - 1 else f", newest {samples[-1].step:,}"
        return f"   {index + 1:,} of {counted(len(samples), 'text')}{newest}"

    def _say(self, text: str) -> None:
        said = self.query_one("#said", Static)
        said.display = bool(text)
        said.update(Content.styled(shown(text, ascii_only=self.desk.ascii), _QUIET))

    # Going through the texts

    def action_step_back(self) -> None:
        """Show the text before."""
        self._go(-1)

    def action_step_on(self) -> None:
        """Show the text after; behind the last it stays at the newest."""
        self._go(1)

    def _go(self, by: int) -> None:
        last = len(self.shown_samples) - 1
        at = last if self.position is None else self.position
        self._move(max(0, at + by))

    def action_first(self) -> None:
        """Show the first text."""
        self._move(0)

    def action_newest(self) -> None:
        """Show the newest text, also when newer ones come."""
        self._move(len(self.shown_samples))

    def _move(self, position: int) -> None:
        """Show the text ``position``, the newest where it is behind the last; the crosshair goes there."""
        samples = self.shown_samples
        if self._course is None or not samples:
            return
        self.position = position if position < len(samples) else None
        self._show()
        sight = self.desk.sight
        shown_now = samples[min(position, len(samples) - 1)]
        self._moved = None if self.position is None else place(shown_now, sight.axis, self._course)
        self.desk.set_sight(replace(sight, cursor=self._moved))

    def action_next_prompt(self) -> None:
        """Show what was written after the next prompt."""
        self._turn(1)

    def action_previous_prompt(self) -> None:
        """Show what was written after the prompt before."""
        self._turn(-1)

    def _turn(self, by: int) -> None:
        before = self.sample
        self.prompt = self.book.next_prompt(self.prompt, by)
        self.pinned = None
        if self.position is not None and before is not None and self.shown_samples:
            self.position = nearest([float(each.step) for each in self.shown_samples], before.step)
        self._show()

    def action_compare(self) -> None:
        """Show the text beside the one before it, or alone again."""
        samples, sample = self.shown_samples, self.sample
        if self.pinned is not None or sample is None:
            self.pinned = None
        elif len(samples) == 1:
            self.desk.tell("there is one text after this prompt: nothing to compare it with")
        else:
            at = samples.index(sample)
            self.pinned = samples[at - 1 if at else 1]
        self._show()

    def action_pin(self) -> None:
        """Keep the text that is shown as the left one."""
        self.pinned = self.sample
        self._show()

    def action_text_up(self) -> None:
        """Scroll the texts up."""
        self._scroll(-1)

    def action_text_down(self) -> None:
        """Scroll the texts down."""
        self._scroll(1)

    def _scroll(self, by: int) -> None:
        for scroll in self.query(VerticalScroll):
            scroll.scroll_relative(y=by, animate=False)

    # Trying a prompt

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Return whether ``action`` can be done: nothing is interrupted where nothing is written."""
        if action == "interrupt":
            return self._writing is not None or isinstance(self.app.focused, Input)
        return super().check_action(action, parameters)

    def action_try_prompt(self) -> None:
        """Go to the line of the prompt."""
        self.query_one(Input).focus()

    def action_interrupt(self) -> None:
        """End what is written here, and keep what has come; else leave the line of the prompt."""
        if self._writing is not None:
            self._writing.interrupt()
        else:
            self.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Ask for a text after what was typed: the worker, or the model of a run that has ended."""
        event.stop()
        prompt, course = event.value, self._course
        if not prompt.strip():
            return
        if course is None:
            self.desk.tell("no run is shown that could be asked", severity="warning")
        elif not course.status.ended:
            self._asked[course.run.name] = Asked.of(prompt, course)
            self._say("asked; the text comes when the worker has done its step")
            self.desk.ask_run("sample", prompts=[prompt])
            event.input.value = ""
        elif (session := self.desk.session) is None:
            self.desk.tell("the run has ended, and nothing is here to load it", severity="warning")
        elif self._writing is not None:
            self.desk.tell("a text is being written; Esc ends it", severity="warning")
        else:
            self._write(session, course, prompt)
            event.input.value = ""

    def _write(self, session: Session, course: Course, prompt: str) -> None:
        """Load the newest checkpoint of ``course`` aside, and let it continue ``prompt``."""
        reference, name, step = str(course.run.path), course.run.name, course.status.step or 0
        tried = self._tried.setdefault(name, [])
        tried.append(SampleText(step, 0, prompt, "", 0, _HERE, _newest_time(course, tried)))
        self._writes_for = name
        self._writing = Writing(lambda: session.generate(prompt, model=session.model(reference))).start()
        self.prompt, self.position, self.pinned = prompt, None, None
        self._say("loading the newest checkpoint")
        self._collect()
        self._show()
        if self._pulse is not None:
            self._pulse.resume()

    def _take(self) -> None:
        """Show what has been written since the last time."""
        writing = self._writing
        if writing is None:
            return
        ended = writing.ended
        came = "".join(token.text for token in writing.take())
        tried = self._tried[self._writes_for]
        if came:
            tried[-1] = replace(tried[-1], text=tried[-1].text + came)
            self._say("")
        if ended:
            self._let_go(writing)
            if not tried[-1].text:
                tried.pop()
            self._say("")
            if writing.error:
                self.desk.tell(writing.error, severity="error")
        if came or ended:
            self._collect()
            self._show()

    def _let_go(self, writing: Writing) -> None:
        self._writing = None
        if self._pulse is not None:
            self._pulse.pause()
        if not writing.wait(_LAST_WORD_SECONDS) and self.desk.session is not None:
            self.desk.session.abandon_model()


def _newest_time(course: Course, tried: list[SampleText]) -> float:
    return max((sample.time for sample in (*course.samples[-1:], *tried[-1:])), default=0.0) + 1e-3


def _ended(sample: SampleText) -> str:
    if sample.stop == _HERE:
        return "   tried here"
    end = _ENDS.get(sample.stop, f"ended at {sample.stop}" if sample.stop else "")
    return f"   {shown(end, ascii_only=True)}" if end else ""


def _text(sample: SampleText, pieces: list[Piece], ascii_only: bool) -> Content:
    """Return the prompt of ``sample`` and behind it ``pieces`` of its text, those that differ marked."""
    return Content.assemble(
        (shown(sample.prompt, ascii_only=ascii_only), _PROMPT),
        *((shown(piece.text, ascii_only=ascii_only), _CHANGED if piece.changed else "") for piece in pieces),
    )
