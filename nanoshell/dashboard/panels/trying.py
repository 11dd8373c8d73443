"""Trying a prompt on a run: a line to type it, and the text that comes, from its worker or from here."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Input, Static

from nanoshell.dashboard.course import SampleText
from nanoshell.dashboard.panel import Panel
from nanoshell.dashboard.panels.manner import AS_USUAL, Manner, read_manner
from nanoshell.dashboard.panels.samplebook import AskedPrompt
from nanoshell.dashboard.panels.sampletext import HERE, QUIET
from nanoshell.dashboard.panels.textdiff import shown
from nanoshell.dashboard.panels.writing import PULSE_SECONDS, Writing
from nanoshell.dashboard.steering import deaf_words
from nanoshell.errors import NanoshellError, UnknownNameError

if TYPE_CHECKING:
    from textual.timer import Timer

    from nanoshell.dashboard.course import Course
    from nanoshell.session import Session

_LAST_WORD_SECONDS = 2.0
_LATE_SECONDS = 1.5
"""So long after the end of a text Ctrl-C is still meant for it, and not for the dashboard."""


class TryingPanel(Panel):
    """A panel with a line for prompts; what is written after them stands in ``_tried``, by run.

    ``_course`` is the run that is tried, ``_asked`` holds what a worker has not answered yet.
    """

    DEFAULT_CSS = """
    TryingPanel Static { height: 1; width: 1fr; }
    TryingPanel Input { height: 1; width: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._course: Course | None = None
        self._tried: dict[str, list[SampleText]] = {}
        self._asked: dict[str, AskedPrompt] = {}
        self._manner = Manner()
        self._writing: Writing | None = None
        self._ended_at = 0.0
        self._writes_for = ""
        self._said: str | None = None
        self._pulse: Timer | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="said")
        yield Input(compact=True)

    def on_mount(self) -> None:
        self._pulse = self.set_interval(PULSE_SECONDS, self._take, pause=True)
        self.query_one(Input).display = not self.desk.read_only
        self._say("the dashboard only reads: no prompt can be tried" if self.desk.read_only else "")
        self._tell_manner()

    def on_unmount(self) -> None:
        if self._writing is not None:
            self._writing.interrupt()
            self._let_go(self._writing)

    def collect(self) -> None:
        """Order what there is anew: something has been written."""
        raise NotImplementedError

    def show(self) -> None:
        """Show what there is."""
        raise NotImplementedError

    def show_text(self, prompt: str, sample: SampleText | None = None) -> None:
        """Show ``sample``, by default the newest text after ``prompt``, from its beginning."""
        raise NotImplementedError

    def forget_unanswered(self, course: Course) -> None:
        """Wait no longer for a text that ``course`` will not write; the desk has said why."""
        asked = self._asked.get(course.run.name)
        if asked is not None and asked.refused(course):
            del self._asked[course.run.name]
            self._say("")

    def _say(self, text: str) -> None:
        if text == self._said:
            return
        self._said = text
        said = self.query_one("#said", Static)
        said.display = bool(text)
        said.update(Content.styled(shown(text, ascii_only=self.desk.ascii), QUIET))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Return whether ``action`` can be done: nothing is interrupted where nothing is written."""
        if action == "interrupt":
            late = time.monotonic() - self._ended_at < _LATE_SECONDS
            return late or self._writing is not None or isinstance(self.app.focused, Input)
        if action == "manner" and self.desk.session is None:
            return False
        return super().check_action(action, parameters)

    def action_try_prompt(self) -> None:
        """Go to the line of the prompt, where there is a run to try it on."""
        if not self._is_gone():
            self.query_one(Input).focus()

    def _is_gone(self) -> bool:
        """Say so where the run that is tried is gone: neither its worker nor a checkpoint can write."""
        course = self._newest_course()
        if course is None or course.status.state != "gone":
            return False
        self.desk.tell(deaf_words(course.run.name, course.status), severity="warning")
        return True

    def _newest_course(self) -> Course | None:
        """Return the run that is tried as the desk knows it by now: its end may not be on the screen yet."""
        seen = self._course
        known = (course for course in self.desk.snapshot.courses if seen and course.run == seen.run)
        return next(known, seen)

    def action_manner(self) -> None:
        """Ask how prompts are to be tried."""
        session = self.desk.session
        if session is None:
            return
        samplers = session.plugins.samplers

        def wrong(text: str) -> str:
            try:
                read_manner(text, samplers)
            except UnknownNameError as error:
                return error.message  # its hint lists every setting there is
            except NanoshellError as error:
                return "; ".join(filter(None, (error.message, error.hint)))
            return ""

        def chosen(text: str) -> None:
            self._manner = read_manner(text, samplers)
            self._tell_manner()

        usual = f"temperature={session.settings.number('temperature'):g}"
        question = f"How prompts are tried: temperature, tokens, seed ... ({AS_USUAL}: as set)"
        self.desk.ask_line(question, self._manner.words or usual, wrong, chosen)

    def _tell_manner(self) -> None:
        how = self._manner.words or "o: temperature, seed"
        self.query_one(Input).placeholder = f"Try a prompt on the newest checkpoint ({how})"

    def action_interrupt(self) -> None:
        """End what is written here, and keep what has come; else leave the line of the prompt."""
        if self._writing is not None:
            self._writing.interrupt()
        else:
            self.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Ask for a text after what was typed: the worker, or the model of a run that has ended."""
        event.stop()
        prompt, course = event.value, self._newest_course()
        if not prompt.strip():
            return
        if course is None:
            self.desk.tell("no run is shown that could be asked", severity="warning")
        elif self._is_gone():
            self._leave(event.input)
        elif not course.status.ended:
            self._asked[course.run.name] = AskedPrompt.of(prompt, course)
            seed = "; the seed is its own" if self._manner.seed is not None else ""
            self._say(f"asked; the text comes when the worker has done its step{seed}")
            self.desk.ask_run("sample", prompts=[prompt], **self._manner.arguments())
            self._leave(event.input)
        elif (session := self.desk.session) is None:
            self.desk.tell("the run has ended, and nothing is here to load it", severity="warning")
        elif self._writing is not None:
            self.desk.tell("a text is being written; Esc ends it", severity="warning")
        else:
            self._write(session, course, prompt)
            self._leave(event.input)

    def _leave(self, line: Input) -> None:
        """Empty the line and give the keys back to the panel: the next one is meant for the dashboard."""
        line.value = ""
        if line.has_focus:
            self.focus()

    def _write(self, session: Session, course: Course, prompt: str) -> None:
        """Load the newest checkpoint of ``course`` aside, and let it continue ``prompt``."""
        reference, name, options = str(course.run.path), course.run.name, self._manner.options()
        step, how = _checkpoint_step(course), f"{HERE} {self._manner.words}".strip()
        tried = self._tried.setdefault(name, [])
        tried.append(SampleText(step, 0, prompt, "", 0, how, _newest_time(course, tried)))
        self._writes_for = name
        self._writing = Writing(
            lambda: session.generate(prompt, model=session.model(reference), **options)
        ).start()
        self.collect()
        self.show_text(prompt, tried[-1])
        self.show()
        self._take()
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
        if not came and not tried[-1].text:
            self._say(
                f"loading the checkpoint of step {tried[-1].step:,} ({writing.seconds:.0f} s); Esc ends it"
            )
        if came:
            tried[-1] = replace(tried[-1], text=tried[-1].text + came)
            self._say("writing; Esc ends it")
        if ended:
            self._let_go(writing)
            self._say("")
            if writing.error:
                self.desk.tell(writing.error, severity="error")
            elif not tried[-1].text and not writing.interrupted:
                self.desk.tell("the model wrote nothing: it ended its text at once")
            if not tried[-1].text:
                tried.pop()
        if came or ended:
            self.collect()
            self.show()

    def _let_go(self, writing: Writing) -> None:
        self._writing, self._ended_at = None, time.monotonic()
        if self._pulse is not None:
            self._pulse.pause()
        if not writing.wait(_LAST_WORD_SECONDS) and self.desk.session is not None:
            self.desk.session.abandon_model()


def _newest_time(course: Course, tried: list[SampleText]) -> float:
    return max((sample.time for sample in (*course.samples[-1:], *tried[-1:])), default=0.0) + 1e-3


def _checkpoint_step(course: Course) -> int:
    """Return the step of the newest checkpoint of ``course``; its last step where there is none."""
    newest = course.run.latest_checkpoint()
    found = re.search(r"(\d+)$", newest.name) if newest is not None else None
    return int(found[1]) if found else course.status.step or 0
