"""Texts at which a reply ends, found also where they begin in one token and end in another."""

from __future__ import annotations

from collections.abc import Sequence


class StopText:
    """Lets text through up to the first stop text, holding back only what may become the beginning of one.

    ``found`` is the stop text that has come, empty before.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self.held = ""
        self.found = ""

    def push(self, text: str) -> tuple[str, bool]:
        """Return the text that may be shown after ``text`` has come, and whether a stop text was found."""
        if not self._stops or self.found:
            return ("" if self.found else text), bool(self.found)
        self.held += text
        places = [(place, stop) for stop in self._stops if (place := self.held.find(stop)) >= 0]
        if places:
            place, self.found = min(places)
            shown, self.held = self.held[:place], ""
            return shown, True
        keep = max(_overlap(self.held, stop) for stop in self._stops)
        cut = len(self.held) - keep
        shown, self.held = self.held[:cut], self.held[cut:]
        return shown, False

    def flush(self) -> str:
        """Return what was held back, now that nothing more comes."""
        rest, self.held = self.held, ""
        return rest


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of ``text`` that begins ``stop`` without being all of it."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
