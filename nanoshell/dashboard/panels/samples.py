"""The texts that a run writes while it learns: by prompt and step, compared, and asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from nanoshell.dashboard.panel import Action
from nanoshell.dashboard.panels.exporting import copy_from
from nanoshell.dashboard.panels.places import not_a_step, step_named
from nanoshell.dashboard.panels.samplebook import SampleBook, nearest, place
from nanoshell.dashboard.panels.samplelist import LEAST, free_rows, sample_list
from nanoshell.dashboard.panels.sampletext import EARLIER, HERE, PROMPT, QUIET, alike, body, heading
from nanoshell.dashboard.panels.textdiff import Piece, compare, shown
from nanoshell.dashboard.panels.trying import TryingPanel

if TYPE_CHECKING:
    from nanoshell.dashboard.course import SampleText, Sight, Snapshot


class SamplesPanel(TryingPanel):
    """The samples of the focused run. ``prompt`` is the one shown, ``position`` which of its texts.

    ``position`` is None for the newest, which it then stays. ``pinned`` is the text on the left where two are
    compared, None where one is shown.
    """

    panel_id = "samples"
    title = "Samples"
    place = "samples"
    about = (
        "Every text that the run wrote, by prompt and by step: the prompt is bold, what follows is the "
        "model's. At first it is noise, then words, then sentences; a text that repeats itself, or falls "
        "back to noise, tells of trouble before the loss does. ] and [ go through the prompts.\n\n"
        "Left and Right go through the steps and take the crosshair of the charts along, and the crosshair "
        "brings its step here. j goes to the step nearest to a number, End stays with the newest text. d "
        "shows two steps side by side: underlined words are in one of them alone; m keeps the step that is "
        "shown as the left one, and Left and Right change the right one. Where there is room, the list below "
        "has the other steps with their validation loss.\n\n"
        "t begins a prompt of your own. A run that trains is asked and answers after its step; of one that "
        "has ended the newest checkpoint is loaded here, which takes a moment, and Esc ends its text. o "
        "chooses how: temperature=0.3 makes the likeliest words likelier, a seed gives the same text again. "
        "y copies prompt and text."
    )
    actions: ClassVar[tuple[Action, ...]] = (
        Action("step_back", "Earlier step", ("left",), "Samples", footer=True, short="Earlier"),
        Action("step_on", "Later step", ("right",), "Samples", footer=True, short="Later"),
        Action("try_prompt", "Try a prompt", ("t",), "Samples", writes=True, footer=True, short="Try"),
        Action("copy", "Copy the text", ("y",), "Samples"),
        Action("first", "First step", ("home",), "Samples"),
        Action("newest", "Newest step, and stay there", ("end",), "Samples"),
        Action("go_to_step", "Go to a step", ("j",), "Samples", words="jump number find"),
        Action(
            "next_prompt", "Next prompt", ("right_square_bracket",), "Samples", footer=True, short="Prompt"
        ),
        Action("previous_prompt", "Previous prompt", ("left_square_bracket",), "Samples"),
        Action("compare", "Compare two steps, or show one", ("d",), "Samples", footer=True, short="Compare"),
        Action("pin", "Compare with this step", ("m",), "Samples"),
        Action("manner", "How prompts are tried: temperature, seed", ("o",), "Samples", writes=True),
        Action("interrupt", "Stop writing", ("escape", "ctrl+c"), "Samples", writes=True),
        Action("text_up", "Text up", ("up",), "Samples"),
        Action("text_down", "Text down", ("down",), "Samples"),
        Action("page_up", "A page up", ("pageup",), "Samples"),
        Action("page_down", "A page down", ("pagedown",), "Samples"),
    )
    DEFAULT_CSS = """
    SamplesPanel { layout: vertical; }
    SamplesPanel Static { height: 1; width: 1fr; }
    SamplesPanel > Horizontal, SamplesPanel Vertical, SamplesPanel VerticalScroll { width: 1fr; height: 1fr; }
    SamplesPanel VerticalScroll { scrollbar-size-vertical: 1; }
    SamplesPanel VerticalScroll > Static { height: auto; }
    SamplesPanel #steps { text-wrap: nowrap; text-overflow: ellipsis; }
    SamplesPanel #before { border-right: solid $foreground 40%; margin-right: 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.prompt = ""
        self.position: int | None = None
        self.pinned: SampleText | None = None
        self.book = SampleBook()
        self._samples: tuple[SampleText, ...] = ()
        self._moved: float | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="prompt")
        with Horizontal():
            for side in ("before", "text"):
                with Vertical(id=side):
                    yield Static(classes="heading")
                    with VerticalScroll(can_focus=False):
                        yield Static()
        yield Static(id="steps")
        yield from super().compose()

    def on_mount(self) -> None:
        self.show()

    def on_resize(self) -> None:
        """Use the room that there is now."""
        self.show()

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
            self.collect()
        if course is not None:
            self.forget_unanswered(course)
        if other and self.book.prompts:
            self.prompt = self.book.prompts[0]
        if other:
            self._moved = None
            self._seek(self.desk.sight)
        self.show()

    def look(self, sight: Sight) -> None:
        self._seek(sight)
        self.show()

    def _seek(self, sight: Sight) -> None:
        """Show the text that is nearest to the crosshair, where that has moved."""
        if self._course is None or sight.cursor is None or sight.cursor == self._moved:
            return
        self._moved = sight.cursor
        if positions := [place(sample, sight.axis, self._course) for sample in self.shown_samples]:
            self.position = nearest(positions, sight.cursor)

    def collect(self) -> None:
        """Order what the run wrote and what was tried here; what was asked for comes to the front."""
        before, count = self.sample, len(self.shown_samples)
        name = self._course.run.name if self._course else ""
        self.book = SampleBook([*self._samples, *self._tried.get(name, ())])
        asked = self._asked.get(name)
        if asked is not None and self._course is not None and asked.answered(self._course):
            del self._asked[name]
            self.show_text(asked.prompt)
            self._say("")
        elif self.position is not None and before is not None and len(self.shown_samples) != count:
            # A text that comes in between moves the others, and the one that is read stays.
            samples = self.shown_samples
            self.position = samples.index(before) if before in samples else None
        if self.prompt not in self.book.prompts:
            self.prompt = self.book.next_prompt("", 0)

    def show_text(self, prompt: str, sample: SampleText | None = None) -> None:
        """Show ``sample``, by default the newest text after ``prompt``, from its beginning."""
        self.prompt, self.position, self.pinned = prompt, None, None
        samples = self.shown_samples
        if sample is not None and sample != samples[-1]:
            self.position = samples.index(sample)
        self._to_top()

    @property
    def shown_samples(self) -> list[SampleText]:
        """The texts of the prompt that is shown, by rising step."""
        return list(self.book.of(self.prompt))

    @property
    def sample(self) -> SampleText | None:
        """The text that is shown, of two the right one; None where there is none."""
        samples = self.shown_samples
        return samples[self._at] if samples else None

    # What is on the screen

    def show(self) -> None:
        if not self.is_mounted:
            return
        self.query_one("#before").display = self.pinned is not None
        self.query_one("#prompt", Static).update(self._about())
        sample, samples, ascii_only = self.sample, self.shown_samples, self.desk.ascii
        self._list()
        if sample is None:
            self._fill("text", "", Content(""))
            return
        right = [Piece(sample.text, False)]
        if self.pinned is not None:
            left, right = compare(self.pinned.text, sample.text)
            same = "the same step" if self.pinned is sample else alike(left)
            said = "   ".join(filter(None, (f"step {self.pinned.step:,}", same)))
            self._fill("before", said, body(self.pinned, left, ascii_only, EARLIER))
        written = self._writing is not None and sample.stop.startswith(HERE)
        said = heading(sample, samples, self._at, self._width)
        self._fill("text", said, body(sample, right, ascii_only, written=written))

    @property
    def _at(self) -> int:
        """Which of the texts is shown."""
        last = len(self.shown_samples) - 1
        return last if self.position is None else min(self.position, last)

    @property
    def _width(self) -> int:
        """How many cells wide a text is; beside another one both have half, with a line between."""
        return self.size.width if self.pinned is None else (self.size.width - 3) // 2

    def _list(self) -> None:
        """List what was written at other steps, where the texts leave room for it."""
        listed, samples = self.query_one("#steps", Static), self.shown_samples
        rows = 0
        if self._course is not None and len(samples) > 1 and self.sample is not None:
            others = sum(widget.display for widget in (*self.query("#said"), *self.query("Input")))
            height = self.size.height - 3 - others  # the prompt, the line above a text, and one between
            seen = [self.sample, *([self.pinned] if self.pinned else [])]
            rows = min(len(samples) + 1, free_rows(samples, seen, height, self._width))
        listed.display = rows >= LEAST
        if self._course is not None and rows >= LEAST:
            listed.styles.height = rows
            listed.update(sample_list(samples, self._at, self.pinned, self._course, rows, self.desk.ascii))

    def _fill(self, side: str, said: str, text: Content) -> None:
        self.query_one(f"#{side} > .heading", Static).update(Content(said))
        self.query_one(f"#{side} VerticalScroll > Static", Static).update(text)

    def _about(self) -> Content:
        if self._course is None:
            return Content.styled("no run is shown", QUIET)
        prompts = self.book.prompts
        if not prompts:
            return Content.styled(
                f"{self._course.run.name} has written no sample yet"
                + ("" if self.desk.read_only else "; t tries a prompt"),
                QUIET,
            )
        line = " ".join(shown(self.prompt, ascii_only=self.desk.ascii).split()) or "(no prompt)"
        count = f"prompt {prompts.index(self.prompt) + 1} of {len(prompts)}  "
        return Content.assemble((count, QUIET), (line, PROMPT))

    # Going through the texts

    def action_step_back(self) -> None:
        """Show the text before."""
        self._go(-1)

    def action_step_on(self) -> None:
        """Show the text after; behind the last it stays at the newest."""
        self._go(1)

    def _go(self, by: int) -> None:
        self._move(max(0, self._at + by))

    def action_first(self) -> None:
        """Show the first text."""
        self._move(0)

    def action_newest(self) -> None:
        """Show the newest text, also when newer ones come."""
        self._move(len(self.shown_samples))

    def action_go_to_step(self) -> None:
        """Ask for a step, and show the text that is nearest to it."""
        samples = self.shown_samples
        if not samples:
            self.desk.tell("there is no text to go to yet")
            return

        def answered(text: str) -> None:
            step, here = step_named(text), self.shown_samples
            if step is not None and here:
                self._move(nearest([each.step for each in here], step))

        question = f"Go to the text of which step ({samples[0].step:,} to {samples[-1].step:,})?"
        self.desk.ask_line(question, "", not_a_step, answered)

    def _move(self, position: int) -> None:
        """Show the text ``position``, the newest where it is behind the last; the crosshair goes there."""
        samples = self.shown_samples
        if self._course is None or not samples:
            return
        self.position = position if position < len(samples) else None
        self.show()
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
        """Show another prompt at the steps that are shown, as nearly as it has them."""
        sample, pinned = self.sample, self.pinned
        self.prompt = self.book.next_prompt(self.prompt, by)
        samples = self.shown_samples
        steps = [float(each.step) for each in samples]
        if self.position is not None and sample is not None and samples:
            self.position = nearest(steps, sample.step)
        self.pinned = samples[nearest(steps, pinned.step)] if pinned is not None and samples else None
        self.show()
        self._to_top()

    def action_compare(self) -> None:
        """Show the text beside the one before it, the first beside the second, or alone again."""
        samples, sample = self.shown_samples, self.sample
        if self.pinned is not None or sample is None:
            self.pinned = None
        elif len(samples) == 1:
            self.desk.tell("there is one text after this prompt: nothing to compare it with")
        else:
            at = samples.index(sample)
            self.pinned = samples[max(0, at - 1)]
            if not at:
                self._move(1)
        self.show()

    def action_pin(self) -> None:
        """Keep the text that is shown as the left one."""
        self.pinned = self.sample
        if self.pinned is not None:
            self.desk.tell(f"step {self.pinned.step:,} stays on the left; go to another with Left and Right")
        self.show()

    def action_copy(self) -> None:
        """Copy the prompt with the text that is shown, of two the right one."""
        sample = self.sample
        copy_from(self, sample.prompt + sample.text if sample else "", "prompt and text")

    def action_text_up(self) -> None:
        """Scroll the texts up."""
        self._scroll(-1)

    def action_text_down(self) -> None:
        """Scroll the texts down."""
        self._scroll(1)

    def action_page_up(self) -> None:
        """Scroll the texts up by what is seen of them."""
        self._scroll(-max(1, self.query_one("#text VerticalScroll").size.height - 1))

    def action_page_down(self) -> None:
        """Scroll the texts down by what is seen of them."""
        self._scroll(max(1, self.query_one("#text VerticalScroll").size.height - 1))

    def _scroll(self, by: int) -> None:
        for scroll in self.query(VerticalScroll):
            scroll.scroll_relative(y=by, animate=False)

    def _to_top(self) -> None:
        for scroll in self.query(VerticalScroll):
            scroll.scroll_home(animate=False)
