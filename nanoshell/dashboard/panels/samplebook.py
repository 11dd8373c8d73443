"""The texts that a run wrote, by prompt and by step."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanoshell.dashboard.course import Axis, Course, SampleText

_STEPS_TO_ANSWER = 3
"""A worker looks for requests after every step; one that has gone on for so many has refused."""


class SampleBook:
    """Samples by their prompts, in the order in which these first appear, and each group by rising step."""

    def __init__(self, samples: Iterable[SampleText] = ()) -> None:
        self._by_prompt: dict[str, list[SampleText]] = {}
        for sample in samples:
            self._by_prompt.setdefault(sample.prompt, []).append(sample)
        for group in self._by_prompt.values():
            group.sort(key=lambda sample: (sample.step, sample.time))

    @property
    def prompts(self) -> list[str]:
        """The prompts."""
        return list(self._by_prompt)

    def of(self, prompt: str) -> Sequence[SampleText]:
        """Return the samples of ``prompt``, none where it was never given."""
        return self._by_prompt.get(prompt, ())

    def next_prompt(self, prompt: str, by: int) -> str:
        """Return the prompt that comes ``by`` places behind ``prompt``, round and round; '' without any."""
        prompts = self.prompts
        if not prompts:
            return ""
        place = prompts.index(prompt) if prompt in self._by_prompt else 0
        return prompts[(place + by) % len(prompts)]


@dataclass(frozen=True)
class AskedPrompt:
    """A prompt that the worker was asked to continue; what there was of it by then."""

    prompt: str
    newest: tuple[int, str] | None
    count: int
    complete: bool
    step: int = 0

    @classmethod
    def of(cls, prompt: str, course: Course) -> AskedPrompt:
        here = [sample for sample in course.samples if sample.prompt == prompt]
        return cls(
            prompt,
            (here[-1].step, here[-1].text) if here else None,
            len(here),
            course.complete,
            course.status.step or 0,
        )

    def answered(self, course: Course) -> bool:
        """Return whether ``course`` has a newer text; older ones may have been read meanwhile, too."""
        now = AskedPrompt.of(self.prompt, course)
        return now.newest != self.newest or (self.complete and now.count > self.count)

    def refused(self, course: Course) -> bool:
        """Return whether no text is to be expected: the run has ended, or gone on without writing it."""
        gone = course.status.ended or course.status.state == "gone"
        return gone or (course.status.step or 0) > self.step + _STEPS_TO_ANSWER


def nearest(positions: Sequence[float], position: float) -> int:
    """Return the index of the one of the rising ``positions`` that is nearest; of two the later one.

    Of equal ones it is the last. Raises `ValueError` where there are none.
    """
    if not positions:
        raise ValueError("there are no positions")
    behind = bisect.bisect_right(positions, position)
    if behind == len(positions):
        return behind - 1
    after = positions[behind]
    if behind and position - positions[behind - 1] < after - position:
        return behind - 1
    return bisect.bisect_right(positions, after) - 1


def place(sample: SampleText, axis: Axis, course: Course) -> float:
    """Return where ``sample`` stands on ``axis``; its tokens are those of the training loss at its step."""
    if axis == "step":
        return float(sample.step)
    if axis == "time":
        return sample.time
    loss = course.series.get("loss")
    if loss is None or not len(loss.step):
        return float(sample.step)
    import numpy as np

    return float(np.interp(sample.step, loss.step, loss.tokens))
